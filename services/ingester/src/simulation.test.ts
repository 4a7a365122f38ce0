import { randomInt } from "node:crypto";
import { continuityOf } from "@walcast/change-log";
import { expect, it } from "vitest";
import { realRules, replicatedRules, type Rules } from "./simulation-leader.ts";
import { BrokenPromise } from "./simulation-reader.ts";
import { SimulatedWorld } from "./simulation-world.ts";

// PostgreSQL and JetStream are models here, leaders freeze, die and lead two at a time, acknowledgements come late or
// never, and the log loses what it had not synced. The order of everything is the seed's: a failure prints it, and
//
//   SIMULATION_SEED=<seed> SIMULATION_SCHEDULES=1
//
// repeats it.

const firstSeed = Number(process.env["SIMULATION_SEED"] ?? randomInt(2 ** 31));
const schedules = Number(process.env["SIMULATION_SCHEDULES"] ?? 1_000);
const stepsEach = 100;

async function run(seed: number, rules: Rules): Promise<void> {
  try {
    await new SimulatedWorld({ seed, rules, continuityOf }).run(stepsEach);
  } catch (error) {
    if (!(error instanceof BrokenPromise)) throw error;
    throw new BrokenPromise(`SIMULATION_SEED=${seed}: ${error.message}`, { cause: error.cause });
  }
}

it(`the log holds every change once and in order, and none that was confirmed is lost (SIMULATION_SEED=${firstSeed})`, async () => {
  let done = 0;
  for (; done < schedules; done++) await run(firstSeed + done, realRules);
  expect(done).toBe(schedules);
}, 600_000);

it(`so it does on a replicated stream, by sequences and marks that are stored at once (SIMULATION_SEED=${firstSeed})`, async () => {
  let done = 0;
  for (; done < schedules; done++) await run(firstSeed + done, replicatedRules);
  expect(done).toBe(schedules);
}, 600_000);

/** Each rule is needed: without it some schedule breaks a promise, and the simulation sees it. */
it.each<[string, Partial<Rules>, RegExp]>([
  [
    "messages chained by sequence alone",
    { chainsById: false, claims: false },
    /told of a gap|belongs|another predecessor/,
  ],
  ["no message of its own before a leader begins", { claims: false }, /was confirmed, but a crash could take/],
  ["a log that is not asked again before confirming", { verifies: false }, /was confirmed, but a crash could take/],
  ["confirming what was received", { waitsForLog: false }, /was confirmed, but a crash could take/],
  [
    "marks that are stored one by one where nothing else chains",
    { ...replicatedRules, claimsAtOnce: false },
    /told of a gap|belongs|another predecessor/,
  ],
])(
  "notices %s",
  async (_what, missing, promise) => {
    const broken = async (): Promise<void> => {
      for (let seed = 1; seed <= 4_000; seed++) await run(seed, { ...realRules, ...missing });
    };
    await expect(broken()).rejects.toThrow(promise);
  },
  120_000,
);
