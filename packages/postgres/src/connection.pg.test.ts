import { connect as connectSocket, createServer, type AddressInfo, type Socket } from "node:net";
import { createDatabase, type TestDatabase } from "@walcast/testkit";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { loadConfig } from "@walcast/config";
import { connectClient, databaseOf, endClient, streamOf } from "./connection.ts";
import { sqlStateOf } from "./errors.ts";
import { databaseSettings } from "./settings.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabase(inject("postgresUrl"));
});
afterAll(() => database.drop());

const connect = (onLost?: (error: Error) => void) =>
  connectClient(
    { connectionString: database.url },
    { applicationName: "walcast test", ...(onLost === undefined ? {} : { onLost }) },
  );

describe("connectClient", () => {
  it("shows its name to the server", async () => {
    const client = await connect();
    const { rows } = await client.query("SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()");
    expect(rows).toEqual([{ application_name: "walcast test" }]);
    await endClient(client);
  });

  it("says that the database cannot be reached, and why", async () => {
    const refused = connectClient({ connectionString: "postgres://127.0.0.1:1/x" }, { applicationName: "x" });
    await expect(refused).rejects.toMatchObject({ code: "DATABASE_UNAVAILABLE", cause: { code: "ECONNREFUSED" } });
    const missing = connectClient({ connectionString: `${database.url}_missing` }, { applicationName: "x" });
    const error: unknown = await missing.catch((cause: unknown) => cause);
    expect(sqlStateOf(error)).toBe("3D000");
  });

  it("tells when the connection is lost", async () => {
    const lost = Promise.withResolvers<Error>();
    const client = await connect(lost.resolve);
    const other = await connect();
    const { rows } = await client.query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
    await other.query("SELECT pg_terminate_backend($1)", [rows[0]?.pid]);
    expect(await lost.promise).toMatchObject({ code: "DATABASE_UNAVAILABLE" });
    await endClient(client);
    await endClient(other);
  });
});

describe("TLS", () => {
  // The server has none: whoever asks for it is told, instead of going on without.
  it.each([
    ["is asked for with a URL that says nothing of it", "true", "", false],
    ["is as the URL says, which comes first", "true", "?sslmode=disable", true],
    ["is not asked for by default", "", "", true],
  ])("%s", async (_, DB_SSL, parameters, connects) => {
    const config = loadConfig(databaseSettings, { DATABASE_URL: database.url + parameters, DB_SSL });
    const outcome = await connectClient(databaseOf(config), { applicationName: "x" }).then(
      async (client) => {
        await endClient(client);
        return true;
      },
      (error: Error) => String(error.cause).includes("does not support SSL") && false,
    );
    expect(outcome).toBe(connects);
  });
});

describe("endClient", () => {
  it("may be asked twice, and of a connection that is gone", async () => {
    const client = await connect();
    await endClient(client);
    await expect(endClient(client)).resolves.toBeUndefined();
    const cut = await connect(() => undefined);
    streamOf(cut)?.destroy();
    await expect(endClient(cut)).resolves.toBeUndefined();
  });

  it("cuts a connection to a server that does not answer any more", async () => {
    // The real server's bytes up to a moment, and then nothing: neither answers nor ends.
    const upstream = new URL(database.url);
    const sockets: Socket[] = [];
    const silent = createServer((near) => {
      const far = connectSocket(Number(upstream.port), upstream.hostname);
      sockets.push(near, far);
      near.pipe(far);
      far.pipe(near);
    });
    await new Promise<void>((resolve) => {
      silent.listen(0, "127.0.0.1", resolve);
    });
    const target = new URL(database.url);
    target.host = `127.0.0.1:${(silent.address() as AddressInfo).port}`;
    const client = await connectClient({ connectionString: target.href }, { applicationName: "x" });
    for (const socket of sockets) socket.unpipe().pause();
    await expect(endClient(client)).resolves.toBeUndefined();
    for (const socket of sockets) socket.destroy();
    silent.close();
  });
});
