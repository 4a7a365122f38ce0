import { fork } from "node:child_process";
import { once } from "node:events";
import { createConnection } from "node:net";
import { fileURLToPath } from "node:url";

/** The embedded PostgreSQL did not start. Operator: the message holds what it said, or names the setting. */
export class EmbeddedDatabaseError extends Error {
  readonly code = "EMBEDDED_DATABASE";
}

/** From standalone to the host process. */
export interface HostRequest {
  readonly dataDir: string;
  readonly port: number;
  readonly password: string;
}
/** From the host process. */
export type HostMessage = { readonly tag: "ready" } | { readonly tag: "failed"; readonly message: string };

export interface EmbeddedDatabase {
  readonly url: string;
  stop(): Promise<void>;
}

/** The database is on loopback and for trying out: its password is no secret. */
const password = "postgres";

/** Starts PostgreSQL in a host process of its own, creating its data at the first start. Throws EmbeddedDatabaseError. */
export async function startEmbeddedDatabase({
  dataDir,
  port,
}: Omit<HostRequest, "password">): Promise<EmbeddedDatabase> {
  // Built to dist this file is .js, and so is its neighbour.
  const path = fileURLToPath(import.meta.url.replace(/embedded-database(\.[jt]s)$/, "postgres-host$1"));
  const host = fork(path, {
    detached: true,
    stdio: ["ignore", "ignore", "inherit", "ipc"],
    execArgv: process.execArgv,
  });
  const exited = once(host, "exit");
  host.send({ dataDir, port, password } satisfies HostRequest);
  const answered = once(host, "message") as Promise<[HostMessage]>;
  const answer = await Promise.race([answered.then(([message]) => message), exited.then(() => undefined)]);
  const stop = async (): Promise<void> => {
    if (host.connected) host.disconnect();
    await exited;
  };
  if (answer?.tag !== "ready") {
    await stop();
    const said = answer?.message.trim() ?? "its host process ended";
    const remedy = (await isTaken(port))
      ? `port ${port} is in use: set EMBEDDED_POSTGRES_PORT`
      : "or set DATABASE_URL to use your own";
    throw new EmbeddedDatabaseError(`the embedded PostgreSQL did not start; ${remedy}. It said: ${said}`);
  }
  return { url: `postgres://postgres:${password}@127.0.0.1:${port}/postgres`, stop };
}

function isTaken(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: "127.0.0.1" });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
