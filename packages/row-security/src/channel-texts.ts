import { unreachable } from "@walcast/model";
import type { RowSecurityError } from "./errors.ts";

const unavailable = "Realtime was unable to connect to the project database";

/** `response.reason` of a join whose policies could not be asked (protocol.md 4.2). */
export function channelRefusal(error: RowSecurityError): string {
  switch (error.code) {
    case "POLICY_TIMEOUT":
      return `QueryCanceled: ${error.cause instanceof Error ? error.cause.message : "canceling statement"}`;
    case "PARTITION_MISSING":
      return "MissingPartition: Realtime was unable to find the expected messages partition";
    case "POLICY_QUEUE_FULL":
      return "IncreaseConnectionPool: Please increase your connection pool size";
    case "TOO_MANY_CONNECTIONS":
      return "DatabaseLackOfConnections: Database can't accept more connections, Realtime won't connect";
    case "DATABASE_UNAVAILABLE":
      return `UnableToConnectToProject: ${unavailable}`;
    case "DATABASE_BUSY":
    case "ROLE_UNKNOWN":
    case "ROLE_NOT_GRANTED":
    case "ACCESS_DENIED":
    case "POLICY_FAILED":
    case "TABLE_CHANGED":
    case "REALTIME_SCHEMA_MISSING":
    case "PROBE_REFUSED":
      return unavailable;
    default:
      return unreachable(error);
  }
}

/** The message with which a channel is shut down when a new token's policies cannot be asked (protocol.md 4.10). */
export const channelShutdown = (error: RowSecurityError): string =>
  error.code === "POLICY_TIMEOUT" ? "Query was cancelled, please try again" : unavailable;

/** The `message` of an HTTP broadcast that could not be authorised, and its status (protocol.md 6.2). */
export function httpRefusal(error: RowSecurityError): { readonly status: 422 | 429 | 500; readonly message: string } {
  switch (error.code) {
    case "POLICY_TIMEOUT":
      return { status: 422, message: "Query canceled" };
    case "PARTITION_MISSING":
      return { status: 422, message: "Missing messages partition" };
    case "POLICY_QUEUE_FULL":
      return { status: 429, message: "Connection pool exhausted" };
    case "TOO_MANY_CONNECTIONS":
      return { status: 422, message: "Tenant database has too many connections" };
    case "DATABASE_BUSY":
    case "DATABASE_UNAVAILABLE":
      return { status: 422, message: "Tenant database unavailable" };
    case "ROLE_UNKNOWN":
    case "ROLE_NOT_GRANTED":
    case "ACCESS_DENIED":
    case "POLICY_FAILED":
      return { status: 422, message: "RLS policy error" };
    case "TABLE_CHANGED":
    case "REALTIME_SCHEMA_MISSING":
    case "PROBE_REFUSED":
      return { status: 500, message: "Unable to authorize broadcast" };
    default:
      return unreachable(error);
  }
}
