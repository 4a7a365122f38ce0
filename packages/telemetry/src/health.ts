/** What is wrong, for a person: the error's own words say the cause and the remedy. */
export interface Problem {
  readonly part: string;
  readonly code: string;
  readonly message: string;
  readonly cause: string | undefined;
}

export interface HealthReport {
  readonly status: "ok" | "failing";
  readonly problems: readonly Problem[];
  readonly [fact: string]: unknown;
}

/** What each part of a process last said of itself; `/healthz` prints it. */
export class Health {
  readonly #problems = new Map<string, Problem>();
  readonly #facts = new Map<string, () => unknown>();

  /** The part works again (undefined), or why it does not. */
  set(part: string, error: unknown): void {
    if (error === undefined) this.#problems.delete(part);
    else this.#problems.set(part, { part, ...describeError(error) });
  }

  /** The part has not worked yet. */
  starting(part: string): void {
    this.#problems.set(part, { part, code: "STARTING", message: "not connected yet", cause: undefined });
  }

  /** Something to show beside the state, such as a role or a position. */
  fact(name: string, read: () => unknown): void {
    this.#facts.set(name, read);
  }

  get isOk(): boolean {
    return this.#problems.size === 0;
  }

  report(): HealthReport {
    return {
      status: this.isOk ? "ok" : "failing",
      problems: [...this.#problems.values()],
      ...Object.fromEntries([...this.#facts].map(([name, read]) => [name, read()])),
    };
  }
}

/** An error as code, message and the chain of its causes, for logs and health. */
export function describeError(error: unknown): { code: string; message: string; cause: string | undefined } {
  if (!(error instanceof Error)) return { code: "UNKNOWN", message: String(error), cause: undefined };
  const code = "code" in error && typeof error.code === "string" ? error.code : error.name;
  const causes: string[] = [];
  for (let cause = error.cause; cause instanceof Error && causes.length < 8; cause = cause.cause)
    causes.push(messageOf(cause));
  return { code, message: messageOf(error), cause: causes.length === 0 ? undefined : causes.join(": ") };
}

/** A refused connection to several addresses is an AggregateError without a message of its own. */
function messageOf(error: Error): string {
  if (error.message !== "" || !(error instanceof AggregateError)) return error.message || error.name;
  return error.errors.map((one) => (one instanceof Error ? one.message : String(one))).join(", ");
}
