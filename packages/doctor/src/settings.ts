import type { Database } from "@walcast/postgres";

export type ExaminedService = "ingester" | "gateway" | "all";

/** What the doctor is told: the settings that the services would run with. */
export interface DoctorSettings {
  /** Each service may have a role and settings of its own; what matters to the other one alone is left out then. */
  readonly service: ExaminedService;
  readonly database: Database;
  readonly slot: string;
  readonly publications: readonly string[];
  /** Without it NATS is not looked at, as for standalone. */
  readonly nats: NatsSettings | undefined;
  /** Without it Redis is not looked at. */
  readonly redis: { readonly url: string; readonly ca: string | undefined } | undefined;
  readonly tokens: TokenSettings;
}

export interface NatsSettings {
  readonly url: string;
  readonly source: string;
  readonly retentionMs: number;
  readonly retentionBytes: number;
  readonly replicas: number;
  readonly syncIntervalMs: number;
  /** The server's monitoring endpoint, where there is one. */
  readonly monitorUrl: string | undefined;
}

export interface TokenSettings {
  readonly areVerified: boolean;
  readonly secretBytes: number | undefined;
  readonly hasInlineKeys: boolean;
  readonly keysUrl: URL | undefined;
}
