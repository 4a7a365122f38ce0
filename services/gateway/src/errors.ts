/** The port cannot be listened on. Operator: stop what listens there, or choose another PORT. */
export class ListenError extends Error {
  readonly code = "LISTEN";
  constructor(host: string, port: number) {
    super(`cannot listen on ${host}:${port}; stop what listens there, or set PORT (or HOST)`);
  }
}
