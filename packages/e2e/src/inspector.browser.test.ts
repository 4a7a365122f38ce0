import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { waitUntil } from "@walcast/testkit";
import { SignJWT } from "jose";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from "vitest";
import { launchBrowser } from "./browser.ts";
import { startCluster, type Cluster } from "./cluster.ts";

const secret = "a-secret-of-at-least-32-characters!!";
const schema = `
  CREATE TABLE todos (id int PRIMARY KEY, owner text NOT NULL, done boolean NOT NULL DEFAULT false, hidden text);
  DO $$ BEGIN CREATE ROLE rls_user NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
  DO $$ BEGIN CREATE ROLE service_role NOLOGIN BYPASSRLS; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
  GRANT USAGE ON SCHEMA public TO rls_user, service_role;
  GRANT SELECT (id, owner, done) ON todos TO rls_user;
  GRANT SELECT ON todos TO service_role;
  ALTER TABLE todos REPLICA IDENTITY FULL, ENABLE ROW LEVEL SECURITY;
  CREATE POLICY own ON todos FOR SELECT TO rls_user
    USING (owner = current_setting('request.jwt.claims', true)::json ->> 'sub');
  CREATE PUBLICATION supabase_realtime FOR ALL TABLES`;
const token = (role: string): Promise<string> =>
  new SignJWT({ sub: "ann", role })
    .setProtectedHeader({ alg: "HS256" })
    .setExpirationTime("1h")
    .sign(new TextEncoder().encode(secret));
const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let cluster: Cluster;
let browser: Browser;
let origin = "";
let nextId = 1;

beforeAll(async () => {
  cluster = await startCluster({
    postgresUrl: inject("postgresUrl"),
    natsUrl: inject("natsUrl"),
    schema,
    env: { SECURE_CHANNELS: "true", JWT_SECRET: secret, ACCESS_POLL_MS: "100", INSPECTOR: "true" },
  });
  origin = cluster.url.replace("ws://", "http://").replace("/socket", "");
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser?.close();
  await cluster?.stop();
});

const pages: { page: Page; complaints: string[] }[] = [];
afterEach(async () => {
  const complaints = pages.flatMap((one) => one.complaints);
  await Promise.all(pages.splice(0).map(({ page }) => page.context().close()));
  expect(complaints).toEqual([]);
});

/** A page of its own context; what it logs, violates, or asks of others fails the test, unless it is expected. */
async function open(
  options: BrowserContextOptions = {},
  { path = "/inspector", expected = /^$/u } = {},
): Promise<Page> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const complaints: string[] = [];
  const complain = (text: string): void => {
    if (!expected.test(text)) complaints.push(text);
  };
  pages.push({ page, complaints });
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complain(message.text());
  });
  page.on("pageerror", (error) => complain(error.message));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== origin) complain(`asked ${request.url()}`);
  });
  page.on("websocket", (socket) => {
    if (new URL(socket.url()).host !== new URL(origin).host) complain(`asked ${socket.url()}`);
  });
  await page.addInitScript(`addEventListener("securitypolicyviolation", (event) =>
    console.error("violates " + event.violatedDirective + " " + event.blockedURI))`);
  await page.goto(origin + path);
  return page;
}

const insert = async (owner: string, done: boolean): Promise<number> => {
  const id = nextId++;
  await cluster.sql.query("INSERT INTO todos VALUES ($1, $2, $3, 'deep')", [id, owner, done]);
  return id;
};

async function join(page: Page, role: string, fields: Readonly<Record<string, string>> = {}): Promise<void> {
  await page.getByLabel("Token").fill(await token(role));
  await page.getByLabel("Table").fill("todos");
  for (const [label, value] of Object.entries(fields)) await page.getByLabel(label, { exact: true }).fill(value);
  await page.getByRole("button", { name: "Join" }).click();
  await page.locator('.status[data-status="subscribed"]').waitFor();
}

const lines = (page: Page): Promise<string[]> =>
  page.locator(".changes .line").evaluateAll((all) => all.map((one) => one.textContent));

/** Where the page's own rules are broken, by axe: contrast, names, roles, order. */
async function violations(page: Page): Promise<unknown> {
  return await page.evaluate(`(() => { ${axeSource} })();
    axe.run().then(({ violations }) => violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]))`);
}

/** What sticks out to the right, where the page scrolls sideways. */
const tooWide = (page: Page): Promise<string[]> =>
  page.evaluate(`(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    if (scrollWidth <= clientWidth) return [];
    const wide = [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > clientWidth);
    return wide.map((one) => one.outerHTML.slice(0, 80));
  })()`);

describe("the inspector", () => {
  it("is used by keyboard alone: a token, a filter, what matches and what does not, and why", async () => {
    const page = await open();
    const { keyboard } = page;
    const focused = (): Promise<string> =>
      page.evaluate(
        `(document.activeElement.name || document.activeElement.id || document.activeElement.textContent).trim()`,
      );
    const tabTo = async (name: string): Promise<void> => {
      for (let presses = 0; (await focused()) !== name; presses++) {
        if (presses > 30) throw new Error(`${name} cannot be reached, at ${await focused()}`);
        await keyboard.press("Tab");
      }
    };
    await page.getByRole("button", { name: "Join" }).waitFor();
    await tabTo("token");
    await keyboard.type(await token("rls_user"));
    await tabTo("table");
    await keyboard.press("Control+A");
    await keyboard.type("todos");
    await tabTo("filter");
    await keyboard.type("done=eq.false,or=(id.lt.1000000,owner.eq.bob)");
    await keyboard.press("Enter");
    await page.locator('.status[data-status="subscribed"]').waitFor();

    await insert("ann", false);
    await insert("ann", true);
    await insert("bob", false);
    await waitUntil(async () => (await lines(page)).length === 3, { what: "three lines" });
    const [hidden, unmet, matched] = await lines(page);
    expect(matched).toContain("matched");
    expect(matched).toContain('"owner":"ann"');
    expect(unmet).toContain("done=eq.false not met");
    expect(hidden).toContain("row not visible");
    expect(hidden).not.toContain("bob");

    await tabTo("tab-changes");
    await keyboard.press("ArrowRight");
    expect(await focused()).toBe("tab-presence");
    await keyboard.press("ArrowLeft");
    await page.locator(".changes .line").first().focus();
    await keyboard.press("ArrowDown");
    await keyboard.press("Enter");
    await page.getByText("done=eq.false is false").waitFor();
    expect(await page.locator(".details").innerText()).toContain("any public.todos done=eq.false,or=");
    expect(await page.content()).not.toContain("deep");
    await page.getByRole("tab", { name: "Frames" }).click();
    await page.getByText("phx_join", { exact: true }).waitFor();
    expect(await page.locator(".frames").innerText()).not.toContain("eyJ");
    expect(await page.getByText("explain", { exact: true }).count()).toBe(3);
  });

  it("charts how long changes take, and where the channel is", async () => {
    const page = await open();
    await join(page, "service_role");
    await insert("ann", false);
    await page.locator(".chart circle").first().waitFor();
    expect(await page.locator(".chart svg").getAttribute("aria-label")).toMatch(/1 changes, median -?\d+ ms/u);
    const { rows } = await cluster.sql.query<{ lsn: string }>("SELECT pg_current_wal_lsn()::text AS lsn");
    const shown = await page.locator(".figures .code").innerText();
    expect(shown).toMatch(new RegExp(`^\\d+\\.${rows[0]?.lsn.split("/")[0]}/[0-9A-F]+\\.0$`, "u"));
  });

  it("shows who is present, and the topics of the gateway to those who may", async () => {
    const [ann, bob] = [await open(), await open()];
    await join(ann, "service_role", { Topic: "desk" });
    await join(bob, "rls_user", { Topic: "desk" });
    for (const page of [ann, bob]) await page.getByRole("tab", { name: "Presence" }).click();
    await ann.getByLabel("What this page tracks").fill('{"name":"Ann of the desk"}');
    await ann.getByRole("button", { name: "Track", exact: true }).click();
    for (const page of [ann, bob]) await page.locator(".members").getByText("Ann of the desk").waitFor();
    await ann.getByRole("button", { name: "Untrack" }).click();
    await bob.getByText("Nobody is present in desk.").waitFor();
    await bob.getByLabel("What this page tracks").fill("no json");
    await bob.getByRole("button", { name: "Track", exact: true }).click();
    await bob.getByText("What is tracked is a JSON object").waitFor();
    for (const page of [ann, bob]) await page.getByRole("tab", { name: "Gateway" }).click();
    await ann.getByText("1 topic, 2 channels on this gateway").waitFor();
    await bob.getByText("INSPECTOR_ROLES").waitFor();
    expect(await ann.locator(".topics td").allInnerTexts()).toEqual(["realtime:desk", "2"]);
  });

  it("keeps the token in the tab, leaves channels, and says what was wrong with a join", async () => {
    const page = await open();
    await join(page, "rls_user");
    expect(await page.evaluate("Object.keys(sessionStorage)")).toEqual(["walcast-inspector-token"]);
    expect(await page.evaluate("localStorage.length + document.cookie.length")).toBe(0);
    expect(page.url()).toBe(`${origin}/inspector/`);
    await page.getByRole("button", { name: "Leave inspector" }).click();
    await page.getByText("See what this gateway sends, and why").waitFor();
    await page.getByLabel("Filter").fill("hidden=eq.x");
    await page.getByRole("button", { name: "Join" }).click();
    await page.getByRole("alert").filter({ hasText: "invalid column for filter hidden" }).waitFor();
    await page.reload();
    expect(await page.getByLabel("Token").inputValue()).toBe(
      await page.evaluate("sessionStorage['walcast-inspector-token']"),
    );
  });

  it("tells in words that a token is wrong, and goes on with a right one", async () => {
    const page = await open({}, { expected: /status of 401/u });
    await page.getByRole("button", { name: "Join" }).click();
    await page.getByRole("alert").filter({ hasText: "API key is missing" }).waitFor();
    await page.getByLabel("Token").fill("wrong");
    await page.getByRole("button", { name: "Join" }).click();
    await page.getByRole("alert").filter({ hasText: "The gateway refuses the token:" }).waitFor();
    expect(await page.getByRole("status").innerText()).toBe("refused");
    await join(page, "rls_user");
    expect(await page.getByRole("status").innerText()).toContain("role rls_user");
    expect(await page.getByRole("alert").count()).toBe(0);
  });

  it("goes on by itself where it was when its gateway was away", async () => {
    const page = await open({}, { expected: /WebSocket connection/u });
    await join(page, "service_role");
    const before = await insert("ann", false);
    await page.getByText(`"id":${before},`).waitFor();
    const [gateway] = cluster.gateways;
    await gateway?.process.kill9();
    await page.getByText("gateway does not answer").waitFor();
    const missed = await insert("bob", false);
    await cluster.addGateway({ PORT: String(gateway?.port) });
    await page.getByText(`"id":${missed},`).waitFor();
    const after = await insert("ann", true);
    await page.getByText(`"id":${after},`).waitFor();
    expect((await lines(page)).map((line) => /"id":(\d+)/u.exec(line)?.[1])).toEqual(
      [after, missed, before].map(String),
    );
    expect(await page.getByRole("status").innerText()).toContain("connected");
  });

  it("stays of use in a flood: so many are explained, the rest is counted", async () => {
    const page = await open();
    await join(page, "service_role", { Filter: "done=eq.true" });
    await cluster.sql.query("INSERT INTO todos SELECT n, 'ann', n % 100 = 0 FROM generate_series(100000, 110000) AS n");
    const note = page.locator(".note");
    await note.waitFor();
    expect(await note.innerText()).toMatch(/^\d+ changes were not explained/u);
    const received = page.locator(".figures div").filter({ hasText: "Received" }).locator("dd");
    await waitUntil(async () => (await received.innerText()) === "101", { what: "all 101 that match" });
    await page.locator("select[name=shown]").selectOption("matched");
    expect(await lines(page)).toHaveLength(101);
    await page.getByRole("button", { name: "Clear" }).click();
    expect(await lines(page)).toHaveLength(0);
  });

  it.each([
    ["a dark desktop", { colorScheme: "dark", viewport: { width: 1280, height: 800 } }],
    ["a light desktop", { colorScheme: "light", viewport: { width: 1280, height: 800 } }],
    ["a small phone", { colorScheme: "dark", viewport: { width: 320, height: 640 }, hasTouch: true, isMobile: true }],
  ] as const)("can be read and used by everybody on %s", async (_, options) => {
    const page = await open(options);
    await page.getByRole("button", { name: "Join" }).waitFor();
    expect(await violations(page)).toEqual([]);
    expect(await tooWide(page)).toEqual([]);
    await join(page, "rls_user", { Filter: "done=eq.false" });
    await insert("ann", false);
    await insert("ann", true);
    await insert("bob", true);
    await waitUntil(async () => (await lines(page)).length === 3, { what: "three lines" });
    await page.locator(".changes .line").nth(1).click();
    await page.getByText("done=eq.false is false").waitFor();
    for (const tab of ["Changes", "Presence", "Frames", "Gateway"]) {
      await page.getByRole("tab", { name: tab }).click();
      expect(await violations(page)).toEqual([]);
      expect(await tooWide(page)).toEqual([]);
    }
    const ground = await page.evaluate("getComputedStyle(document.body).backgroundColor");
    const [red = 0] = /\d+/u.exec(String(ground))?.map(Number) ?? [];
    expect(red > 128).toBe(options.colorScheme === "light");
  });
});
