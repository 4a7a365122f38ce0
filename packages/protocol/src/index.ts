export { CloseCode } from "./close-codes.ts";
export type { ClientFrame, Envelope, Push, Reply, Serializer } from "./frames.ts";
export { parseJoin, type BindingRequest, type JoinRequest } from "./join-payload.ts";
export { isObject } from "./json.ts";
export { negotiateSerializer } from "./negotiate.ts";
export { serializerV1 } from "./serializer-v1.ts";
export { serializerV2 } from "./serializer-v2.ts";
export {
  resumeGap,
  serverDisconnect,
  shutdown,
  subscribed,
  subscribeFailed,
  subtopicOf,
  topicPrefix,
  type SystemMessage,
} from "./system-messages.ts";
