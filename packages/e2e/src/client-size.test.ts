import { gzipSync } from "node:zlib";
import { expect, it } from "vitest";
import { bundleEntry } from "./client-bundle.ts";

it.each([
  ["resumable", 3_072],
  ["liveRows", 3_072],
] as const)("%s takes less than %i bytes of a page", async (entry, limit) => {
  const bytes = gzipSync(await bundleEntry(entry), { level: 9 }).length;
  process.stdout.write(`${entry}: ${bytes} bytes, minified and gzipped\n`);
  expect(bytes).toBeGreaterThan(500);
  expect(bytes).toBeLessThan(limit);
});
