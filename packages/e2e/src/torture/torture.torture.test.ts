import { randomInt } from "node:crypto";
import { expect, it } from "vitest";
import { runTorture, type TortureOptions, type TortureReport } from "./torture-run.ts";

const seconds = Number(process.env["TORTURE_SECONDS"] ?? 600);
const seed = Number(process.env["TORTURE_SEED"] ?? randomInt(2 ** 31));

async function torture(options: TortureOptions): Promise<TortureReport> {
  process.stdout.write(`${JSON.stringify({ torture: "begins", ...options })}\n`);
  const report = await runTorture(options);
  process.stdout.write(`${JSON.stringify(report)}\n`);
  return report;
}

it(
  "real clients get everything that they may see, in the order of the commits, whatever breaks",
  async () => {
    const { problems, gaps_told: gaps, rows } = await torture({ variant: "everything", seconds, seed });
    expect(problems).toEqual([]);
    expect(gaps).toBe(0);
    expect(rows).toBeGreaterThan(seconds * 100);
  },
  seconds * 3_000 + 600_000, // starting, quiet moments and stopping come on top
);

it("who was away for longer than the log reaches back is told so, and who missed nothing is not", async () => {
  const { problems, gaps_told: gaps, rows } = await torture({ variant: "gaps", seconds: Math.min(seconds, 120), seed });
  expect(problems).toEqual([]);
  expect(gaps).toBeGreaterThan(0);
  expect(rows).toBeGreaterThan(0);
}, 600_000);
