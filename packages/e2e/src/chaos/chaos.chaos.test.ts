import { randomInt } from "node:crypto";
import { expect, it } from "vitest";
import { runChaos, type ChaosOptions } from "./chaos-run.ts";

const seconds = Number(process.env["CHAOS_SECONDS"] ?? 120);
const seed = Number(process.env["CHAOS_SEED"] ?? randomInt(2 ** 31));
const chosen = process.env["CHAOS_NATS"] ?? "both";

const scenarios: readonly {
  readonly scenario: ChaosOptions["scenario"];
  readonly of: readonly string[];
  readonly what: string;
}[] = [
  { scenario: "single", of: ["single", "both"], what: "one NATS server" },
  { scenario: "cluster", of: ["cluster", "both"], what: "a NATS cluster of three" },
  { scenario: "lost-tail", of: ["lost-tail", "both"], what: "one NATS server that loses its unsynced tail" },
];

it.each(scenarios.filter(({ of }) => of.includes(chosen)))(
  "every commit reaches the log once and in order, whatever is killed, frozen and cut: $what",
  async ({ scenario }) => {
    process.stdout.write(`${JSON.stringify({ scenario, seed, seconds, begins: true })}\n`);
    const { timeline, ingesters, nats, ...report } = await runChaos({ scenario, seed, seconds });
    process.stdout.write(`${JSON.stringify(report)}\n`);
    if (report.problems.length > 0)
      process.stdout.write(`${JSON.stringify({ timeline, ingesters, nats }, undefined, 1)}\n`);
    expect(report).toMatchObject({ lost: 0, repeated: 0, out_of_order: 0, invented: 0, problems: [] });
    expect(report["committed_changes"]).toBeGreaterThan(seconds * 20);
  },
  seconds * 1000 + 300_000, // starting, catching up, comparing and stopping come on top
);
