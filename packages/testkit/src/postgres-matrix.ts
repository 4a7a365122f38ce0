/**
 * Runs the tests that speak to PostgreSQL once for each supported major version, or for those named as arguments, and
 * ends with one line for each and one for all: `12 passed, 0 failed`.
 */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { postgresVersions } from "./postgres-binaries.ts";

interface Result {
  readonly version: number;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

async function runTests(version: number): Promise<Result> {
  const child = spawn("vitest", ["run", "--config", "vitest.postgres.config.ts"], {
    env: { ...process.env, WALCAST_TEST_POSTGRES: String(version) },
    stdio: ["ignore", "pipe", "inherit"],
    shell: process.platform === "win32",
  });
  // Our end is the child's too: the terminal's Ctrl-C reaches both, a signal to us alone does not.
  const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
  process.once("SIGTERM", forward);
  const exit = new Promise<number>((resolve) => {
    child.on("error", () => resolve(1));
    child.on("close", (code) => resolve(code ?? 1));
  });
  let summary: RegExpExecArray | null = null;
  for await (const line of createInterface({ input: child.stdout })) {
    process.stdout.write(`${line}\n`);
    summary = /^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/u.exec(line) ?? summary;
  }
  const code = await exit;
  process.off("SIGTERM", forward);
  const [passed, failed, skipped] = [summary?.[1], summary?.[2], summary?.[3]].map((text) => Number(text ?? 0));
  return { version, passed: passed ?? 0, failed: code !== 0 && !failed ? 1 : (failed ?? 0), skipped: skipped ?? 0 };
}

const print = ({ passed, failed, skipped }: Omit<Result, "version">): string =>
  `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;

const named = process.argv.slice(2).map(Number);
const results: Result[] = [];
for (const version of named.length > 0 ? named : postgresVersions) {
  process.stdout.write(`PostgreSQL ${version}\n`);
  results.push(await runTests(version));
}
for (const result of results) process.stdout.write(`PostgreSQL ${result.version}: ${print(result)}\n`);
const sum = (of: (result: Result) => number): number => results.reduce((total, result) => total + of(result), 0);
const failed = sum((result) => result.failed);
process.stdout.write(
  `${print({ passed: sum((result) => result.passed), failed, skipped: sum((result) => result.skipped) })}\n`,
);
process.exitCode = failed > 0 ? 1 : 0;
