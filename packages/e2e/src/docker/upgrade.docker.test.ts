import { setTimeout } from "node:timers/promises";
import { docker, waitUntil } from "@walcast/testkit";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { clientVersions } from "../realtime-clients.ts";
import { connectResumable, type ResumableClient } from "../resumable-clients.ts";
import { DockerCluster } from "./docker-cluster.ts";

// The README's "Upgrading", done as it stands there, while rows are written and clients listen.

const cluster = await DockerCluster.create("walcast-upgrade");
const version = "9.9.9";
const rowsPerSecond = 200;

beforeAll(async () => {
  await cluster.down();
  await cluster.up();
});
afterAll(async () => {
  await cluster.down();
  expect(await cluster.leftovers()).toEqual([]);
});

test("replacing every replica loses nothing, repeats nothing, and keeps the order", async () => {
  const database = new pg.Client({ connectionString: cluster.postgresUrl });
  await database.connect();
  onTestFinished(() => database.end());
  await database.query("INSERT INTO todos (task) VALUES ('the log has a position to begin from')");
  const records = clientVersions.map((one) => new Receipt(one, cluster.realtimeUrl));
  onTestFinished(() => records.forEach(({ client }) => client.disconnect()));
  await waitUntil(() => records.every(({ client }) => client.isReady()), {
    what: "all clients to be subscribed",
    timeoutMs: 60_000,
  });

  const begunAtMs = performance.now();
  const tell = (event: string, replica: string): void => {
    const atSeconds = secondsSince(begunAtMs, performance.now());
    process.stdout.write(`${JSON.stringify({ atSeconds, event, replica })}\n`);
  };
  const stop = new AbortController();
  const writing = write(database, stop.signal);
  let committed: readonly number[];
  try {
    await waitUntil(() => records.every(({ received }) => received.length >= rowsPerSecond), {
      what: "rows to flow",
      timeoutMs: 60_000,
    });
    tell("building version", version);
    await cluster.build(version);
    for (const service of ["gateway", "ingester"]) await replaceAll(service, tell);
    await setTimeout(2_000); // with nothing but new ones
  } finally {
    stop.abort();
    committed = await writing;
  }
  const seconds = secondsSince(begunAtMs, performance.now());
  process.stdout.write(`${JSON.stringify({ committed: committed.length, seconds })}\n`);
  const last = committed.at(-1);
  await waitUntil(() => records.every(({ received }) => received.at(-1) === last), {
    what: `row ${last} at every client`,
    timeoutMs: 60_000,
  }).catch(() => undefined); // what is missing is told below
  const results = records.map((record) => record.compare(committed, begunAtMs));
  for (const result of results) process.stdout.write(`${JSON.stringify(result)}\n`);

  expect(committed.length).toBeGreaterThan(rowsPerSecond * 10);
  for (const result of results)
    expect(result).toMatchObject({ committed: committed.length, missed: 0, repeated: 0, isOrdered: true, gaps: 0 });
}, 600_000);

const secondsSince = (begunAtMs: number, atMs: number): number => Math.round((atMs - begunAtMs) / 100) / 10;

/** Gives each replica of the service way to one of the new version, the new one first. */
async function replaceAll(service: string, tell: (event: string, replica: string) => void): Promise<void> {
  const old = await cluster.containers(service);
  expect(old).toHaveLength(2);
  for (const container of old) {
    const before = await cluster.containers(service);
    await cluster.addReplicas(service, 3);
    const [added = ""] = (await cluster.containers(service)).filter((one) => !before.includes(one));
    tell("serves", await describe(added));
    const name = await describe(container);
    tell("is stopped", name);
    await docker(["stop", container]);
    tell("has ended", name);
    expect(await docker(["inspect", "--format", "{{.State.ExitCode}}", container])).toBe("0"); // in good order
    await docker(["rm", container]);
  }
  const now = await cluster.containers(service);
  expect(now).toHaveLength(2);
  for (const container of now) expect(await describe(container)).toMatch(new RegExp(`${version}$`, "u"));
}

/** `/walcast-upgrade-gateway-3 9.9.9` */
const describe = (container: string): Promise<string> =>
  docker(["inspect", "--format", '{{.Name}} {{index .Config.Labels "org.opencontainers.image.version"}}', container]);

/** Numbered rows, one in each transaction and one after the other, until the signal fires; resolves with what was committed. */
async function write(database: pg.Client, signal: AbortSignal): Promise<readonly number[]> {
  const committed: number[] = [];
  const begunAtMs = performance.now();
  while (!signal.aborted) {
    const { rows } = await database.query<{ id: string }>("INSERT INTO todos (task) VALUES ('row') RETURNING id");
    committed.push(...rows.map(({ id }) => Number(id)));
    // At this rate on average, also after a pause.
    await setTimeout(Math.max(0, begunAtMs + (committed.length * 1_000) / rowsPerSecond - performance.now()));
  }
  return committed;
}

/** What one client got. */
class Receipt {
  readonly client: ResumableClient;
  readonly received: number[] = [];
  #lastAtMs = performance.now();
  #silence = { ms: 0, untilMs: 0 };

  constructor(clientVersion: (typeof clientVersions)[number], url: string) {
    this.client = connectResumable({
      version: clientVersion,
      url,
      table: "todos",
      onInsert: (id) => this.#take(id),
    });
  }

  /** Compares with what was committed since then. */
  compare(committed: readonly number[], begunAtMs: number): object {
    const [first = 0] = committed;
    const got = this.received.filter((id) => id >= first);
    const distinct = new Set(got);
    return {
      client: `realtime-js ${this.client.version}`,
      committed: committed.length,
      missed: committed.filter((id) => !distinct.has(id)).length,
      repeated: got.length - distinct.size,
      isOrdered: got.every((id, index) => index === 0 || id > (got[index - 1] ?? 0)),
      gaps: this.client.gaps.length,
      longestSilenceMs: Math.round(this.#silence.ms),
      untilSeconds: secondsSince(begunAtMs, this.#silence.untilMs),
    };
  }

  #take(id: number): void {
    const nowMs = performance.now();
    const ms = nowMs - this.#lastAtMs;
    if (this.received.length > 0 && ms > this.#silence.ms) this.#silence = { ms, untilMs: nowMs };
    this.#lastAtMs = nowMs;
    this.received.push(id);
  }
}
