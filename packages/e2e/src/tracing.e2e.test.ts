import { fileURLToPath } from "node:url";
import {
  createDatabase,
  freePort,
  spawnService,
  startTraceCollector,
  waitUntil,
  type CollectedSpan,
  type TraceCollector,
} from "@walcast/testkit";
import { SignJWT } from "jose";
import { Client } from "pg";
import { afterEach, beforeEach, expect, inject, it } from "vitest";
import { startCluster, type Cluster } from "./cluster.ts";
import { createRole } from "./database-roles.ts";
import { connectClient, isSubscribed, type TestSubscription } from "./realtime-clients.ts";

const secret = "a-secret-of-at-least-32-characters!!";
let collector: TraceCollector;
const ends: (() => unknown)[] = [];

beforeEach(async () => {
  collector = await startTraceCollector();
  ends.push(() => collector.close());
});
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

const traced = ({ url }: TraceCollector): Readonly<Record<string, string>> => ({
  OTEL_TRACES_EXPORTER: "otlp",
  OTEL_EXPORTER_OTLP_ENDPOINT: url,
  OTEL_TRACES_SAMPLER_ARG: "1",
});

async function start(env: Readonly<Record<string, string>>): Promise<Cluster> {
  const cluster = await startCluster({
    postgresUrl: inject("postgresUrl"),
    natsUrl: inject("natsUrl"),
    env: {
      SECURE_CHANNELS: "true",
      JWT_SECRET: secret,
      ...traced(collector),
      ...env,
    },
  });
  ends.push(() => cluster.stop());
  await cluster.sql.query(
    `CREATE TABLE open_rows (id int8 PRIMARY KEY); CREATE TABLE own_rows (id int8 PRIMARY KEY, owner text);
     ${createRole("authenticated", "open_rows")} GRANT SELECT ON own_rows TO authenticated;
     ALTER TABLE own_rows ENABLE ROW LEVEL SECURITY;
     CREATE POLICY own ON own_rows FOR SELECT USING (owner = current_setting('request.jwt.claims')::json->>'sub')`,
  );
  return cluster;
}

async function subscribe(url: string, table: string, sub: string): Promise<TestSubscription> {
  const token = await new SignJWT({ role: "authenticated", sub })
    .setProtectedHeader({ alg: "HS256" })
    .setExpirationTime("1h")
    .sign(new TextEncoder().encode(secret));
  const client = connectClient("2.119.0", url, token);
  ends.push(() => client.disconnect());
  const subscription = client.subscribe({ table });
  await waitUntil(() => isSubscribed(subscription), { what: `${sub} to be subscribed to ${table}` });
  return subscription;
}

/** Stopping sends what is left. */
async function stopServices({ gateways, ingesters }: Cluster): Promise<void> {
  for (const { process } of [...gateways, ...ingesters]) {
    await process.stop();
    expect(await process.exit).toMatchObject({ code: 0 });
  }
}

const shape = (spans: readonly CollectedSpan[]): readonly string[] => {
  const byId = new Map(spans.map((span) => [span.spanId, span]));
  return spans
    .map(({ service, name, parentSpanId }) => {
      const parent = byId.get(parentSpanId ?? "")?.name ?? String(parentSpanId);
      return `${service.replace("walcast-", "")} ${parent} > ${name}`;
    })
    .toSorted();
};

/** The newest trace of a change of the table. */
const ofTable = (table: string): CollectedSpan[] => {
  const root = collector.spans.findLast(
    ({ name, attributes }) => name === "ingest" && attributes["walcast.relation"] === `public.${table}`,
  );
  return collector.spans.filter(({ traceId }) => traceId === root?.traceId);
};

const fromCommitToSocket = [
  "gateway append > deliver",
  "gateway deliver > match",
  "gateway deliver > publish",
  "gateway deliver > receive",
  "ingester ingest > append",
  "ingester ingest > read",
  "ingester ingest > transcode",
  "ingester undefined > ingest",
];

it("one trace follows a row from its commit through both services to the sockets", async () => {
  const cluster = await start({});
  const everybodys = await Promise.all(["a", "b"].map((sub) => subscribe(cluster.url, "open_rows", sub)));
  await cluster.sql.query("INSERT INTO open_rows VALUES (1), (2)");
  await waitUntil(() => everybodys.every(({ changes }) => changes.length === 2), { what: "both rows at both clients" });
  await stopServices(cluster);

  const spans = ofTable("open_rows");
  expect(shape(spans)).toEqual(fromCommitToSocket);
  const named = (name: string): CollectedSpan => {
    const found = spans.find((span) => span.name === name);
    if (found === undefined) throw new Error(`there is no span ${name}`);
    return found;
  };
  const [ingest, append, deliver, publish] = ["ingest", "append", "deliver", "publish"].map(named) as [
    CollectedSpan,
    CollectedSpan,
    CollectedSpan,
    CollectedSpan,
  ];
  const received = everybodys[0]?.changes.at(-1)?.raw;
  expect(ingest.attributes).toMatchObject({ "walcast.changes": 2, "walcast.relation": "public.open_rows" });
  expect(deliver.attributes["walcast.last_position"]).toBe(ingest.attributes["walcast.last_position"]);
  expect([append.kind, deliver.kind]).toEqual([4, 5]);
  expect(Number(ingest.start) / 1e6).toBeCloseTo(Date.parse(String(received?.["commit_timestamp"])), -1);
  // Both clients are in one group: two frames, each to two sockets.
  expect(publish.attributes).toMatchObject({ "walcast.frames": 2, "walcast.deliveries": 4 });
  const inOrder = ["read", "transcode", "append"].map(named);
  expect(inOrder.map(({ start: begun }) => begun)).toEqual([ingest.start, named("read").end, named("transcode").end]);
  expect(spans.every(({ start: begun, end }) => begun <= end)).toBe(true);
  expect([named("receive").start, named("match").start]).toEqual([deliver.start, named("receive").end]);
});

it("standalone is traced the same way, on the log in memory", async () => {
  const database = await createDatabase(inject("postgresUrl"));
  ends.push(() => database.drop());
  const sql = new Client({ connectionString: database.url });
  await sql.connect();
  ends.push(() => sql.end());
  await sql.query("CREATE TABLE open_rows (id int8 PRIMARY KEY); CREATE PUBLICATION supabase_realtime FOR ALL TABLES");
  const port = String(await freePort());
  const standalone = spawnService({
    entry: fileURLToPath(new URL("../../../services/standalone/src/main.ts", import.meta.url)),
    name: "standalone",
    env: { DATABASE_URL: database.url, SLOT_NAME: database.name, PORT: port, LOG_FORMAT: "json", ...traced(collector) },
  });
  ends.push(() => standalone.stop());
  await standalone.waitForLine("leader: replication started");
  const everybodys = await subscribe(`ws://127.0.0.1:${port}/socket`, "open_rows", "a");
  await sql.query("INSERT INTO open_rows VALUES (1)");
  await waitUntil(() => everybodys.changes.length === 1, { what: "the row" });
  await standalone.stop();
  expect(shape(ofTable("open_rows"))).toEqual(
    fromCommitToSocket.map((line) => line.replace(/^\w+/u, "standalone")).toSorted(),
  );
});

it("what PostgreSQL is asked about has a span of its own, behind the others'", async () => {
  const cluster = await start({});
  const own = await subscribe(cluster.url, "own_rows", "me");
  // At the first one the role's group falls apart: it reaches its members one by one, apart from groups and their spans.
  for (const id of [1, 2]) {
    await cluster.sql.query("INSERT INTO own_rows VALUES ($1, 'me')", [id]);
    await waitUntil(() => own.changes.length === id, { what: `row ${id}` });
  }
  await stopServices(cluster);
  expect(shape(ofTable("own_rows"))).toEqual([...fromCommitToSocket, "gateway deliver > authorise"].toSorted());
});

it.each([
  ["what is not in the sample leaves no trace", "0"],
  ["a collector that is away costs nothing", "1"],
])("%s", async (_, ratio) => {
  const cluster = await start({ OTEL_TRACES_SAMPLER_ARG: ratio });
  if (ratio === "1") collector.close();
  const everybodys = await subscribe(cluster.url, "open_rows", "a");
  await cluster.sql.query("INSERT INTO open_rows SELECT generate_series(1, 1000)");
  await waitUntil(() => everybodys.changes.length === 1000, { what: "the rows" });
  await stopServices(cluster);
  expect(collector.spans).toEqual([]);
});

it("services with wrong settings for traces say so and do not start", async () => {
  const cluster = await start({});
  const wrong = await cluster.addGateway({ OTEL_TRACES_SAMPLER_ARG: "2" });
  expect(await wrong.process.exit).toMatchObject({ code: 78 });
  expect(wrong.process.lines.join("\n")).toContain('OTEL_TRACES_SAMPLER_ARG: must be a number between 0 and 1, is "2"');
});
