import type { ComparableType } from "./comparable.ts";

/** A filter or selection that does not fit its table; the message is what PostgreSQL and the peer say (protocol.md 4.8). */
export class FilterTypeError extends Error {
  readonly code = "FILTER_TYPE";

  /** `refusal`: SQLSTATE with its name, and the message. */
  constructor(refusal: string, options?: ErrorOptions) {
    super(`ERROR ${refusal}`, options);
  }
}

/** What the peer's validation raises. */
export const raised = (message: string, options?: ErrorOptions): FilterTypeError =>
  new FilterTypeError(`P0001 (raise_exception) ${message}`, options);

export const invalidColumn = (place: "filter" | "select", column: string): FilterTypeError =>
  raised(`invalid column for ${place} ${column}`);

export const invalidValue = (type: ComparableType, text: string): FilterTypeError =>
  new FilterTypeError(type.refusal(text));
