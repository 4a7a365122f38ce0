import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { Redis } from "ioredis";
import { Client } from "pg";
import { afterEach, describe, expect, inject, test } from "vitest";
import { createDatabase } from "./database.ts";
import { startNats } from "./nats.ts";
import { startPostgres } from "./postgres.ts";
import { isRunning, processTree } from "./process-tree.ts";
import { startRedis } from "./redis.ts";
import type { ServerProcess } from "./server-process.ts";

async function query(url: string, sql: string): Promise<readonly Record<string, unknown>[]> {
  const client = new Client({ connectionString: url });
  client.on("error", () => {});
  await client.connect();
  try {
    const { rows } = await client.query(sql);
    return rows;
  } finally {
    await client.end();
  }
}

async function publishDurably(url: string): Promise<number> {
  const connection = await connect({ servers: url });
  try {
    const manager = await jetstreamManager(connection);
    await manager.streams.add({ name: "testkit", subjects: ["testkit.>"] });
    const { seq } = await jetstream(connection).publish("testkit.a", "hello");
    return seq;
  } finally {
    await connection.close();
  }
}

async function ping(url: string): Promise<string> {
  const redis = new Redis(url);
  try {
    return await redis.ping();
  } finally {
    redis.disconnect();
  }
}

describe("the shared servers", () => {
  test("PostgreSQL answers and decodes logically", async () => {
    await expect(query(inject("postgresUrl"), "SHOW wal_level")).resolves.toEqual([{ wal_level: "logical" }]);
    await expect(query(inject("postgresUrl"), "SHOW max_replication_slots")).resolves.toEqual([
      { max_replication_slots: "50" },
    ]);
  });

  test("PostgreSQL has the version that was asked for, and tests are told which", async () => {
    const version = inject("postgresVersion");
    const asked = process.env["WALCAST_TEST_POSTGRES"];
    if (asked !== undefined) expect(String(version)).toBe(asked);
    const [row] = await query(inject("postgresUrl"), "SHOW server_version_num");
    expect(Math.trunc(Number(row?.["server_version_num"]) / 10_000)).toBe(version);
  });

  test("NATS acknowledges a publish to a stream", async () => {
    await expect(publishDurably(inject("natsUrl"))).resolves.toBe(1);
  });

  test("Redis answers PING", async () => {
    await expect(ping(inject("redisUrl"))).resolves.toBe("PONG");
  });
});

describe("createDatabase", () => {
  test("makes a database apart from the others and drops it with its slot and connections", async () => {
    const database = await createDatabase(inject("postgresUrl"));
    const idle = new Client({ connectionString: database.url });
    const lost = new Promise((resolve) => {
      idle.on("error", resolve);
    });
    await idle.connect();
    await idle.query("SELECT pg_create_logical_replication_slot('slot_' || current_database(), 'pgoutput')");
    await database.drop();
    await lost;
    const slots = `SELECT FROM pg_replication_slots WHERE database = '${database.name}'`;
    await expect(query(inject("postgresUrl"), slots)).resolves.toEqual([]);
    await expect(query(database.url, "SELECT 1")).rejects.toMatchObject({ code: "3D000" });
    await database.drop();
  });

  test("takes a name that needs quoting", async () => {
    const database = await createDatabase(inject("postgresUrl"), `Odd "name" ${process.pid}`);
    await expect(query(database.url, "SELECT current_database() AS name")).resolves.toEqual([{ name: database.name }]);
    await database.drop();
  });
});

describe("servers of a test's own", () => {
  let server: ServerProcess | undefined;
  afterEach(async () => {
    await server?.stop();
  });

  test("PostgreSQL keeps committed rows over a crash, and none of its processes survives one", async () => {
    server = await startPostgres({ postgresFlags: ["-c", "fsync=on"] });
    await query(server.url, "CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)");
    await expect(query(server.url, "SHOW fsync")).resolves.toEqual([{ fsync: "on" }]);
    const processes = processTree(server.pid);
    expect(processes.length).toBeGreaterThan(3);
    await server.kill9();
    expect(processes.filter(isRunning)).toEqual([]);
    await server.restart();
    await expect(query(server.url, "SELECT id FROM kept")).resolves.toEqual([{ id: 7 }]);
    await server.restart();
    await expect(query(server.url, "SELECT id FROM kept")).resolves.toEqual([{ id: 7 }]);
  });

  test("a paused PostgreSQL answers only when resumed", async () => {
    server = await startPostgres();
    server.pause();
    let isAnswered = false;
    const answer = query(server.url, "SELECT 1 AS one").finally(() => {
      isAnswered = true;
    });
    await new Promise((resolve) => {
      setTimeout(resolve, 200);
    });
    expect(isAnswered).toBe(false);
    server.resume();
    await expect(answer).resolves.toEqual([{ one: 1 }]);
  });

  test("NATS keeps its streams over a crash", async () => {
    server = await startNats({ extraConfig: "max_payload: 2MB" });
    await publishDurably(server.url);
    await server.kill9();
    await server.restart();
    const connection = await connect({ servers: server.url });
    expect(connection.info?.max_payload).toBe(2 * 1024 * 1024);
    const manager = await jetstreamManager(connection);
    const { state } = await manager.streams.info("testkit");
    expect(state.messages).toBe(1);
    await connection.close();
  });

  test("Redis answers again after a stop that keeps its place", async () => {
    server = await startRedis();
    await server.stop({ keepData: true });
    await expect(query(server.url.replace("redis", "postgres"), "SELECT 1")).rejects.toMatchObject({
      code: "ECONNREFUSED",
    });
    await server.restart();
    await expect(ping(server.url)).resolves.toBe("PONG");
  });
});
