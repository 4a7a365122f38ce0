import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, expect, test } from "vitest";
import type { LineProcess } from "./line-process.ts";
import { isRunning } from "./process-tree.ts";
import { spawnService } from "./service-process.ts";
import { waitUntil } from "./wait-until.ts";

const folder = mkdtempSync(join(tmpdir(), "walcast-service-test-"));
const started: LineProcess[] = [];

afterEach(async () => {
  await Promise.all(started.splice(0).map((service) => service.kill9()));
});
afterAll(() => rmSync(folder, { recursive: true }));

function start(source: string, env: Readonly<Record<string, string>> = {}): LineProcess {
  const entry = join(folder, `entry-${process.hrtime.bigint()}.ts`);
  writeFileSync(entry, source);
  const service = spawnService({ entry, env, name: "the service" });
  started.push(service);
  return service;
}

const OBEDIENT = `
  process.on("SIGTERM", () => { console.log("draining"); process.exit(3); });
  setInterval(() => {}, 1000);
  console.error("ready");
`;

test("sees stdout and stderr, and ends on SIGTERM with the program's own code", async () => {
  const service = start(OBEDIENT);
  await expect(service.waitForLine("ready")).resolves.toBe("ready");
  await expect(service.stop()).resolves.toEqual({ code: 3, signal: undefined });
  expect(service.lines).toEqual(["ready", "draining"]);
  expect(service.isRunning).toBe(false);
});

test("only the given environment reaches the program", async () => {
  const service = start(`console.log(Object.keys(process.env).sort().join())`, { WALCAST_X: "1" });
  await service.exit;
  expect(service.lines).toEqual(["HOME,PATH,WALCAST_X"]);
});

test("a program that ends early is an error that shows its last words", async () => {
  const service = start(`console.error("no configuration"); process.exit(2)`);
  await expect(service.waitForLine("ready")).rejects.toThrow(
    "the service ended before it wrote ready (exit code 2, signal none). Last output:\nno configuration",
  );
});

test("a line that does not come in time is an error", async () => {
  const service = start(OBEDIENT);
  await service.waitForLine("ready");
  await expect(service.waitForLine(/never/u, { timeoutMs: 10 })).rejects.toThrow("wrote no /never/u in 10 ms");
});

test("waits only for news from a given line on", async () => {
  const service = start(`setInterval(() => console.log("tick"), 5)`);
  await service.waitForLine("tick");
  const seen = service.lines.length;
  await service.waitForLine("tick", { from: seen });
  expect(service.lines.length).toBeGreaterThan(seen);
});

test("a paused program is silent until it is resumed", async () => {
  const service = start(`setInterval(() => console.log("tick"), 5)`);
  await service.waitForLine("tick");
  service.pause();
  const settled = await new Promise<number>((resolve) => {
    setTimeout(() => resolve(service.lines.length), 100);
  });
  await expect(service.waitForLine("tick", { from: settled, timeoutMs: 100 })).rejects.toThrow("wrote no tick");
  service.resume();
  await service.waitForLine("tick", { from: settled });
});

test("kill9 takes the program's children along", async () => {
  const service = start(`
    import { spawn } from "node:child_process";
    console.log(spawn("sleep", ["600"]).pid);
    setInterval(() => {}, 1000);
  `);
  const grandchild = Number(await service.waitForLine(/^\d+$/u));
  expect(isRunning(grandchild)).toBe(true);
  await service.kill9();
  expect(isRunning(grandchild)).toBe(false);
  await expect(service.exit).resolves.toEqual({ code: undefined, signal: "SIGKILL" });
});

test.each([
  ["process.exit", `process.exit(0)`],
  ["an uncaught error", `throw new Error("unexpected")`],
  ["SIGTERM", `process.kill(process.pid, "SIGTERM"); setInterval(() => {}, 1000)`],
  ["SIGINT", `process.kill(process.pid, "SIGINT"); setInterval(() => {}, 1000)`],
])("children do not outlive a process that ends by %s", async (_, end) => {
  const parent = start(parentOfSleeper(end));
  const child = Number(await parent.waitForLine(/^\d+$/u));
  await parent.exit;
  // The kill is sent before the parent is gone, but the kernel carries it out when it likes.
  await expect(waitUntil(() => !isRunning(child), { what: "the child to end" })).resolves.toBe(true);
});

test.runIf(process.platform === "linux")("children do not outlive a killed process", async () => {
  const parent = start(parentOfSleeper(`setInterval(() => {}, 1000)`));
  const child = Number(await parent.waitForLine(/^\d+$/u));
  process.kill(parent.pid, "SIGKILL");
  await expect(waitUntil(() => !isRunning(child), { what: "the child to end" })).resolves.toBe(true);
});

function parentOfSleeper(end: string): string {
  const sleeper = join(folder, "sleeper.ts");
  writeFileSync(sleeper, `console.log("asleep"); setInterval(() => {}, 1000)`);
  return `
    const { spawnService } = await import(${JSON.stringify(new URL("index.ts", import.meta.url).href)});
    const child = spawnService({ entry: ${JSON.stringify(sleeper)}, env: {}, name: "sleeper" });
    await child.waitForLine("asleep");
    console.log(child.pid);
    ${end};
  `;
}
