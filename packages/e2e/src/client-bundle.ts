import { fileURLToPath } from "node:url";
import { build, type BuildOptions } from "esbuild";

/** The entry points of the client add-on. */
export const clientEntries = {
  resumable: "../../client/src/index.ts",
  liveRows: "../../client/src/live-rows.ts",
} as const;

const bundle = async (options: BuildOptions): Promise<string> => {
  const { outputFiles } = await build({
    ...options,
    bundle: true,
    minify: true,
    write: false,
    platform: "browser",
    target: "es2023",
    conditions: ["@walcast/source"],
  });
  return outputFiles[0]?.text ?? "";
};

/** As an application's bundler would put it into a page. */
export const bundleEntry = (entry: keyof typeof clientEntries): Promise<string> =>
  bundle({ format: "esm", entryPoints: [fileURLToPath(new URL(clientEntries[entry], import.meta.url))] });

/** A script for a page, written against the packages that this one has. */
export const bundleScript = (source: string): Promise<string> =>
  bundle({
    format: "iife",
    stdin: { contents: source, resolveDir: fileURLToPath(new URL(".", import.meta.url)), loader: "ts" },
  });
