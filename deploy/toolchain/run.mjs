/**
 * Runs a command of this repository with the Node.js, pnpm and dependencies it needs, and fetches what is missing.
 *
 *   node deploy/toolchain/run.mjs <command> [args...]
 *
 * `npm start` and `npm test` come through here, so that a machine with any Node.js >= 20 and npm needs no preparation.
 * Everything fetched lives in .toolchain/ and node_modules/; deleting both is always safe.
 */
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { exitLike, runChild } from "./child.mjs";
import { ensureNode, ensurePnpm } from "./tools.mjs";
import { ToolchainError } from "./errors.mjs";
import { ensureDependencies } from "./workspace.mjs";

const repo = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

/** `pnpm install` and its kin repair what the dependency check would complain about, so they must not wait for it. */
const CHANGES_DEPENDENCIES =
  /^(?:i|install|add|rm|remove|un|uninstall|up|update|link|dedupe|import|prune|approve-builds)$/u;

try {
  const [command, ...args] = process.argv.slice(2);
  if (command === undefined) throw new ToolchainError("usage: node deploy/toolchain/run.mjs <command> [args...]");

  const node = await ensureNode(repo);
  const pnpm = await ensurePnpm(repo, node);
  const path = [join(repo, "node_modules", ".bin"), node.bin, pnpm.bin, process.env.PATH ?? ""].join(delimiter);
  const env = { ...process.env, PATH: path };
  const repairs = command === "pnpm" && CHANGES_DEPENDENCIES.test(args[0] ?? "");
  if (!repairs) await ensureDependencies(repo, env);

  exitLike(await runChild(command === "node" ? node.executable : command, args, { env, stdio: "inherit" }));
} catch (error) {
  if (error.interruptedBy !== undefined) {
    exitLike({ code: undefined, signal: error.interruptedBy });
  } else {
    console.error(error instanceof ToolchainError ? `walcast: ${error.message}` : error);
    process.exitCode = 1;
  }
}
