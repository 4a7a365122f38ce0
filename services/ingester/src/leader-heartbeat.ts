/** What the leader says of itself every second. What standbys act on is that it speaks, and what must not get lost. */
export interface Heartbeat {
  /** Names the ingester process. */
  readonly ingester: string;
  readonly epoch: number;
  readonly publishedLsn: string;
  readonly confirmedLsn: string;
  readonly lagBytes: number;
  /** Position of the newest change that PostgreSQL was told to forget, as the log holds it; of older leaders: undefined. */
  readonly forgotten?: string | null;
}

/** How leaders are heard; on NATS, beside the change log. Standalone has none: it has no standby. */
export interface LeaderHeartbeats {
  send(heartbeat: Heartbeat): void;
  /** Calls back for every heartbeat until the returned function is called. */
  listen(onHeartbeat: (heartbeat: Heartbeat) => void): () => void;
  /** Only while this is true does silence mean anything. */
  readonly isConnected: boolean;
}

export const heartbeatEveryMs = 1_000;

/**
 * Whether the leader has been silent for too long: a frozen process or a cut network, since one that died has freed the
 * lock. Silence is counted from the last heartbeat, and anew from when this ingester could hear at all. Pure.
 */
export class SilenceWatch {
  readonly #limitMs: number;
  #sinceMs: number;

  constructor({ limitMs, nowMs }: { readonly limitMs: number; readonly nowMs: number }) {
    this.#limitMs = limitMs;
    this.#sinceMs = nowMs;
  }

  heard(nowMs: number): void {
    this.#sinceMs = nowMs;
  }

  /** Asked again and again by a standby. */
  isSilent({ nowMs, canHear }: { readonly nowMs: number; readonly canHear: boolean }): boolean {
    if (!canHear) this.#sinceMs = nowMs;
    return nowMs - this.#sinceMs >= this.#limitMs;
  }
}
