// What can be wrong with the source database, each with what the operator has to do.

/** `wal_level` is not logical. Operator: set it and restart PostgreSQL. */
export class WalLevelError extends Error {
  readonly code = "WAL_LEVEL";
  constructor(walLevel: string) {
    super(`wal_level is ${walLevel}; run ALTER SYSTEM SET wal_level = 'logical' and restart PostgreSQL`);
  }
}

/** A publication of PUBLICATIONS does not exist. Operator: create it, or name another. */
export class PublicationMissingError extends Error {
  readonly code = "PUBLICATION_MISSING";
  constructor(missing: readonly string[]) {
    const names = missing.map((name) => `"${name.replaceAll('"', '""')}"`);
    super(
      `publication ${names.join(", ")} does not exist; ` +
        `run CREATE PUBLICATION ${names[0]} FOR TABLE … (or FOR ALL TABLES), or set PUBLICATIONS`,
    );
  }
}

/** Someone else reads the slot. Operator: stop it, or give this ingester a slot of its own. */
export class SlotBusyError extends Error {
  readonly code = "SLOT_BUSY";
  constructor(slot: string, options?: ErrorOptions) {
    super(
      `replication slot ${slot} is in use by another process; find it in pg_stat_replication and stop it, ` +
        `or set SLOT_NAME to another name`,
      options,
    );
  }
}

/** A slot of this name exists and is not one that walcast can read. Operator: choose another SLOT_NAME. */
export class SlotMismatchError extends Error {
  readonly code = "SLOT_MISMATCH";
  constructor(slot: string, problem: string) {
    super(`replication slot ${slot} ${problem}; set SLOT_NAME to another name, or drop the slot if nobody needs it`);
  }
}

/**
 * The publication was made after WAL that the slot has still to be read through, which pgoutput refuses (it looks
 * publications up as they were then). The slot is made anew; clients are told of the gap.
 */
export class PublicationTooYoungError extends Error {
  readonly code = "PUBLICATION_TOO_YOUNG";
  constructor(options?: ErrorOptions) {
    super(
      "a publication was dropped and made again while changes were waiting; the slot is made anew behind them",
      options,
    );
  }
}

/** The slot is near to losing WAL it needs. Operator: find out why reading is slow or stopped, or raise the limit. */
export class SlotEndangeredError extends Error {
  readonly code = "SLOT_ENDANGERED";
  constructor(slot: string, lagBytes: number) {
    super(
      `replication slot ${slot} is ${lagBytes} bytes behind and near to losing WAL it needs; ` +
        `see what keeps the change log from taking changes, or raise max_slot_wal_keep_size`,
    );
  }
}

/** MAX_REPLICATION_LAG_MB is set and exceeded. The slot is dropped and made anew; clients are told of the gap. */
export class ReplicationLagError extends Error {
  readonly code = "REPLICATION_LAG";
  constructor(slot: string, lagBytes: number) {
    super(`replication slot ${slot} is ${lagBytes} bytes behind, more than MAX_REPLICATION_LAG_MB; it is made anew`);
  }
}

/** The role may not replicate. Operator: grant it (managed services have a role of their own for that). */
export class ReplicationPrivilegeError extends Error {
  readonly code = "REPLICATION_PRIVILEGE";
  constructor(options?: ErrorOptions) {
    super(
      "the role may not use replication; run ALTER ROLE … REPLICATION (on RDS: GRANT rds_replication TO …) as an administrator",
      options,
    );
  }
}

/** No slot or walsender is free. Operator: raise the setting, or drop slots that nobody reads. */
export class ReplicationLimitError extends Error {
  readonly code = "REPLICATION_LIMIT";
  constructor(options?: ErrorOptions) {
    super(
      "PostgreSQL has no free replication slot or walsender; raise max_replication_slots and max_wal_senders",
      options,
    );
  }
}

/** The replication connection ended or fell silent. walcast connects again by itself. */
export class ReplicationLostError extends Error {
  readonly code = "REPLICATION_LOST";
  constructor(why: string, options?: ErrorOptions) {
    super(`the replication connection was lost (${why}); connecting again`, options);
  }
}

/** The connection that holds the leader lock is gone, and the lock with it. This ingester becomes a standby. */
export class LeadershipLostError extends Error {
  readonly code = "LEADERSHIP_LOST";
  constructor(options?: ErrorOptions) {
    super("the connection that holds the leader lock was lost; becoming a standby", options);
  }
}
