/**
 * Runs a service in this process, so that it is the one that hears SIGTERM. Its main stands beside its entry point, which is
 * `src/index.ts` where sources run and `dist/index.js` in the image; a main is there to be run, so no package exports it.
 * Only the one that is asked for is loaded.
 */
export async function runService(name: "standalone" | "ingester" | "gateway"): Promise<void> {
  const entry = import.meta.resolve(`@walcast/${name}`);
  await import(new URL(entry.endsWith(".ts") ? "main.ts" : "main.js", entry).href);
}
