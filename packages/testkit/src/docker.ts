import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const execute = promisify(execFile);

const repository = fileURLToPath(new URL("../../..", import.meta.url));

/** A `docker` command failed. The message ends with what it printed last. */
export class DockerError extends Error {
  readonly code = "DOCKER";
  constructor(args: readonly string[], cause: unknown) {
    const printed = cause instanceof Error && "stderr" in cause ? String(cause.stderr).trim().slice(-4_000) : "";
    super(`docker ${args.join(" ")} failed: ${printed}`, { cause });
  }
}

/** Runs the `docker` command at the root of the repository; resolves with what it printed. Throws DockerError. */
export async function docker(args: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<string> {
  try {
    // A build prints a lot.
    const { stdout } = await execute("docker", args, { cwd: repository, env, maxBuffer: 64 * 1024 * 1024 });
    return stdout.trim();
  } catch (error) {
    throw new DockerError(args, error);
  }
}

/** Everything a container has printed, also where errors go. */
export async function containerLog(container: string): Promise<string> {
  const { stdout, stderr } = await execute("docker", ["logs", container], { maxBuffer: 64 * 1024 * 1024 });
  return `${stdout}${stderr}`.trim();
}

/** The lines of a command's output. */
export const lines = (text: string): string[] => text.split("\n").filter((line) => line !== "");

/** What a server inside of a container answers to a GET from inside of it; our images have Node.js and no curl. */
export function getInside(container: string, url: string): Promise<string> {
  const script = "fetch(process.argv[1]).then((r) => r.text()).then((text) => process.stdout.write(text))";
  return docker(["exec", container, "node", "-e", script, url]);
}

/** What its HEALTHCHECK found last. */
export async function isHealthy(container: string): Promise<boolean> {
  return (await docker(["inspect", "--format", "{{.State.Health.Status}}", container])) === "healthy";
}
