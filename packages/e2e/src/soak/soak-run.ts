import { setTimeout as sleep } from "node:timers/promises";
import { freePort, startNats, startPostgres, startRedis, waitUntil, type ServerProcess } from "@walcast/testkit";
import type { Tally } from "../bench/light-client.ts";
import { seeded, type Random } from "../chaos/random.ts";
import { startCluster, untilHealthy, type Cluster, type RunningService } from "../cluster.ts";
import { connectClient, type TestSubscription } from "../realtime-clients.ts";
import { startBalancer, type Balancer } from "../balancer.ts";
import { footprintOf, type Footprint } from "./inspected.ts";
import { Ledger } from "./ledger.ts";
import { SoakClient } from "./soak-client.ts";

export interface SoakOptions {
  readonly seed: number;
  readonly seconds: number;
  readonly clients: number;
}

export interface SoakReport {
  readonly problems: readonly string[];
  readonly memory: Readonly<Record<"warm" | "end", Footprint>>;
  readonly [fact: string]: unknown;
}

const perRoom = 20;
/** Longer than a freeze, the lease that may end in it, and what a small machine needs after it. */
const marginMs = 25_000;
const publishedVersions = ["1.7.5", "2.10.0", "2.119.0"] as const;

const env = {
  PRESENCE_LEASE_MS: "5000",
  CLIENT_PRESENCE_MAX_CALLS: "0",
  TENANT_MAX_PRESENCE_EVENTS_PER_SECOND: "0",
  TENANT_MAX_EVENTS_PER_SECOND: "0",
  TENANT_MAX_JOINS_PER_SECOND: "0",
  TENANT_MAX_CONCURRENT_USERS: "0",
  MAX_CONNECTIONS: "0",
  RESUME_MEMORY_BYTES: String(2 ** 20), // full after the warm-up
};

const schema = `
  CREATE TABLE soak (key bigserial PRIMARY KEY, room int NOT NULL, id bigint NOT NULL);
  CREATE PUBLICATION supabase_realtime FOR ALL TABLES`;

/** Two gateways behind a balancer under everything that clients do, the second one killed and frozen over and over. */
export async function runSoak(options: SoakOptions): Promise<SoakReport> {
  const servers = await Promise.all([startPostgres(), startNats(), startRedis()]);
  const [postgres, nats, redis] = servers;
  const cluster = await startCluster({
    postgresUrl: postgres.url,
    natsUrl: nats.url,
    gateways: 0,
    schema,
    env: { ...env, REDIS_URL: redis.url },
  });
  const inspectorPort = await freePort();
  const first = await cluster.addGateway({ NODE_OPTIONS: `--inspect=127.0.0.1:${inspectorPort}` });
  const second = await cluster.addGateway();
  await Promise.all([untilHealthy(first), untilHealthy(second)]);
  const balancer = await startBalancer(() => [first.port, second.port]);
  try {
    return await new Soak({ ...options, cluster, balancer, first, second, inspectorPort }).run();
  } finally {
    balancer.stop();
    await cluster.stop();
    await Promise.all(servers.map((server: ServerProcess) => server.stop()));
  }
}

interface SoakParts extends SoakOptions {
  readonly cluster: Cluster;
  readonly balancer: Balancer;
  /** It is frozen, but never killed: its memory is looked at. */
  readonly first: RunningService;
  readonly second: RunningService;
  readonly inspectorPort: number;
}

class Soak {
  readonly #parts: SoakParts;
  readonly #random: Random;
  readonly #ledger = new Ledger(marginMs);
  readonly #clients: readonly SoakClient[];
  readonly #tally: Tally = { frames: 0, closed: 0 };
  readonly #done = new AbortController();
  readonly #faults = { kills: 0, freezes: 0 };
  #second: RunningService;
  #changes = 0;

  constructor(parts: SoakParts) {
    this.#parts = parts;
    this.#random = seeded(parts.seed);
    this.#second = parts.second;
    this.#clients = Array.from({ length: parts.clients }, (_, number) => this.#client(number));
  }

  get #rooms(): number {
    return Math.ceil(this.#parts.clients / perRoom);
  }

  async run(): Promise<SoakReport> {
    for (let i = 0; i < this.#clients.length; i += 100) {
      await Promise.all(this.#clients.slice(i, i + 100).map((client) => client.connect()));
    }
    const published = this.#connectPublished();
    await this.#untilLive();
    this.#clients.forEach((client, number) => client.track(number));
    const heartbeats = setInterval(() => this.#clients.forEach((client) => client.heartbeat()), 20_000);
    const { seconds } = this.#parts;
    const untilMs = performance.now() + seconds * 1_000;
    const warmMs = performance.now() + seconds * 200;
    const work = [this.#act(), this.#write()];
    const warm = await this.#breakThings(warmMs).then(() => this.#footprint());
    await this.#breakThings(untilMs);
    const end = await this.#footprint();
    this.#done.abort();
    await Promise.all(work);
    await this.#settle(published);
    const compared = this.#ledger.audit();
    clearInterval(heartbeats);
    this.#clients.forEach((client) => client.stop());
    published.forEach(({ disconnect }) => disconnect());
    return {
      ...compared,
      ...this.#faults,
      connections_ended: this.#tally.closed,
      frames: this.#tally.frames,
      changes_of_published_clients: published.map(({ subscription }) => subscription.changes.length),
      memory: { warm, end },
      problems: this.#ledger.problems,
    };
  }

  #client(number: number): SoakClient {
    return new SoakClient({
      number,
      room: number % this.#rooms,
      port: this.#parts.balancer.port,
      ledger: this.#ledger,
      tally: this.#tally,
      random: this.#random,
    });
  }

  async #untilLive(): Promise<void> {
    await waitUntil(() => this.#clients.every(({ isLive }) => isLive), {
      what: "all clients to be live",
      timeoutMs: 120_000,
      intervalMs: 200,
    }).catch((cause: unknown) => {
      const missing = this.#clients.filter(({ isLive }) => !isLive).length;
      throw new Error(`${missing} clients are not live`, { cause });
    });
  }

  /** What clients do: about a hundred broadcasts a second, and now and then everything else. */
  async #act(): Promise<void> {
    const random = this.#random;
    const one = (): SoakClient | undefined => this.#clients[random.integer(0, this.#clients.length - 1)];
    while (!this.#done.signal.aborted) {
      for (let i = 0; i < 5; i++) one()?.broadcast();
      if (random.chance(0.2)) one()?.track(random.integer(0, 1_000_000));
      if (random.chance(0.05)) one()?.untrack();
      if (random.chance(0.1)) one()?.leave();
      if (random.chance(0.05)) one()?.drop();
      for (const client of this.#clients) if (client.session === undefined && random.chance(0.02)) client.join();
      await sleep(50);
    }
    for (const client of this.#clients) client.join();
  }

  /** Transactions of some rows in rooms at random. */
  async #write(): Promise<void> {
    while (!this.#done.signal.aborted) {
      await this.#commit(Array.from({ length: this.#random.integer(1, 5) }, () => this.#anyRoom()));
      await sleep(100);
    }
  }

  #anyRoom = (): number => this.#random.integer(0, this.#rooms - 1);

  async #commit(rooms: readonly number[]): Promise<void> {
    const { sql } = this.#parts.cluster;
    const changes = rooms.map((room) => ({ id: ++this.#changes, room, begunMs: performance.now() }));
    await sql.query("BEGIN");
    for (const { id, room } of changes) {
      // Every other one is an update, if the room has a row by now.
      const update = "UPDATE soak SET id = $1 WHERE key = (SELECT max(key) FROM soak WHERE room = $2)";
      const updated = id % 2 === 0 ? await sql.query(update, [id, room]) : undefined;
      if (updated?.rowCount !== 1) await sql.query("INSERT INTO soak (id, room) VALUES ($1, $2)", [id, room]);
    }
    await sql.query("COMMIT");
    for (const change of changes) this.#ledger.committed(change);
  }

  async #breakThings(untilMs: number): Promise<void> {
    const random = this.#random;
    while (performance.now() < untilMs) {
      await sleep(Math.min(random.between(8_000, 20_000), Math.max(0, untilMs - performance.now())));
      if (performance.now() >= untilMs) return;
      const fault = random.pick([
        { value: "kill", weight: 3 },
        { value: "freeze", weight: 3 },
        { value: "lose the lease", weight: 1 },
      ] as const);
      if (fault === "kill") {
        await this.#kill();
        await sleep(random.between(100, 4_000));
        await this.#restart();
      } else {
        const { process } = random.chance(0.5) ? this.#parts.first : this.#second;
        this.#faults.freezes++;
        process.pause();
        await sleep(fault === "freeze" ? random.between(500, 4_000) : 8_000);
        process.resume();
      }
    }
  }

  async #kill(): Promise<void> {
    this.#faults.kills++;
    await this.#second.process.kill9();
  }

  async #restart(): Promise<void> {
    this.#second = await this.#parts.cluster.addGateway({ PORT: String(this.#second.port) });
    await untilHealthy(this.#second);
  }

  /** Of the first gateway with all clients on it. */
  async #footprint(): Promise<Footprint> {
    await this.#kill();
    await this.#all(async () => {
      const { port } = this.#parts.first;
      const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
      return Number(/^walcast_gateway_connections (\d+)/mu.exec(metrics)?.[1]) >= this.#parts.clients * 0.98;
    }, "to be connected to one gateway");
    const footprint = await footprintOf(this.#parts.inspectorPort);
    await this.#restart();
    return footprint;
  }

  #all(isDone: () => boolean | Promise<boolean>, what: string): Promise<true> {
    return waitUntil(isDone, { what: `all clients ${what}`, timeoutMs: 60_000, intervalMs: 200 });
  }

  /** When nothing happens any more, everybody has everything and sees who is there. */
  async #settle(published: readonly Published[]): Promise<void> {
    await this.#untilLive();
    const rooms = Array.from({ length: this.#rooms }, (_, room) => room);
    await this.#commit(rooms);
    const [last] = [this.#changes];
    const lastOf = (room: number): number => last - this.#rooms + 1 + room;
    await this.#all(
      () => this.#clients.every(({ session, room }) => session?.changes.at(-1) === lastOf(room)),
      "to have the last change",
    );
    for (const { subscription, room, name } of published) {
      const idsOf = ({ changes }: TestSubscription): number[] => changes.map(({ record }) => Number(record["id"]));
      await this.#all(() => idsOf(subscription).at(-1) === lastOf(room), `and ${name} to have the last change`);
      const ids = idsOf(subscription);
      if (ids.some((id, i) => id <= (ids[i - 1] ?? -1))) this.#ledger.problem(`${name} got changes in another order`);
    }
    const observers = rooms.map((room) => this.#client(this.#parts.clients + room));
    await Promise.all(observers.map((observer) => observer.connect()));
    const expected = new Map(rooms.map((room) => [room, this.#trackedIn(room)]));
    const everybody = [...this.#clients, ...observers];
    const isWrong = ({ seen, room }: SoakClient): boolean => seen !== expected.get(room);
    await this.#all(() => !everybody.some((one) => isWrong(one)), "to see who is there").catch(() => {
      for (const one of everybody.filter((each) => isWrong(each)))
        this.#ledger.problem(`${one.key} in room ${one.room} sees ${one.seen}, there is ${expected.get(one.room)}`);
    });
    observers.forEach((observer) => observer.stop());
  }

  #trackedIn(room: number): string {
    const members = this.#clients.filter((client) => client.room === room);
    const tracked = members.flatMap(({ key, tracked: n }) => (n === undefined ? [] : [`${key}:${n}`]));
    return tracked.toSorted().join();
  }

  #connectPublished(): Published[] {
    return publishedVersions.map((version, i) => {
      const room = i % this.#rooms;
      const client = connectClient(version, `ws://127.0.0.1:${this.#parts.balancer.port}/socket`);
      const subscription = client.subscribe({ table: "soak", filter: `room=eq.${room}` });
      return { name: `realtime-js ${version}`, room, subscription, disconnect: () => client.disconnect() };
    });
  }
}

interface Published {
  readonly name: string;
  readonly room: number;
  readonly subscription: TestSubscription;
  readonly disconnect: () => void;
}
