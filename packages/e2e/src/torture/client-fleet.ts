import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { ClientSpec } from "./client-kind.ts";
import type { FleetAnswers, FleetRequest, Wanted } from "./client-process.ts";
import type { ClientRecord } from "./record.ts";

const entry = fileURLToPath(new URL("client-process.ts", import.meta.url));

type RequestOf<T extends FleetRequest["tag"]> = Extract<FleetRequest, { readonly tag: T }>;

/** The clients, in processes of their own. */
export class ClientFleet {
  readonly #processes: readonly ChildProcess[];
  /** One question at a time, so that answers need no number. */
  #asking: Promise<unknown> = Promise.resolve();
  #ended: string | undefined;

  private constructor(processes: readonly ChildProcess[]) {
    this.#processes = processes;
    for (const child of processes) child.once("exit", (code, signal) => (this.#ended = `${code ?? signal}`));
  }

  static async start(specs: readonly ClientSpec[], processes: number): Promise<ClientFleet> {
    const execArgv = ["--conditions=@walcast/source"];
    const fleet = new ClientFleet(Array.from({ length: processes }, () => fork(entry, [], { execArgv })));
    await Promise.all(
      fleet.#processes.map((child, i) =>
        ask(child, { tag: "start", specs: specs.filter(({ number }) => number % processes === i) }),
      ),
    );
    return fleet;
  }

  /** Numbers of the clients that are not subscribed yet. */
  notReady = async (): Promise<readonly number[]> => (await this.#ask({ tag: "ready" })).flat();
  lagging = async (wanted: readonly Wanted[]): Promise<readonly number[]> =>
    (await this.#ask({ tag: "lagging", wanted })).flat();
  states = async (of: readonly number[]): Promise<readonly string[]> =>
    (await this.#ask({ tag: "states", of: of.slice(0, 5) })).flat();
  rows = async (): Promise<FleetAnswers["rows"]> => (await this.#ask({ tag: "rows" })).flat();
  rest = async (): Promise<void> => void (await this.#ask({ tag: "rest" }));
  records = async (): Promise<ReadonlyMap<number, ClientRecord>> =>
    new Map((await this.#ask({ tag: "records" })).flat().map(({ number, record }) => [number, record]));

  stop(): void {
    for (const child of this.#processes) child.removeAllListeners("exit").disconnect();
  }

  async #ask<T extends FleetRequest["tag"]>(request: RequestOf<T>): Promise<FleetAnswers[T][]> {
    if (this.#ended !== undefined) throw new Error(`a process of clients ended by itself: ${this.#ended}`);
    const answers = this.#asking.then(() => Promise.all(this.#processes.map((child) => ask(child, request))));
    this.#asking = answers.catch(() => undefined);
    return await answers;
  }
}

async function ask<T extends FleetRequest["tag"]>(
  child: ChildProcess,
  request: RequestOf<T>,
): Promise<FleetAnswers[T]> {
  const answered = once(child, "message", { signal: AbortSignal.timeout(60_000) });
  child.send(request);
  return (await answered)[0] as FleetAnswers[T];
}
