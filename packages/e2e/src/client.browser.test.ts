import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { findServerBinary, waitUntil } from "@walcast/testkit";
import { chromium, type Browser, type Page } from "playwright-core";
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import { bundleScript } from "./client-bundle.ts";
import { startCluster, untilHealthy, type Cluster } from "./cluster.ts";

/** What runs in the page: the published client, with the add-on from its bundle. */
const script = (version: string, url: string): string => `
  import { RealtimeClient } from "realtime-js-${version}";
  import { resumable } from "@walcast/client";
  import { liveRows } from "@walcast/client/live-rows";
  const isLegacy = "${version}".startsWith("1.");
  const resuming = resumable({ storage: localStorage, onGap: () => state.gaps++ });
  const client = new RealtimeClient("${url}", { transport: resuming.transport, params: { apikey: "any" } });
  const state = (window.state = { received: [], gaps: 0, changes: [], rows: undefined, position: () => resuming.position(topic) });
  const topic = isLegacy ? "realtime:public:numbers" : "realtime:numbers";
  client.connect();
  const channel = client.channel(isLegacy ? topic : "numbers");
  const take = (change) => state.received.push((change.new ?? change.record).id);
  if (isLegacy) channel.on("INSERT", take);
  else channel.on("postgres_changes", { event: "INSERT", schema: "public", table: "numbers" }, take);
  channel.subscribe();
  const live = liveRows(client, { table: "rows", filter: "room=eq.1", onChange: (changes) => state.changes.push(...changes) });
  live.ready.then(() => (state.rows = live.rows));`;

let cluster: Cluster;
let browser: Browser;
const servers: Server[] = [];

beforeAll(async () => {
  cluster = await startCluster({ postgresUrl: inject("postgresUrl"), natsUrl: inject("natsUrl") });
  await cluster.sql.query(
    "CREATE TABLE numbers (id int PRIMARY KEY); CREATE TABLE rows (id int PRIMARY KEY, room int, note text)",
  );
  await cluster.sql.query("INSERT INTO rows SELECT i, i % 2, 'note' FROM generate_series(1, 40) AS i");
  await cluster.sql.query("INSERT INTO numbers VALUES (0)");
  const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];
  browser = await chromium.launch({ executablePath: findServerBinary("chromium"), args });
});
afterAll(async () => {
  await browser?.close();
  for (const server of servers) server.close();
  await cluster?.stop();
});

async function open(version: string): Promise<Page> {
  const bundle = await bundleScript(script(version, cluster.url));
  const server = createServer((request, response) => {
    const isScript = request.url === "/page.js";
    response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
    response.end(isScript ? bundle : '<!doctype html><script src="/page.js"></script>');
  });
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  await page.waitForFunction("state.rows !== undefined && state.position() !== undefined");
  return page;
}

const received = (page: Page): Promise<number[]> => page.evaluate("state.received");
const rows = (page: Page): Promise<string> =>
  page.evaluate(
    "JSON.stringify([...state.rows.values()].map(({ id, note }) => [id, note]).sort((a, b) => a[0] - b[0]))",
  );

it("misses nothing in Chromium, and keeps rows, while gateways are killed", async () => {
  const pages = await Promise.all(["1.7.5", "2.0.0", "2.119.0"].map(open));
  const numbers = async (from: number, to: number): Promise<void> => {
    for (let i = from; i <= to; i++) await cluster.sql.query("INSERT INTO numbers VALUES ($1)", [i]);
  };
  let gateway = cluster.gateways[0];
  const port = String(gateway?.port);
  for (const round of [0, 1]) {
    const first = round * 30;
    await numbers(first + 1, first + 10);
    await gateway?.process.kill9();
    await numbers(first + 11, first + 20);
    await cluster.sql.query("UPDATE rows SET room = 1 - room WHERE id % 5 = $1", [round]);
    await cluster.sql.query("UPDATE rows SET note = note || $1 WHERE id % 3 = 0", [String(round)]);
    await cluster.sql.query("DELETE FROM rows WHERE id = $1", [7 + round]);
    gateway = await cluster.addGateway({ PORT: port });
    await untilHealthy(gateway);
    await numbers(first + 21, first + 30);
    await cluster.sql.query("UPDATE rows SET room = 1 - room WHERE id = 11");
    const wanted = JSON.stringify(Array.from({ length: first + 30 }, (_, i) => i + 1));
    const { rows: found } = await cluster.sql.query<{ id: number; note: string }>(
      "SELECT id, note FROM rows WHERE room = 1 ORDER BY id",
    );
    const wantedRows = JSON.stringify(found.map(({ id, note }) => [id, note]));
    for (const page of pages) {
      await waitUntil(
        async () => JSON.stringify(await received(page)) === wanted && (await rows(page)) === wantedRows,
        { what: `${wanted} and ${wantedRows} in the page`, timeoutMs: 60_000 },
      ).catch(async (cause: unknown) => {
        throw new Error(`${JSON.stringify(await received(page))} ${await rows(page)}`, { cause });
      });
    }
  }
  for (const page of pages) expect(await page.evaluate("state.gaps")).toBe(0);
}, 240_000);
