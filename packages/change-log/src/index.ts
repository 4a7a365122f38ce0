export {
  decodeBatch,
  decodeHeader,
  encodeBatch,
  messageRelation,
  relationLine,
  transactionLine,
  type Batch,
  type BatchHeader,
  type BatchTrace,
  type ChangeKind,
  type LoggedBatch,
  type LoggedChange,
  type LoggedRelation,
  type LoggedTransaction,
} from "./batch.ts";
export { continuityOf, type Continuity } from "./continuity.ts";
export { AppendRefusedError, BatchFormatError, ChangeLogMisfitError, ChangeLogUnavailableError } from "./errors.ts";
export { firstEpoch } from "./first-epoch.ts";
export { MemoryChangeLog, type MemoryChangeLogOptions } from "./memory.ts";
export { NatsChangeLog, type NatsChangeLogOptions } from "./nats.ts";
export { natsOptions } from "./nats-options.ts";
export type { ChangeLog, ChangeLogWriter, LogEntry, Reading, ReadOptions } from "./ports.ts";
export { changeSubject, changeSubjects, leaderSubject, streamName } from "./subjects.ts";
