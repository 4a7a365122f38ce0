/**
 * The lease ended while its gateway lived: others saw its members leave, and see them again now. Operator: the process was
 * stopped for longer than PRESENCE_LEASE_MS (a frozen machine, a blocked event loop), or Redis was restarted empty.
 */
export class PresenceLeaseLostError extends Error {
  readonly code = "PRESENCE_LEASE_LOST";
  constructor(lease: string) {
    super(`the lease ${lease} on this gateway's presence ended; its members are entered again under another one`);
  }
}
