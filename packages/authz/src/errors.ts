/**
 * The keys that tokens are verified with could not be fetched, and none are known that would do. Operator: check that
 * JWT_JWKS_URL answers 200 with a JSON Web Key Set; walcast asks again by itself.
 */
export class KeysUnavailableError extends Error {
  readonly code = "JWT_KEYS_UNAVAILABLE";
  readonly url: string;

  constructor(url: string, options?: ErrorOptions) {
    super(`the key set at ${url} cannot be fetched; check JWT_JWKS_URL and that it answers`, options);
    this.url = url;
  }
}

/** SECURE_CHANNELS needs something to verify tokens with. Operator: set one of the three, or SECURE_CHANNELS=false. */
export class JwtKeysMissingError extends Error {
  readonly code = "JWT_KEYS_MISSING";

  constructor() {
    super("nothing to verify tokens with: set JWT_SECRET, JWT_JWKS or JWT_JWKS_URL, or SECURE_CHANNELS=false");
  }
}
