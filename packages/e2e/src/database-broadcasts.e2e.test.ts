import { migrate } from "@walcast/realtime-schema";
import { waitUntil } from "@walcast/testkit";
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import { startCluster, type Cluster } from "./cluster.ts";
import { openRaw, type RawSocket } from "./raw-socket.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster({ postgresUrl: inject("postgresUrl"), natsUrl: inject("natsUrl"), gateways: 2 });
  await migrate(cluster.sql, { createRoles: false, publications: [] });
});
afterAll(() => cluster.stop());

async function join(gateway: number, topic: string, isPrivate: boolean): Promise<RawSocket> {
  const socket = await openRaw(`ws://127.0.0.1:${cluster.gateways[gateway]?.port}/socket`, { vsn: "1.0.0" });
  socket.send({ topic: `realtime:${topic}`, event: "phx_join", payload: { config: { private: isPrivate } }, ref: "1" });
  await socket.next((frame) => (frame as { event: string }).event === "phx_reply", "the answer to the join");
  return socket;
}
const broadcasts = ({ frames }: RawSocket): unknown[] =>
  (frames as { event: string; payload: unknown }[])
    .filter(({ event }) => event === "broadcast")
    .map(({ payload }) => payload);

it("realtime.send, a direct insert and an emitted message reach the rooms of all gateways once, in order", async () => {
  const [one, other, open] = [await join(0, "room", true), await join(1, "room", true), await join(1, "room", false)];
  await cluster.sql.query("BEGIN");
  await cluster.sql.query(`SELECT realtime.send('{"n": 1}', 'sent', 'room', true)`);
  await cluster.sql.query(
    `INSERT INTO realtime.messages (topic, extension, event, payload, private)
     VALUES ('room', 'broadcast', 'inserted', '{"n": 2}', true)`,
  );
  await cluster.sql.query("COMMIT");
  await cluster.sql.query(
    `SELECT pg_logical_emit_message(false, 'walcast:broadcast', '{"topic":"room","event":"emitted","payload":{"n":3},"private":true}')`,
  );
  await cluster.sql.query(`SELECT realtime.send('{"n": 4}', 'open', 'room', false)`);
  for (const socket of [one, other]) {
    await waitUntil(() => broadcasts(socket).length >= 3, { what: "three broadcasts" });
    expect(broadcasts(socket)).toMatchObject([
      { type: "broadcast", event: "sent", payload: { n: 1 }, meta: {} },
      { type: "broadcast", event: "inserted", payload: { n: 2 }, meta: {} },
      { type: "broadcast", event: "emitted", payload: { n: 3 } },
    ]);
  }
  await waitUntil(() => broadcasts(open).length >= 1, { what: "the public broadcast" });
  expect(broadcasts(open)).toMatchObject([{ event: "open", payload: { n: 4 } }]);
  for (const socket of [one, other, open]) socket.end();
});
