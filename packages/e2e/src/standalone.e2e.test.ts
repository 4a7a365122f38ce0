import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { chmod } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createDatabase, freePort, spawnService, waitUntil, type LineProcess } from "@walcast/testkit";
import { SignJWT } from "jose";
import { Client } from "pg";
import { afterEach, expect, inject, it } from "vitest";
import { createRole } from "./database-roles.ts";
import { refusedUpgrade } from "./raw-socket.ts";
import { clientVersions, connectClient, isSubscribed } from "./realtime-clients.ts";

const entry = fileURLToPath(new URL("../../../services/standalone/src/main.ts", import.meta.url));
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function dataDirectory(): Promise<string> {
  const path = mkdtempSync(join(tmpdir(), "walcast-standalone-"));
  await chmod(path, 0o755); // PostgreSQL runs as another account when we are root
  cleanups.push(() => Promise.resolve(rmSync(path, { recursive: true, force: true })));
  return path;
}

interface Standalone {
  readonly process: LineProcess;
  readonly url: string;
  readonly port: number;
}

async function start(env: Record<string, string>): Promise<Standalone> {
  const port = await freePort();
  const process = spawnService({ entry, name: "standalone", env: { PORT: String(port), ...env } });
  cleanups.push(() => process.stop());
  await process.waitForLine("leader: replication started", { timeoutMs: 40_000 });
  return { process, port, url: `ws://127.0.0.1:${port}/socket` };
}

async function embedded(dataDir: string): Promise<Standalone & { databaseUrl: string }> {
  const databasePort = String(await freePort());
  const started = await start({ DATA_DIR: dataDir, EMBEDDED_POSTGRES_PORT: databasePort });
  return { ...started, databaseUrl: `postgres://postgres:postgres@127.0.0.1:${databasePort}/postgres` };
}

const postgresPid = (dataDir: string): number =>
  Number(readFileSync(join(dataDir, "postgres", "postmaster.pid"), "utf8").split("\n")[0]);

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function query(url: string, text: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  await client.query(text);
  await client.end();
}

it("runs on nothing: its own database, a demo table, and what to paste and run", async () => {
  const dataDir = await dataDirectory();
  const { process, url, databaseUrl } = await embedded(dataDir);
  const said = process.lines.join("\n");
  expect(said).toContain(`walcast is ready:  ${url}`);
  expect(said).toContain(
    "Open: no keys are set (JWT_SECRET, JWT_JWKS, JWT_JWKS_URL), so tokens are not verified (SECURE_CHANNELS=false), listening on 127.0.0.1.",
  );
  expect(said).toContain(`new RealtimeClient("${url}"`);
  expect(said).toContain("INSERT INTO todos (task)");
  const clients = clientVersions.map((version) => connectClient(version, url));
  const subscriptions = clients.map((client) => client.subscribe({ table: "todos" }));
  await waitUntil(() => subscriptions.every(isSubscribed), { what: "the subscriptions" });
  await query(databaseUrl, "INSERT INTO todos (task) VALUES ('see it live')");
  await query(databaseUrl, "UPDATE todos SET done = true");
  await waitUntil(() => subscriptions.every(({ changes }) => changes.length === 2), { what: "both changes" });
  for (const { changes } of subscriptions) {
    expect(changes.map(({ event, record, oldRecord }) => [event, record["done"], oldRecord["done"]])).toEqual([
      ["INSERT", false, undefined],
      ["UPDATE", true, false],
    ]);
  }
  for (const client of clients) client.disconnect();
});

it("takes its database with it, in good order or killed, and starts again on its data", async () => {
  const dataDir = await dataDirectory();
  const first = await embedded(dataDir);
  await query(first.databaseUrl, "INSERT INTO todos (task) VALUES ('kept')");
  const firstPid = postgresPid(dataDir);
  expect(await first.process.stop("SIGINT")).toEqual({ code: 0, signal: undefined });
  expect(isAlive(firstPid)).toBe(false);
  expect(existsSync(join(dataDir, "postgres", "postmaster.pid"))).toBe(false);

  const second = await embedded(dataDir);
  const secondPid = postgresPid(dataDir);
  process.kill(second.process.pid, "SIGKILL");
  await waitUntil(() => !isAlive(secondPid), { what: "PostgreSQL to end after its parent" });

  const third = await embedded(dataDir);
  const client = new Client({ connectionString: third.databaseUrl });
  await client.connect();
  expect((await client.query("SELECT task FROM todos")).rows).toEqual([{ task: "kept" }]);
  await client.end();
});

it("runs on a given database, by Supabase's names, and verifies tokens when it has a secret", async () => {
  const database = await createDatabase(inject("postgresUrl"));
  cleanups.push(() => database.drop());
  await query(
    database.url,
    `CREATE PUBLICATION mine FOR ALL TABLES; CREATE TABLE t (id int PRIMARY KEY); ${createRole("anon", "t")}`,
  );
  const { hostname, port, username, password, pathname } = new URL(database.url);
  const secret = "a-secret-of-at-least-32-characters!!";
  const { url, process: standalone } = await start({
    DB_HOST: hostname,
    DB_PORT: port,
    DB_NAME: pathname.slice(1),
    DB_USER: username,
    DB_PASSWORD: password,
    DB_SSL: "false",
    SLOT_NAME: database.name,
    PUBLICATIONS: '["mine"]',
    JWT_SECRET: secret,
    HOST: "127.0.0.1",
  });
  expect(standalone.lines.join("\n")).toContain("Tokens are verified");
  expect((await refusedUpgrade(url, { apikey: "x" })).status).toBe(401);
  const token = await new SignJWT({ role: "anon", exp: Math.floor(Date.now() / 1000) + 600 })
    .setProtectedHeader({ alg: "HS256" })
    .sign(new TextEncoder().encode(secret));
  const client = connectClient("2.119.0", url, token);
  const subscription = client.subscribe({ table: "t" });
  await waitUntil(() => isSubscribed(subscription), { what: "the subscription" });
  await query(database.url, "INSERT INTO t VALUES (1)");
  await waitUntil(() => subscription.changes.length === 1, { what: "the change" });
  client.disconnect();
  await standalone.stop(); // it holds the database's slot
});

it.each([
  [{ HOST: "0.0.0.0" }, "set JWT_SECRET (or JWT_JWKS, JWT_JWKS_URL), or HOST=127.0.0.1, or ALLOW_OPEN=true"],
  [
    { SECURE_CHANNELS: "false", JWT_SECRET: "x", HOST: "0.0.0.0" },
    "set JWT_SECRET (or JWT_JWKS, JWT_JWKS_URL), or HOST=127.0.0.1, or ALLOW_OPEN=true",
  ],
  [{ HOST: "0.0.0.0", ALLOW_OPEN: "0" }, "or ALLOW_OPEN=true"],
  [{ ALLOW_OPEN: "perhaps" }, 'ALLOW_OPEN: must be true or false, is "perhaps"'],
  [{ LOG_LEVEL: "warning" }, "LOG_LEVEL: must be one of trace, debug, info, warn"],
  [{ PORT: "high" }, "PORT: must be a whole number"],
])("refuses to start with %j", async (env, message) => {
  const refused = spawnService({ entry, name: "standalone", env });
  expect((await refused.exit).code).toBe(78);
  expect(refused.lines.join("\n")).toContain(message);
});

it("says which setting frees the embedded database's port", async () => {
  const dataDir = await dataDirectory();
  const taken = new URL(inject("postgresUrl")).port;
  const port = String(await freePort());
  const refused = spawnService({
    entry,
    name: "standalone",
    env: { DATA_DIR: dataDir, EMBEDDED_POSTGRES_PORT: taken, PORT: port },
  });
  expect((await refused.exit).code).toBe(1);
  expect(refused.lines.join("\n")).toContain(`port ${taken} is in use: set EMBEDDED_POSTGRES_PORT`);
});

it("verifies tokens wherever they have keys, not with JWT_SECRET alone", async () => {
  const database = await createDatabase(inject("postgresUrl"));
  cleanups.push(() => database.drop());
  await query(database.url, "CREATE PUBLICATION supabase_realtime");
  const keys = JSON.stringify({
    keys: [{ kty: "oct", alg: "HS256", kid: "a", k: Buffer.alloc(32, 1).toString("base64url") }],
  });
  const { process: standalone, url } = await start({ DATABASE_URL: database.url, HOST: "127.0.0.1", JWT_JWKS: keys });
  expect(standalone.lines.join("\n")).toContain("Tokens are verified");
  expect((await refusedUpgrade(url, { vsn: "2.0.0", apikey: "any" })).status).toBe(401);
  await standalone.stop(); // it holds the database's slot
});

it("leaves the database of another one that runs on the same data alone", async () => {
  const dataDir = await dataDirectory();
  const first = await embedded(dataDir);
  const env = { DATA_DIR: dataDir, EMBEDDED_POSTGRES_PORT: String(await freePort()), PORT: String(await freePort()) };
  const second = spawnService({ entry, name: "second standalone", env });
  expect((await second.exit).code).toBe(1);
  expect(second.lines.join("\n")).toContain(`another walcast runs on ${join(dataDir, "postgres")}: stop it`);
  await query(first.databaseUrl, "SELECT 1");
});
