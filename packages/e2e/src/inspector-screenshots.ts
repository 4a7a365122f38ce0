// Takes the README's pictures of the inspector, on the machine's Chromium, from `npm start`'s own program:
//
//   npm run screenshots

import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { freePort, spawnService } from "@walcast/testkit";
import { Client } from "pg";
import type { Page } from "playwright-core";
import { launchBrowser } from "./browser.ts";

const folder = fileURLToPath(new URL("../../../deploy/screenshots", import.meta.url));
const entry = fileURLToPath(new URL("../../../services/standalone/src/main.ts", import.meta.url));
const pictures = [
  { name: "inspector-dark", colorScheme: "dark", width: 1280, height: 860 },
  { name: "inspector-light", colorScheme: "light", width: 1280, height: 860 },
  { name: "inspector-phone", colorScheme: "light", width: 390, height: 844 },
] as const;

const tasks = [
  "water the plants",
  "answer Ann",
  "order bread",
  "mend the gate",
  "read the log",
  "call the bank",
  "sharpen pencils",
  "feed the cat",
  "wash the car",
];

async function join(page: Page): Promise<void> {
  await page.getByLabel("Topic").fill("desk");
  await page.getByLabel("Table").fill("todos");
  await page.getByLabel("Filter").fill("done=eq.false");
  await page.getByRole("button", { name: "Add binding" }).click();
  const second = page.getByRole("group").nth(1);
  await second.getByLabel("Event").selectOption("DELETE");
  await second.getByLabel("Filter").fill("");
  await page.getByRole("button", { name: "Join" }).click();
  await page.locator('.status[data-status="subscribed"]').waitFor();
}

/** Most of a minute, so that the chart has something to show. */
async function live(sql: Client): Promise<void> {
  for (const [n, task] of tasks.entries()) {
    await sql.query("INSERT INTO todos (task) VALUES ($1)", [task]);
    await delay(1_300 + 170 * n);
    await sql.query("UPDATE todos SET done = true WHERE task = $1", [task]);
    await delay(2_900 - 210 * n);
    if (n % 3 === 2) await sql.query("DELETE FROM todos WHERE task = $1", [tasks[n - 1]]);
  }
  await sql.query("UPDATE todos SET task = 'read it all' WHERE task = 'read the log'");
  await sql.query("INSERT INTO todos (task) VALUES ('see it live')");
}

/** WebP, a third of what PNG takes: playwright itself has no such format. */
async function picture(page: Page): Promise<Buffer> {
  const devtools = await page.context().newCDPSession(page);
  const { data } = await devtools.send("Page.captureScreenshot", { format: "webp", quality: 82 });
  return Buffer.from(data, "base64");
}

const dataDir = mkdtempSync(path.join(tmpdir(), "walcast-pictures-"));
chmodSync(dataDir, 0o755); // PostgreSQL runs as another account when we are root
const [port, databasePort] = [await freePort(), await freePort()];
const standalone = spawnService({
  entry,
  name: "standalone",
  env: { PORT: String(port), DATA_DIR: dataDir, EMBEDDED_POSTGRES_PORT: String(databasePort) },
});
const browser = await launchBrowser();
try {
  await standalone.waitForLine("leader: replication started", { timeoutMs: 40_000 });
  const sql = new Client({ connectionString: `postgres://postgres:postgres@127.0.0.1:${databasePort}/postgres` });
  await sql.connect();
  mkdirSync(folder, { recursive: true });
  const pages = await Promise.all(
    pictures.map(async ({ name, colorScheme, width, height }) => {
      const page = await browser.newPage({ colorScheme, viewport: { width, height }, deviceScaleFactor: 1.5 });
      await page.goto(`http://127.0.0.1:${port}/inspector`);
      await join(page);
      return { name, page, isPhone: width < 600 };
    }),
  );
  await live(sql);
  for (const { name, page, isPhone } of pages) {
    await page.getByText("see it live").waitFor({ state: "attached" });
    await page.locator('.changes > li[data-tone="no"] > button').first().click();
    if (isPhone) await page.evaluate("document.querySelector('main').scrollIntoView()");
    await page.mouse.move(0, 0);
    writeFileSync(path.join(folder, `${name}.webp`), await picture(page));
  }
  await sql.end();
} finally {
  await browser.close();
  await standalone.stop();
  rmSync(dataDir, { recursive: true, force: true });
}
