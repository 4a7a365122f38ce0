import { spawn } from "node:child_process";
import {
  type ContainerRuntimeClient,
  GenericContainer,
  getContainerRuntimeClient,
  ImageName,
  Wait,
} from "testcontainers";
import { POSTGRES_DEFAULT_FLAGS, waitForPostgres } from "./postgres.ts";

/** Newest major first: the first one present is taken. */
const POSTGRES_IMAGES = ["postgres:18", "postgres:17", "postgres:16", "postgres:15"];
const POSTGRES_PULLED = "postgres:17";
const NATS_IMAGE = "nats:2-alpine";
const REDIS_IMAGE = "redis:7-alpine";
const RYUK_IMAGE = "testcontainers/ryuk:0.14.0";

const ENGINE_TIMEOUT_MS = 5_000;
/** Beyond this, fetching and starting binaries is the quicker way. */
const PULL_TIMEOUT_MS = 60_000;
const START_TIMEOUT_MS = 60_000;

/** A server somewhere that can be used and ended, and no more. */
export interface RunningServer {
  readonly url: string;
  stop(): Promise<void>;
}

/** Starts one kind of server in a container. */
export interface ContainerStarters {
  readonly postgres: () => Promise<RunningServer>;
  readonly nats: () => Promise<RunningServer>;
  readonly redis: () => Promise<RunningServer>;
}

/** Finds a Docker engine with all images we need; otherwise the reason why there is none. */
export async function findContainers(): Promise<ContainerStarters | { readonly unavailable: string }> {
  let client: ContainerRuntimeClient;
  try {
    client = await within(ENGINE_TIMEOUT_MS, "the Docker engine to answer", getContainerRuntimeClient());
  } catch (error) {
    return { unavailable: `no Docker engine: ${String(error)}` };
  }
  try {
    const postgresImage = await firstPresent(client, POSTGRES_IMAGES);
    await Promise.all(
      [postgresImage ?? POSTGRES_PULLED, NATS_IMAGE, REDIS_IMAGE].map((image) => ensureImage(client, image)),
    );
    await chooseCleaner(client);
    return starters(postgresImage ?? POSTGRES_PULLED);
  } catch (error) {
    return { unavailable: `an image is neither present nor quickly pulled: ${String(error)}` };
  }
}

function starters(postgresImage: string): ContainerStarters {
  return {
    postgres: async () => {
      const container = new GenericContainer(postgresImage)
        .withEnvironment({ POSTGRES_PASSWORD: "postgres" })
        .withCommand(["postgres", ...POSTGRES_DEFAULT_FLAGS])
        .withWaitStrategy(Wait.forLogMessage("database system is ready to accept connections"));
      const server = await run(container, 5432, (address) => `postgres://postgres:postgres@${address}/postgres`);
      // The image's first start ends in a restart, so the log line may still be about a server that goes away.
      await waitForPostgres(server.url, START_TIMEOUT_MS);
      return server;
    },
    nats: () => {
      const container = new GenericContainer(NATS_IMAGE)
        .withCommand(["--jetstream", "--store_dir", "/tmp/jetstream"])
        .withWaitStrategy(Wait.forLogMessage("Server is ready"));
      return run(container, 4222, (address) => `nats://${address}`);
    },
    redis: () => {
      const container = new GenericContainer(REDIS_IMAGE).withWaitStrategy(
        Wait.forLogMessage("Ready to accept connections"),
      );
      return run(container, 6379, (address) => `redis://${address}`);
    },
  };
}

async function run(image: GenericContainer, port: number, urlOf: (address: string) => string): Promise<RunningServer> {
  const container = await image.withExposedPorts(port).withStartupTimeout(START_TIMEOUT_MS).start();
  const callOff = removeWithUs(container.getId());
  return {
    url: urlOf(`${container.getHost()}:${container.getMappedPort(port)}`),
    stop: async () => {
      await container.stop({ timeout: 0 });
      callOff();
    },
  };
}

/**
 * Removes a container when this process ends before it could, even by SIGKILL: a shell waits on a pipe that closes with
 * us. Ryuk does the same, but its image is not everywhere.
 */
function removeWithUs(id: string): () => void {
  const script = 'read -r _; exec docker rm --force --volumes "$0"';
  const watcher = spawn("/bin/sh", ["-c", script, id], { detached: true, stdio: ["pipe", "ignore", "ignore"] });
  // No shell, as on Windows: then only `stop` and Ryuk clean up.
  watcher.on("error", () => {});
  watcher.unref();
  return () => watcher.kill("SIGKILL");
}

/** Testcontainers would fail to start anything where its cleaner's image cannot be had. */
async function chooseCleaner(client: ContainerRuntimeClient): Promise<void> {
  if (process.env["TESTCONTAINERS_RYUK_DISABLED"] !== undefined) return;
  try {
    await ensureImage(client, process.env["RYUK_CONTAINER_IMAGE"] ?? RYUK_IMAGE);
  } catch {
    process.env["TESTCONTAINERS_RYUK_DISABLED"] = "true";
  }
}

async function firstPresent(client: ContainerRuntimeClient, images: readonly string[]): Promise<string | undefined> {
  for (const image of images) {
    if (await client.image.exists(ImageName.fromString(image))) return image;
  }
  return undefined;
}

async function ensureImage(client: ContainerRuntimeClient, image: string): Promise<void> {
  const name = ImageName.fromString(image);
  if (await client.image.exists(name)) return;
  await within(PULL_TIMEOUT_MS, `${image} to be pulled`, client.image.pull(name));
}

async function within<T>(timeoutMs: number, what: string, work: Promise<T>): Promise<T> {
  const timeout = Promise.withResolvers<never>();
  const timer = setTimeout(() => timeout.reject(new Error(`waited ${timeoutMs} ms for ${what}`)), timeoutMs);
  try {
    return await Promise.race([work, timeout.promise]);
  } finally {
    clearTimeout(timer);
  }
}
