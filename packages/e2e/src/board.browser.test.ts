import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort, spawnService, waitUntil, type LineProcess } from "@walcast/testkit";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import { launchBrowser } from "./browser.ts";
import { startCluster, type Cluster } from "./cluster.ts";

const entry = fileURLToPath(new URL("../../../deploy/examples/service-board/src/main.ts", import.meta.url));

let cluster: Cluster;
let board: LineProcess;
let browser: Browser;
let pages: Page[];

beforeAll(async () => {
  cluster = await startCluster({ postgresUrl: inject("postgresUrl"), natsUrl: inject("natsUrl") });
  const port = String(await freePort());
  board = spawnService({
    entry,
    name: "service board",
    env: { DATABASE_URL: cluster.database.url, REALTIME_URL: cluster.url, PORT: port },
  });
  await waitUntil(async () => (await fetch(`http://127.0.0.1:${port}/healthz`)).ok, {
    what: "the board to be live",
    timeoutMs: 20_000,
  });
  browser = await launchBrowser();
  pages = await Promise.all(
    [0, 1].map(async () => {
      const page = await browser.newPage();
      await page.goto(`http://127.0.0.1:${port}/`);
      await page.waitForSelector("[data-status='1'] .cards > *");
      return page;
    }),
  );
});
afterAll(async () => {
  await browser?.close();
  await board?.stop();
  await cluster?.stop();
});

/** Which services each list of a page shows, in order. */
const lists = (page: Page): Promise<Record<string, string[]>> =>
  page.evaluate(`Object.fromEntries([...document.querySelectorAll("[data-status]")].map((list) =>
    [list.dataset.status, [...list.querySelectorAll(".cards .id")].map((id) => id.textContent.slice(1))]))`);

/** What the table says, as the lists should show it. */
async function expected(): Promise<Record<string, string[]>> {
  const { rows } = await cluster.sql.query<{ id: string; status_id: number }>("SELECT id, status_id FROM service");
  const byStatus: Record<string, string[]> = { 1: [], 2: [], 3: [] };
  for (const { id, status_id: status } of rows) byStatus[status]?.push(id);
  return byStatus;
}

const sorted = (byStatus: Record<string, string[]>): Record<string, string[]> =>
  Object.fromEntries(
    Object.entries(byStatus).map(([status, ids]) => [status, ids.toSorted((a, b) => Number(a) - Number(b))]),
  );

/** Runs SQL; resolves with how long both pages took to show what the table says, in milliseconds. */
async function shownAfter(sql: string): Promise<number> {
  await cluster.sql.query(sql);
  const startedAt = performance.now();
  const wanted = JSON.stringify(sorted(await expected()));
  await waitUntil(
    async () => (await Promise.all(pages.map(lists))).every((shown) => JSON.stringify(sorted(shown)) === wanted),
    {
      what: `both pages to show ${wanted}`,
      timeoutMs: 5_000,
      intervalMs: 5,
    },
  );
  return performance.now() - startedAt;
}

it("moves a card between the lists of two open pages when its status is updated in SQL", async () => {
  const [first] = (await expected())["1"] ?? [];
  const times: number[] = [];
  for (const status of [2, 3, 1])
    times.push(await shownAfter(`UPDATE service SET status_id = ${status} WHERE id = ${first}`));
  process.stdout.write(`the card moved on both pages after ${times.map((ms) => `${Math.round(ms)} ms`).join(", ")}\n`);
  expect(times).toHaveLength(3);
});

it("shows new rows and forgets deleted ones", async () => {
  await shownAfter(
    "INSERT INTO service (customer, vehicle, place, problem, status_id) VALUES ('<b>Ann</b>', 'van', 'A 7', 'flat tyre', 1)",
  );
  expect(await pages[0]?.getByText("<b>Ann</b>").count()).toBe(1);
  await shownAfter("DELETE FROM service WHERE customer = '<b>Ann</b>'");
});

it("shows each row once to a page that was opened later, or again", async () => {
  const [page] = pages;
  if (page === undefined) return expect.fail("no page");
  await page.reload();
  await page.waitForSelector("[data-status='1'] .cards > *");
  await shownAfter("UPDATE service SET problem = problem || '!'");
  const ids = Object.values(await lists(page)).flat();
  expect(new Set(ids).size).toBe(ids.length);
});

it("catches up after the gateway was away", async () => {
  const [gateway] = cluster.gateways;
  await gateway?.process.kill9();
  await cluster.sql.query("UPDATE service SET status_id = 3 WHERE status_id = 1");
  await cluster.addGateway({ PORT: String(gateway?.port) });
  const wanted = JSON.stringify(sorted(await expected()));
  await waitUntil(
    async () => (await Promise.all(pages.map(lists))).every((shown) => JSON.stringify(sorted(shown)) === wanted),
    {
      what: "both pages to catch up",
      timeoutMs: 30_000,
    },
  );
  for (const page of pages) expect(sorted(await lists(page))).toEqual(sorted(await expected()));
  const folder = process.env["SCREENSHOT_DIR"];
  if (folder === undefined) return;
  mkdirSync(folder, { recursive: true });
  await pages[0]?.screenshot({ path: join(folder, "service-board.png") });
});
