import { randomInt } from "node:crypto";
import { expect, it } from "vitest";
import { runSoak } from "./soak-run.ts";

const seconds = Number(process.env["SOAK_SECONDS"] ?? 1_200);
const seed = Number(process.env["SOAK_SEED"] ?? randomInt(2 ** 31));
const clients = Number(process.env["SOAK_CLIENTS"] ?? 2_000);

/** What a gateway may need more at the end than after the warm-up, with the same clients: garbage moves memory about. */
const growth = { factor: 1.25, rssMiB: 32, heapMiB: 8 };

it(
  "clients that stay get everything once and in order, and see who is there, whatever happens around them",
  async () => {
    process.stdout.write(`${JSON.stringify({ soak: "begins", seed, seconds, clients })}\n`);
    const report = await runSoak({ seed, seconds, clients });
    process.stdout.write(`${JSON.stringify({ seed, ...report })}\n`);
    expect(report.problems).toEqual([]);
    const { warm, end } = report.memory;
    expect(end.rss).toBeLessThan(warm.rss * growth.factor + growth.rssMiB);
    expect(end.heap).toBeLessThan(warm.heap * growth.factor + growth.heapMiB);
    expect(report["broadcasts_compared"]).toBeGreaterThan(seconds * clients * 0.05);
    expect(report["changes_compared"]).toBeGreaterThan(seconds * clients * 0.01);
  },
  seconds * 1_000 + 600_000, // starting, settling and stopping come on top
);
