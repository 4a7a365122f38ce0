/** SECURE_CHANNELS is on and there is nothing to verify tokens with. Operator: the message says both ways out. */
export class JwtSecretMissingError extends Error {
  readonly code = "JWT_SECRET_MISSING";
  constructor() {
    super("JWT_SECRET is not set; set it, or SECURE_CHANNELS=false to accept anyone (development only)");
  }
}

/** The port cannot be listened on. Operator: stop what listens there, or choose another PORT. */
export class ListenError extends Error {
  readonly code = "LISTEN";
  constructor(host: string, port: number) {
    super(`cannot listen on ${host}:${port}; stop what listens there, or set PORT (or HOST)`);
  }
}
