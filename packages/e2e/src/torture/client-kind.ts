import type { Change } from "./workload.ts";

/** Whom and what a client is. Sent to the process that it runs in. */
export interface ClientSpec {
  readonly number: number;
  readonly kind: string;
  /** Of the balancer. */
  readonly port: number;
  readonly user: string;
  readonly token: string;
  readonly table: string;
  readonly filter: string | undefined;
}

/** What a client hears, told to whoever keeps the record. */
export interface Heard {
  row(id: number): void;
  /** `ResumeGap` or `ResumeUnknown`. */
  gap(message: string): void;
  /** Anything else that a server said was wrong; clients get over it. */
  complaint(message: string): void;
}

/** One client, which comes back by itself whenever it is cut off. */
export interface RunningClient {
  /** It is subscribed: from here on it must miss nothing. */
  isReady(): boolean;
  /** Where it is, as far as it knows: for whoever has to find out why it waits. */
  state(): string;
  /** The rows as they are now, of those who keep rows rather than changes. */
  readonly rows?: () => readonly object[];
}

/** How a kind of client is started. A new kind is one file with this, and its name in client-kinds.ts. */
export type StartClient = (spec: ClientSpec, heard: Heard) => RunningClient;

/** The changes that this client may see and asked for. */
export function wants({ table, filter, user }: ClientSpec, change: Change): boolean {
  if (table !== change.table) return false;
  if (table === "torture_owned") return change.owner === user;
  return filter === undefined || filter === `shard=eq.${change.shard}`;
}

/** Sorts what a `system` message says. */
export function hearSystem(heard: Heard, { status, message }: { readonly status?: string; readonly message?: string }) {
  if (message?.startsWith("ResumeGap") === true || message?.startsWith("ResumeUnknown") === true) heard.gap(message);
  else if (status === "error") heard.complaint(message ?? "");
}
