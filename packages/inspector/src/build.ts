// Builds the page into a folder and prints what its files weigh on the way to a browser:
//
//   node src/build.ts <folder>

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build } from "vite";

const folder = resolve(process.argv[2] ?? "dist/page");

await build({
  configFile: false,
  logLevel: "warn",
  root: fileURLToPath(new URL("page", import.meta.url)),
  base: "./", // served below any prefix that a proxy puts before it
  resolve: { conditions: ["@walcast/source", "module", "browser", "production"] },
  build: {
    outDir: folder,
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    license: { fileName: "licenses.md" }, // of what is bundled, which asks for it
    assetsInlineLimit: 0, // nothing inline: the page's policy forbids it
  },
});

const files = readdirSync(folder, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath, entry.name));
const kilobytes = (bytes: number): string => `${(bytes / 1024).toFixed(1)} kB`.padStart(10);
const total = { plain: 0, gzip: 0, brotli: 0 };
const line = (name: string, sizes: typeof total): string =>
  `${name.padEnd(32)}${kilobytes(sizes.plain)}${kilobytes(sizes.gzip)}${kilobytes(sizes.brotli)}\n`;
process.stdout.write(`${"".padEnd(32)}${"plain".padStart(10)}${"gzip".padStart(10)}${"brotli".padStart(10)}\n`);
for (const file of files.toSorted()) {
  const plain = readFileSync(file);
  const gzip = gzipSync(plain, { level: 9 });
  const brotli = brotliCompressSync(plain, { params: { [constants.BROTLI_PARAM_SIZE_HINT]: plain.length } });
  if (gzip.length < plain.length) writeFileSync(`${file}.gz`, gzip);
  if (brotli.length < plain.length) writeFileSync(`${file}.br`, brotli);
  const sizes = { plain: plain.length, gzip: gzip.length, brotli: brotli.length };
  total.plain += sizes.plain;
  total.gzip += sizes.gzip;
  total.brotli += sizes.brotli;
  process.stdout.write(line(relative(folder, file), sizes));
}
process.stdout.write(line("all", total));
