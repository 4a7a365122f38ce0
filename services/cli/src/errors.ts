/** Somebody still reads the slot. Operator: stop the ingesters first; drop-slot waits for them for --wait seconds. */
export class SlotInUseError extends Error {
  readonly code = "SLOT_IN_USE";
  constructor(slot: string, waitedSeconds: number) {
    super(
      `replication slot ${slot} was still read after ${waitedSeconds} s; stop the ingesters, then run drop-slot again ` +
        `(or SELECT pg_drop_replication_slot('${slot}'))`,
    );
  }
}

/** The gateway does not let `tail` in. Operator: set WALCAST_TOKEN, or look at --filter and --from. */
export class TailRefusedError extends Error {
  readonly code = "TAIL_REFUSED";
  constructor(reason: string) {
    super(`the gateway refused: ${reason}`);
  }
}
