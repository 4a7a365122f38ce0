import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePort } from "./free-port.ts";
import { LineProcess } from "./line-process.ts";
import { findServerBinary } from "./server-binaries.ts";
import { dataDirectory, runServer, type ServerProcess } from "./server-process.ts";

export interface NatsOptions {
  readonly port?: number;
  /** Kept by `stop()` when given. */
  readonly dataDir?: string;
  /** More lines of nats-server's configuration file, such as a `cluster { … }` block. */
  readonly extraConfig?: string;
  /** Must differ between the members of a cluster. */
  readonly serverName?: string;
}

/** Starts a NATS server of its own with JetStream on file storage. */
export async function startNats(options: NatsOptions = {}): Promise<ServerProcess> {
  const command = findServerBinary("nats-server");
  const port = options.port ?? (await freePort());
  const dataDir = dataDirectory("nats", options.dataDir);
  mkdirSync(dataDir.path, { recursive: true });
  const configFile = join(dataDir.path, "nats.conf");
  writeFileSync(
    configFile,
    [
      `listen: "127.0.0.1:${port}"`,
      `server_name: ${JSON.stringify(options.serverName ?? `walcast-${port}`)}`,
      `jetstream { store_dir: ${JSON.stringify(join(dataDir.path, "jetstream"))} }`,
      options.extraConfig ?? "",
    ].join("\n"),
  );
  return runServer({
    url: `nats://127.0.0.1:${port}`,
    port,
    dataDir,
    gracefulSignal: "SIGTERM",
    quickSignal: "SIGKILL",
    start: async () => {
      const server = new LineProcess({
        name: `NATS on port ${port}`,
        command,
        args: ["--config", configFile],
        env: { PATH: process.env["PATH"] },
      });
      try {
        await server.waitForLine("Server is ready");
      } catch (error) {
        await server.kill9();
        throw error;
      }
      return server;
    },
  });
}
