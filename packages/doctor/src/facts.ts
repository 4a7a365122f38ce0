/** Everything that was found out. A part that could not be reached says why instead. */
export interface Facts {
  readonly postgres: PostgresFacts | Unreachable;
  readonly nats: NatsFacts | Unreachable | undefined;
  readonly redis: RedisFacts | Unreachable | undefined;
  readonly keys: KeysFacts | undefined;
}

export interface Unreachable {
  readonly unreachable: string;
}

export const isUnreachable = (facts: object): facts is Unreachable => "unreachable" in facts;

export interface PostgresFacts {
  readonly version: number;
  readonly role: string;
  readonly mayReplicate: boolean;
  readonly isInRecovery: boolean;
  readonly walLevel: string;
  readonly maxSlots: number;
  readonly usedSlots: number;
  readonly maxSenders: number;
  readonly usedSenders: number;
  /** undefined: no limit. */
  readonly slotKeepBytes: number | undefined;
  /** WAL that is kept for the slot that is furthest behind, whoever's it is. */
  readonly keptBytes: number;
  readonly isCommitAsync: boolean;
  readonly senderTimeoutMs: number;
  /** How long the oldest transaction that has written is open; a new slot waits for it. */
  readonly oldestTransactionMs: number;
  /** The server's clock minus ours. */
  readonly clockSkewMs: number;
  readonly slot: SlotFacts | undefined;
  readonly publications: readonly PublicationFacts[];
  readonly tables: readonly TableFacts[];
  /** Of anon, authenticated and service_role those that exist, and whether our role may become them. */
  readonly clientRoles: readonly { readonly name: string; readonly isOurs: boolean }[];
  /** undefined: there is no realtime.messages whose partitions walcast makes. */
  readonly messages: MessagesFacts | undefined;
}

/** Whether a partition takes what is sent on these days, as UTC has them. */
export interface MessagesFacts {
  readonly hasToday: boolean;
  readonly hasTomorrow: boolean;
}

export interface SlotFacts {
  readonly type: string;
  readonly plugin: string | undefined;
  readonly isHere: boolean;
  readonly isActive: boolean;
  readonly walStatus: string;
  readonly lagBytes: number;
}

export interface PublicationFacts {
  readonly name: string;
  /** Of insert, update, delete, truncate those that are left out. */
  readonly leftOut: readonly string[];
  readonly isViaRoot: boolean;
}

export interface StoredTable {
  readonly name: string;
  readonly identity: "default" | "nothing" | "full" | "index";
  readonly hasPrimaryKey: boolean;
}

/** A table of one of our publications. */
export interface TableFacts {
  /** As SQL writes it. */
  readonly name: string;
  readonly hasPrimaryKey: boolean;
  /** What UPDATE and DELETE look at: the table itself, or the partitions that hold its rows. */
  readonly stored: readonly StoredTable[];
  /** A publication of it has updates or deletes. */
  readonly areChangesPublished: boolean;
  readonly isPartition: boolean;
  readonly isRowSecured: boolean;
  readonly policies: number;
  /** Client roles that may select from it. */
  readonly readers: readonly string[];
}

export interface NatsFacts {
  readonly maxPayload: number;
  readonly isCluster: boolean;
  /** undefined: JetStream is off for us. */
  readonly jetStream: JetStreamFacts | undefined;
  /** What the server says itself at its monitoring endpoint. */
  readonly syncIntervalMs: number | undefined;
}

export interface JetStreamFacts {
  /** What streams of ours may take besides those that are there; undefined: no limit that we are told. */
  readonly freeBytes: number | undefined;
  readonly stream: StreamFacts | undefined;
}

export interface StreamFacts {
  readonly misfits: readonly string[];
  readonly retentionMs: number;
  readonly retentionBytes: number;
  readonly replicas: number;
  readonly hasLeader: boolean;
  readonly replicasBehind: readonly string[];
}

export interface RedisFacts {
  /** undefined: the server does not say, as managed ones. */
  readonly evictionPolicy: string | undefined;
  /** 0: no limit. */
  readonly maxMemoryBytes: number;
  readonly isReplica: boolean;
}

export interface KeysFacts {
  /** Why the key set could not be fetched. */
  readonly problem: string | undefined;
}
