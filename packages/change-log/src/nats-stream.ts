import {
  DiscardPolicy,
  JetStreamApiError,
  RetentionPolicy,
  StorageType,
  type JetStreamManager,
  type StreamInfo,
} from "@nats-io/jetstream";
import { nanos, type NatsConnection } from "@nats-io/nats-core";
import { ChangeLogMisfitError, ChangeLogUnavailableError } from "./errors.ts";
import { firstEpoch } from "./first-epoch.ts";
import { changeSubjects, streamName } from "./subjects.ts";

export interface StreamSettings {
  /** Names the database and slot the changes come from. */
  readonly source: string;
  readonly retentionMs: number;
  readonly retentionBytes: number;
  /** 1, or 3 on a cluster. */
  readonly replicas: number;
  /** Batches of messages may be stored all at once or not at all (`canBeAtomic`). */
  readonly isAtomic?: boolean;
  /** The epoch of a stream that is made anew; tests say which. */
  readonly firstEpoch?: (() => number) | undefined;
}

/** JetStream's own error codes (nats-server, server/errors.json). */
const errorCode = {
  streamNotFound: 10_059,
  insufficientStorage: 10_047,
  wrongLastMessageId: 10_070,
  wrongLastSequence: 10_071,
} as const;

const isApiError = (error: unknown, code: number): boolean => error instanceof JetStreamApiError && error.code === code;
export const isStreamNotFound = (error: unknown): boolean => isApiError(error, errorCode.streamNotFound);
/** The stream does not end with what the writer appended last: somebody else wrote. */
export const isFenced = (error: unknown): boolean =>
  isApiError(error, errorCode.wrongLastSequence) || isApiError(error, errorCode.wrongLastMessageId);

/**
 * Creates the stream when it is missing, and brings retention and replicas to the settings; refuses one that cannot serve
 * as a change log. Throws ChangeLogMisfitError and ChangeLogUnavailableError.
 */
export async function ensureStream(jsm: JetStreamManager, settings: StreamSettings): Promise<StreamInfo> {
  const name = streamName(settings.source);
  const subjects = [changeSubjects(settings.source)];
  const adjustable = {
    max_age: nanos(settings.retentionMs),
    max_bytes: settings.retentionBytes,
    num_replicas: settings.replicas,
    ...(settings.isAtomic === true ? { allow_atomic: true } : {}),
  };
  const info = await findStream(jsm, name);
  try {
    if (info === undefined) {
      return await jsm.streams.add({
        name,
        subjects,
        description: describe({ epoch: (settings.firstEpoch ?? firstEpoch)(), origin: undefined }),
        storage: StorageType.File,
        retention: RetentionPolicy.Limits,
        discard: DiscardPolicy.Old,
        ...adjustable,
      });
    }
    refuseMisfit(info, subjects);
    const { max_age, max_bytes, num_replicas, allow_atomic, description } = info.config;
    const isAdjusted =
      max_age === adjustable.max_age &&
      max_bytes === adjustable.max_bytes &&
      num_replicas === adjustable.num_replicas &&
      (settings.isAtomic !== true || allow_atomic === true);
    const isDescribed = factsPattern.test(description ?? ""); // not when somebody else made the stream
    if (isAdjusted && isDescribed) return info;
    const facts = isDescribed
      ? {}
      : { description: describe({ epoch: (settings.firstEpoch ?? firstEpoch)(), origin: undefined }) };
    return await jsm.streams.update(name, { ...info.config, ...adjustable, ...facts });
  } catch (error) {
    if (isApiError(error, errorCode.insufficientStorage)) {
      throw new ChangeLogMisfitError(
        `NATS has no room for stream ${name} of ${settings.retentionBytes} bytes; lower LOG_RETENTION_BYTES, or raise ` +
          "max_file_store in the server's jetstream settings",
        { cause: error },
      );
    }
    throw error;
  }
}

async function findStream(jsm: JetStreamManager, name: string): Promise<StreamInfo | undefined> {
  try {
    return await jsm.streams.info(name);
  } catch (error) {
    if (isStreamNotFound(error)) return undefined;
    throw new ChangeLogUnavailableError(`cannot look up stream ${name}`, { cause: error });
  }
}

function refuseMisfit({ config }: StreamInfo, subjects: readonly string[]): void {
  const misfits = [
    config.storage === StorageType.File ? "" : `storage is ${config.storage}, must be file`,
    config.retention === RetentionPolicy.Limits ? "" : `retention is ${config.retention}, must be limits`,
    config.discard === DiscardPolicy.Old ? "" : `discard is ${config.discard}, must be old`,
    config.subjects?.join() === subjects.join()
      ? ""
      : `subjects are ${config.subjects?.join()}, must be ${subjects.join()}`,
  ].filter(Boolean);
  if (misfits.length === 0) return;
  throw new ChangeLogMisfitError(
    `stream ${config.name} cannot be the change log: ${misfits.join("; ")}; rename or delete it`,
  );
}

/** What is known of the log as a whole. It stands in the stream's description: metadata needs nats-server 2.10. */
export interface LogFacts {
  readonly epoch: number;
  /** The server and timeline that the changes were read from, as the ingester prints it; undefined until they begin. */
  readonly origin: string | undefined;
}

const describe = ({ epoch, origin }: LogFacts): string =>
  `walcast change log, epoch ${epoch}${origin === undefined ? "" : `, origin ${origin}`}`;

const factsPattern = /epoch (\d+)(?:, origin (\S+))?$/;

export function factsOf(info: StreamInfo): LogFacts {
  const match = factsPattern.exec(info.config.description ?? "");
  return { epoch: Number(match?.[1] ?? 0), origin: match?.[2] };
}

export async function storeFacts(jsm: JetStreamManager, name: string, facts: LogFacts): Promise<void> {
  const { config } = await jsm.streams.info(name);
  await jsm.streams.update(name, { ...config, description: describe(facts) });
}

/**
 * Whether this server stores batches of messages with ids at once (ADR-50). Only replicated streams need it: nats-server 2.15
 * with three replicas stops a stream for good when a message is refused for the id before it (nats-writer.ts).
 */
export function canBeAtomic(nc: NatsConnection, { replicas }: Pick<StreamSettings, "replicas">): boolean {
  const [major = 0, minor = 0] = (nc.info?.version ?? "").split(".").map(Number);
  return replicas > 1 && (major > 2 || (major === 2 && minor >= 14));
}

/** Room for headers and the batch's own first lines beside its changes. */
const payloadMargin = 64 * 1024;

/** The largest part of a batch that one message of this server may carry. */
export function partBytesLimit(nc: NatsConnection): number {
  const limit = (nc.info?.max_payload ?? 0) - payloadMargin;
  if (limit < payloadMargin) {
    throw new ChangeLogMisfitError(
      `the NATS server's max_payload is ${nc.info?.max_payload} bytes; walcast needs at least ${2 * payloadMargin}`,
    );
  }
  return limit;
}
