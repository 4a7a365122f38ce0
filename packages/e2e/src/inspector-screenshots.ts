// Takes the README's pictures of the inspector, on the machine's Chromium, from `npm start`'s own program:
//
//   npm run screenshots

import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
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

const tasks = ["water the plants", "answer Ann", "order bread", "mend the gate", "read the log", "call the bank"];

async function show(page: Page, sql: Client): Promise<void> {
  await page.getByLabel("Topic").fill("desk");
  await page.getByLabel("Table").fill("todos");
  await page.getByLabel("Filter").fill("done=eq.false");
  await page.getByRole("button", { name: "Add binding" }).click();
  const second = page.getByRole("group").nth(1);
  await second.getByLabel("Event").selectOption("DELETE");
  await second.getByLabel("Filter").fill("");
  await page.getByRole("button", { name: "Join" }).click();
  await page.locator('.status[data-status="subscribed"]').waitFor();
  for (const task of tasks) {
    await sql.query("INSERT INTO todos (task) VALUES ($1)", [task]);
    await page.waitForTimeout(700);
    await sql.query("UPDATE todos SET done = true WHERE task = $1", [task]);
    await page.waitForTimeout(900);
  }
  await sql.query("DELETE FROM todos WHERE task = $1", [tasks[1]]);
  await page.waitForTimeout(900);
  await sql.query("UPDATE todos SET task = 'read it all' WHERE task = $1", [tasks[4]]);
  await sql.query("INSERT INTO todos (task) VALUES ('see it live')");
  await page.getByText("see it live").waitFor({ state: "attached" });
}

const dataDir = mkdtempSync(join(tmpdir(), "walcast-pictures-"));
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
  for (const { name, colorScheme, width, height } of pictures) {
    await sql.query("DELETE FROM todos");
    const page = await browser.newPage({ colorScheme, viewport: { width, height } });
    await page.goto(`http://127.0.0.1:${port}/inspector`);
    await show(page, sql);
    const isPhone = width < 600;
    await page.locator(".changes > li:nth-child(2) > button").click();
    if (isPhone) await page.locator(".lag-panel").scrollIntoViewIfNeeded();
    if (isPhone) await page.evaluate("document.querySelector('main').scrollIntoView()");
    await page.screenshot({ path: join(folder, `${name}.png`) });
    await page.close();
  }
  await sql.end();
} finally {
  await browser.close();
  await standalone.stop();
  rmSync(dataDir, { recursive: true, force: true });
}
