/**
 * Takes out of deployed packages what no image needs: binaries of other platforms, types, source maps, tests; and what would make
 * equal builds differ: pnpm's notes, and the time and the random number in the list of contents.
 *
 *   node prune.mjs <folder>...
 */
import { existsSync, globSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** uWebSockets.js carries a binary for every platform; all but the one for here are 126 MB of dead weight. */
function pruneBinaries(folder) {
  const ours = `uws_${process.platform}_${process.arch}_${process.versions.modules}.node`;
  const all = globSync(join(folder, "node_modules/.pnpm/uws-pack@*/node_modules/uws-pack/dist/bin/*.node"));
  if (all.length === 0) return;
  if (!all.some((file) => file.endsWith(ours))) throw new Error(`uWebSockets.js has no ${ours}`);
  for (const file of all) if (!file.endsWith(ours)) rmSync(file);
}

function makeRepeatable(sbom) {
  if (!existsSync(sbom)) return;
  const { serialNumber: _number, metadata, ...rest } = JSON.parse(readFileSync(sbom, "utf8"));
  const { timestamp: _time, ...facts } = metadata;
  writeFileSync(sbom, JSON.stringify({ ...rest, metadata: facts }, undefined, 1));
}

const unused = /\.d\.[mc]?ts$|\.map$|\.test\.[mc]?[jt]s$|^\.modules\.yaml$|^\.pnpm-workspace-state/u;

/** Neither a glob, which passes by `.pnpm`, nor a recursive readdir, which follows pnpm's links. */
function* unusedFiles(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* unusedFiles(path);
    else if (entry.isFile() && unused.test(entry.name)) yield path;
  }
}

for (const folder of process.argv.slice(2)) {
  pruneBinaries(folder);
  makeRepeatable(join(folder, "sbom.cdx.json"));
  for (const file of unusedFiles(join(folder, "node_modules"))) rmSync(file);
}
