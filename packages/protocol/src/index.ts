export type { Broadcast, BroadcastFrame, PayloadEncoding } from "./broadcast.ts";
export { CloseCode } from "./close-codes.ts";
export type { ClientFrame, Envelope, Push, Reply, Serializer } from "./frames.ts";
export {
  parseJoin,
  type BindingRequest,
  type BroadcastOptions,
  type ChangesWait,
  type JoinRequest,
  type PresenceRequest,
} from "./join-payload.ts";
export { elementSlices, memberSlices } from "./json-slices.ts";
export { isObject, parseJson } from "./json.ts";
export { negotiateSerializer } from "./negotiate.ts";
export type { PresencePush } from "./presence-push.ts";
export { parseReplay, type ReplayRequest } from "./replay-request.ts";
export { replayedFrame, type StoredBroadcast } from "./replayed-frame.ts";
export { parseResume, type ResumeRequest } from "./resume-request.ts";
export { serializerV1 } from "./serializer-v1.ts";
export { serializerV2 } from "./serializer-v2.ts";
export {
  databaseBroadcastsReady,
  resumed,
  resumeGap,
  resumeUnknown,
  serverDisconnect,
  shutdown,
  snapshotInterrupted,
  snapshotRefused,
  snapshotSent,
  subscribed,
  subscribeFailed,
  subtopicOf,
  topicPrefix,
  type SystemMessage,
} from "./system-messages.ts";
export { parseSnapshot, type SnapshotRequest } from "./snapshot-request.ts";
export { toBytes, toText } from "./text.ts";
export {
  decodeUserBroadcastPush,
  encodeUserBroadcast,
  type UserBroadcast,
  type UserBroadcastPush,
} from "./user-broadcast.ts";
