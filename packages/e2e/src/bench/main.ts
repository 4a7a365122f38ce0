import { parseArgs } from "node:util";
import { benchConnections } from "./connections.ts";
import { benchFanout, peers, type Peer } from "./fanout.ts";
import { benchIngest } from "./ingest.ts";
import { benchLatency } from "./latency.ts";
import { benchMatch } from "./match.ts";
import { benchRls } from "./rls.ts";
import { benchResume } from "./resume.ts";

// `pnpm bench <name> [part of a case's name] [--peer uws|ws|socket.io]`: one JSON line for each case, with the ratio to a
// yardstick measured in the same run.

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { peer: { type: "string", default: "uws" } },
});
const [name, only] = positionals;
const isPeer = (text: string): text is Peer => (peers as readonly string[]).includes(text);
const peer = isPeer(values.peer) ? values.peer : undefined;
const benches: Readonly<Record<string, (only: string | undefined, peer: Peer) => Promise<void>>> = {
  ingest: benchIngest,
  match: benchMatch,
  fanout: benchFanout,
  latency: benchLatency,
  connections: benchConnections,
  rls: benchRls,
  resume: benchResume,
};
const bench = benches[name ?? ""];
if (bench === undefined || peer === undefined) {
  console.error(
    `usage: pnpm bench <${Object.keys(benches).join("|")}> [part of a case's name] [--peer ${peers.join("|")}]`,
  );
  process.exitCode = 2;
} else {
  await bench(only, peer);
}
