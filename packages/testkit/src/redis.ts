import { mkdirSync } from "node:fs";
import { freePort } from "./free-port.ts";
import { LineProcess } from "./line-process.ts";
import { findServerBinary } from "./server-binaries.ts";
import { dataDirectory, runServer, type ServerProcess } from "./server-process.ts";

export interface RedisOptions {
  readonly port?: number;
  /** Kept by `stop()` when given. */
  readonly dataDir?: string;
  /** Appended to the command line: `["--maxmemory", "10mb"]`. */
  readonly redisFlags?: readonly string[];
}

/** Starts a Redis of its own that persists nothing: a restart is an empty Redis. */
export async function startRedis(options: RedisOptions = {}): Promise<ServerProcess> {
  const command = findServerBinary("redis-server");
  const port = options.port ?? (await freePort());
  const dataDir = dataDirectory("redis", options.dataDir);
  mkdirSync(dataDir.path, { recursive: true });
  const place = ["--port", String(port), "--bind", "127.0.0.1", "--dir", dataDir.path];
  const args = [...place, "--save", "", "--appendonly", "no", ...(options.redisFlags ?? [])];
  return runServer({
    url: `redis://127.0.0.1:${port}`,
    port,
    dataDir,
    gracefulSignal: "SIGTERM",
    quickSignal: "SIGKILL",
    start: async () => {
      const server = new LineProcess({
        name: `Redis on port ${port}`,
        command,
        args,
        env: { PATH: process.env["PATH"] },
      });
      try {
        await server.waitForLine("Ready to accept connections");
      } catch (error) {
        await server.kill9();
        throw error;
      }
      return server;
    },
  });
}
