import { benchIngest } from "./ingest.ts";

// `pnpm bench <name> [part of a case's name]`: one JSON line for each case, with the ratio to a yardstick measured in the same run.

const [name, only] = process.argv.slice(2);
const benches: Readonly<Record<string, (only: string | undefined) => Promise<void>>> = { ingest: benchIngest };
const bench = benches[name ?? ""];
if (bench === undefined) {
  console.error(`usage: pnpm bench <${Object.keys(benches).join("|")}> [part of a case's name]`);
  process.exitCode = 2;
} else {
  await bench(only);
}
