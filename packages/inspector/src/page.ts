import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildFromSource } from "./source-build.ts";

/** One file as it is sent. */
export interface PageFile {
  readonly contentType: string;
  readonly cacheControl: string;
  readonly etag: string;
  readonly plain: Buffer;
  /** Where it is smaller than plain. */
  readonly gzip: Buffer | undefined;
  readonly brotli: Buffer | undefined;
}

/** The files of the page by their path below it; `""` is the page itself. */
export type Page = ReadonlyMap<string, PageFile>;

/** Operator: the package was installed without its build: `pnpm --filter @walcast/inspector run build`. */
export class PageMissingError extends Error {
  readonly code = "INSPECTOR_PAGE_MISSING";
  constructor(folder: string, options?: ErrorOptions) {
    super(`the inspector's page is not in ${folder}; build @walcast/inspector, or set INSPECTOR=false`, options);
  }
}

const contentTypes: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".md": "text/markdown; charset=utf-8",
};

/** Names of assets hold a hash of their content. */
const forever = "public, max-age=31536000, immutable";
const askEachTime = "no-cache";

/**
 * Reads the built page into memory. Run from its sources, as in a clone, it is built first when they changed: some seconds.
 * Throws PageMissingError.
 */
export async function openPage(): Promise<Page> {
  const isSource = import.meta.url.endsWith(".ts");
  const built = fileURLToPath(new URL("../dist/page", import.meta.url));
  const folder = isSource ? await buildFromSource() : built;
  if (!existsSync(join(folder, "index.html"))) throw new PageMissingError(folder);
  const names = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = names
    .filter((entry) => entry.isFile() && !/\.(?:br|gz)$/u.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name));
  const files = await Promise.all(
    paths.map(async (path) => {
      const name = path.slice(folder.length + 1).replaceAll("\\", "/");
      return [name === "index.html" ? "" : name, await readPageFile(path, name)] as const;
    }),
  );
  return new Map(files);
}

async function readPageFile(path: string, name: string): Promise<PageFile> {
  const [plain, gzip, brotli] = await Promise.all([
    readFile(path),
    readIfThere(`${path}.gz`),
    readIfThere(`${path}.br`),
  ]);
  return {
    contentType: contentTypes[extname(path)] ?? "application/octet-stream",
    cacheControl: name.startsWith("assets/") ? forever : askEachTime,
    etag: `"${createHash("sha256").update(plain).digest("base64url").slice(0, 22)}"`,
    plain,
    gzip,
    brotli,
  };
}

const readIfThere = async (path: string): Promise<Buffer | undefined> =>
  existsSync(path) ? await readFile(path) : undefined;
