import { createServer } from "node:http";
import { StorageType } from "@nats-io/jetstream";
import { freePort, startNats, startRedis, type ServerProcess } from "@walcast/testkit";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import type { DoctorSettings } from "./settings.ts";
import { codes, findingsOf, healthySite, makeStream, startServers } from "./test-site.ts";

// As doctor.pg.test.ts, for the other servers.

let servers: Awaited<ReturnType<typeof startServers>>;
beforeAll(async () => (servers = await startServers()), 120_000);
afterAll(() => servers.stop());

describe("faults in NATS and Redis", () => {
  const natsWith = async (extraConfig: string): Promise<ServerProcess> => {
    const server = await startNats({ extraConfig });
    onTestFinished(() => server.stop());
    return server;
  };
  const withNats = (
    settings: DoctorSettings,
    changed: Partial<NonNullable<DoctorSettings["nats"]>>,
  ): DoctorSettings => ({
    ...settings,
    nats: settings.nats === undefined ? undefined : { ...settings.nats, ...changed },
  });

  it("NATS_UNAVAILABLE, REDIS_UNAVAILABLE", async () => {
    const { settings } = await healthySite(servers);
    const away = withNats(
      { ...settings, redis: { url: `redis://127.0.0.1:${await freePort()}`, ca: undefined } },
      { url: `nats://127.0.0.1:${await freePort()}` },
    );
    expect(codes(await findingsOf(away))).toEqual(["error NATS_UNAVAILABLE", "error REDIS_UNAVAILABLE"]);
  });

  it("NATS_REPLICAS, and NATS_MAX_PAYLOAD", async () => {
    const { settings } = await healthySite(servers);
    const { url } = await natsWith("max_payload: 65536");
    const found = await findingsOf(withNats(settings, { url, replicas: 3 }));
    expect(codes(found)).toEqual(["error NATS_MAX_PAYLOAD", "error NATS_REPLICAS"]);
  });

  it("NATS_NO_JETSTREAM, NATS_STORAGE: an account's limits", async () => {
    const { settings } = await healthySite(servers);
    const { port } = await natsWith(`no_auth_user: small
      accounts {
        SMALL: { jetstream: { max_file: 32MB, max_mem: 0, max_streams: 5, max_consumers: 10 }, users: [{ user: small, password: small }] }
        NONE: { users: [{ user: none, password: none }] }
      }`);
    const found = await findingsOf(withNats(settings, { url: `nats://127.0.0.1:${port}` }));
    expect(codes(found)).toEqual(["error NATS_STORAGE"]);
    expect(found[0]?.reason).toMatch(/needs 64 MiB more .* has 32 MiB left/u);
    const other = await natsWith(`no_auth_user: none\naccounts { NONE: { users: [{ user: none, password: none }] } }`);
    expect(codes(await findingsOf(withNats(settings, { url: other.url })))).toEqual(["error NATS_NO_JETSTREAM"]);
  });

  it("STREAM_MISFIT, STREAM_RETENTION", async () => {
    const { settings } = await healthySite(servers);
    await makeStream(servers.nats.url, settings, { storage: StorageType.Memory, max_age: 60_000 * 1e6 });
    const found = await findingsOf(settings);
    expect(codes(found)).toEqual(["error STREAM_MISFIT", "note STREAM_RETENTION"]);
    expect(found[0]?.reason).toContain("its storage is memory");
  });

  it("NATS_SYNC_INTERVAL: what the server says at its monitoring endpoint", async () => {
    const { settings } = await healthySite(servers);
    const monitor = createServer((_request, response) => {
      response.end(JSON.stringify({ jetstream: { config: { sync_interval: 120_000_000_000 } } }));
    });
    const port = await freePort();
    await new Promise<void>((resolve) => monitor.listen(port, "127.0.0.1", resolve));
    onTestFinished(() => void monitor.close());
    const found = await findingsOf(
      withNats(settings, { monitorUrl: `http://127.0.0.1:${port}`, syncIntervalMs: 1_000 }),
    );
    expect(codes(found)).toEqual(["error NATS_SYNC_INTERVAL"]);
    expect(found[0]?.fix.text).toContain("NATS_SYNC_INTERVAL_MS=120000");
  });

  it("REDIS_EVICTION, REDIS_REPLICA", async () => {
    const { settings } = await healthySite(servers);
    const evicting = await startRedis({ redisFlags: ["--maxmemory", "10mb", "--maxmemory-policy", "allkeys-lru"] });
    onTestFinished(() => evicting.stop());
    expect(codes(await findingsOf({ ...settings, redis: { url: evicting.url, ca: undefined } }))).toEqual([
      "warning REDIS_EVICTION",
    ]);
    const replica = await startRedis({ redisFlags: ["--replicaof", "127.0.0.1", String(servers.redis.port)] });
    onTestFinished(() => replica.stop());
    expect(codes(await findingsOf({ ...settings, redis: { url: replica.url, ca: undefined } }))).toEqual([
      "error REDIS_REPLICA",
    ]);
  });
});
