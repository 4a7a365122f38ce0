/** Closes a `switch` over a union: does not compile while a case is missing, throws if the types lied. */
export function unreachable(value: never): never {
  throw new Error(`unreachable: ${JSON.stringify(value)}`);
}
