export { checkRoleName, explainRole, roleStatement, settingsStatement, type QuestionSettings } from "./as-role.ts";
export { AccessCatalog, type AccessCatalogOptions, type AccessChange } from "./access-catalog.ts";
export {
  ChannelPolicies,
  type ChannelAccess,
  type ChannelGrants,
  type ChannelPoliciesOptions,
  type ChannelQuestion,
} from "./channel-policies.ts";
export { channelRefusal, channelShutdown, httpRefusal } from "./channel-texts.ts";
export {
  AccessDeniedError,
  DatabaseBusyError,
  PartitionMissingError,
  PolicyFailedError,
  PolicyTimeoutError,
  ProbeRefusedError,
  QueueFullError,
  RoleNotGrantedError,
  RoleUnknownError,
  SchemaMissingError,
  SnapshotTooOldError,
  TableChangedError,
  TooManyConnectionsError,
  type RowSecurityError,
} from "./errors.ts";
export { MessageHistory, type History, type HistoryQuestion, type StoredMessage } from "./message-history.ts";
export type { Patience } from "./patience.ts";
export { principalOf, type Principal } from "./principal.ts";
export { QuestionPool, type QuestionPoolOptions } from "./question-pool.ts";
export { rowSecuritySettings } from "./settings.ts";
export {
  noPrimaryKey,
  ruleFor,
  unauthorized,
  type AccessAnswer,
  type ChangeRule,
  type KeyColumn,
  type RowKind,
  type TableAccess,
  type TableFacts,
} from "./table-access.ts";
export { Visibility, type VisibilityOptions, type VisibilityRequest } from "./visibility.ts";
