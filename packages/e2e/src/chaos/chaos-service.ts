import { fileURLToPath } from "node:url";
import { freePort, spawnService, startProxy, type LineProcess, type TcpProxy } from "@walcast/testkit";

const entryOf = (service: ChaosServiceOptions["service"]): string =>
  fileURLToPath(new URL(`../../../../services/${service}/src/main.ts`, import.meta.url));

export interface ChaosServiceOptions {
  readonly service: "ingester" | "gateway";
  readonly name: string;
  readonly postgresUrl: string;
  /** One for each server. */
  readonly natsUrls: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** A service that is killed and started again on its own network, which breaks apart from others'. */
export class ChaosService {
  readonly name: string;
  readonly postgres: TcpProxy;
  readonly nats: readonly TcpProxy[];
  /** What the ended processes wrote. */
  readonly #history: string[] = [];
  readonly #env: Readonly<Record<string, string>>;
  readonly #entry: string;
  readonly port: number;
  #process: LineProcess;
  #isExpectedToEnd = false;

  private constructor(options: {
    name: string;
    entry: string;
    postgres: TcpProxy;
    nats: TcpProxy[];
    env: Record<string, string>;
    port: number;
  }) {
    [this.name, this.postgres, this.nats] = [options.name, options.postgres, options.nats];
    [this.#env, this.#entry, this.port] = [options.env, options.entry, options.port];
    this.#process = this.#spawn();
  }

  static async start(options: ChaosServiceOptions): Promise<ChaosService> {
    const { service } = options;
    const postgres = await startProxy({ target: options.postgresUrl });
    const nats: TcpProxy[] = [];
    for (const target of options.natsUrls) nats.push(await startProxy({ target }));
    const port = await freePort();
    const env = {
      ...options.env,
      DATABASE_URL: postgres.url,
      NATS_URL: nats.map((proxy) => proxy.url).join(","),
      ...(service === "ingester"
        ? { INGESTER_HOST: "127.0.0.1", INGESTER_PORT: String(port) }
        : { HOST: "127.0.0.1", PORT: String(port) }),
    };
    return new ChaosService({ name: options.name, entry: entryOf(service), postgres, nats, env, port });
  }

  get isRunning(): boolean {
    return this.#process.isRunning;
  }

  /** It ended without having been asked to. */
  get hasDied(): boolean {
    return !this.#process.isRunning && !this.#isExpectedToEnd;
  }

  /** What all its processes wrote. */
  get lines(): readonly string[] {
    return [...this.#history, ...this.#process.lines];
  }

  /** What it says it is; undefined when it does not answer, or has trouble being it. */
  async role(): Promise<string | undefined> {
    if (!this.#process.isRunning) return undefined;
    try {
      const response = await fetch(`http://127.0.0.1:${this.port}/healthz`, { signal: AbortSignal.timeout(250) });
      const { status, role } = (await response.json()) as { readonly status: string; readonly role?: string };
      return status === "ok" ? role : undefined;
    } catch {
      return undefined;
    }
  }

  async kill(): Promise<void> {
    this.#isExpectedToEnd = true;
    await this.#process.kill9();
  }

  /** An orderly end; one that takes too long is an error. */
  async end(): Promise<void> {
    this.#isExpectedToEnd = true;
    await this.#process.stop();
  }

  freeze(): void {
    this.#process.pause();
  }

  thaw(): void {
    this.#process.resume();
  }

  startAgain(): void {
    this.#history.push(...this.#process.lines, `--- ${this.name} is started again`);
    this.#process = this.#spawn();
  }

  heal(): void {
    for (const proxy of [this.postgres, ...this.nats]) proxy.heal();
  }

  async stop(): Promise<void> {
    this.heal();
    await this.end();
    await Promise.all([this.postgres, ...this.nats].map((proxy) => proxy.stop()));
  }

  #spawn(): LineProcess {
    this.#isExpectedToEnd = false;
    return spawnService({ entry: this.#entry, env: this.#env, name: this.name });
  }
}
