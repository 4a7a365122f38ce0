import { parseJoin } from "@walcast/protocol";
import { waitUntil } from "@walcast/testkit";
import { describe, expect, it } from "vitest";
import { heldJoin } from "./held-join.ts";
import { okJoin, openSocket, room, startTestGateway } from "./test-gateway.ts";

const changes = [{ event: "*", schema: "public", table: "t" }];
const request = (postgres_changes: unknown, options: unknown) =>
  parseJoin({ config: { postgres_changes, postgres_changes_options: options } });

function hold(timeoutMs: number) {
  const answers: string[] = [];
  const held = heldJoin(request(changes, { wait: true, timeout: timeoutMs }), {
    onLive: () => answers.push("ok"),
    onRefused: (reason) => answers.push(reason),
  });
  if (held === undefined) throw new Error("the join is not held");
  return { held, answers };
}

describe("a held join", () => {
  it("is answered once, by what comes first", () => {
    const { held, answers } = hold(10_000);
    expect(held.isWaiting).toBe(true);
    held.live();
    held.disabled("too late");
    held.live();
    expect([answers, held.isWaiting]).toEqual([["ok"], false]);
  });

  it("says why its changes cannot be had", () => {
    const { held, answers } = hold(10_000);
    held.disabled("no such table");
    expect(answers).toEqual(["RealtimeDisabledForConfiguration: no such table"]);
  });

  it("waits no longer than it wants to", async () => {
    const { answers } = hold(7);
    await waitUntil(() => answers.length > 0, { what: "the join to be answered" });
    expect(answers).toEqual([
      "PostgresChangesSubscribeTimeout: Timed out after 7ms waiting for the postgres_changes subscription",
    ]);
  });

  it("is not answered any more once its channel has ended", () => {
    const { held, answers } = hold(10_000);
    expect([held.end(), held.end()]).toEqual([true, false]);
    held.live();
    expect(answers).toEqual([]);
  });

  it.each([
    ["does not wait", request(changes, { wait: false })],
    ["asks for no changes", request([], { wait: true })],
    ["is legacy", parseJoin({ postgres_changes_options: { wait: true } })],
  ])("is none that %s", (_, join) => {
    expect(heldJoin(join, { onLive: () => undefined, onRefused: () => undefined })).toBeUndefined();
  });
});

describe("a join that waits for a database that is not there", () => {
  const waiting = (timeout: number) => ({
    postgres_changes: changes,
    postgres_changes_options: { wait: true, timeout },
  });

  it("holds up nothing else of its socket, and fails when its time is over", async () => {
    const socket = await openSocket(await startTestGateway());
    const join = socket.join(room, waiting(300));
    expect(await socket.join("realtime:other")).toEqual(okJoin);
    await socket.settled();
    expect(socket.frames).toEqual([]); // no answer and no system message
    const reason =
      "PostgresChangesSubscribeTimeout: Timed out after 300ms waiting for the postgres_changes subscription";
    expect(await join).toEqual({ status: "error", response: { reason } });
    socket.send(room, "broadcast", {}, "1");
    await socket.settled();
    expect(socket.frames).toEqual([
      [null, "1", room, "phx_reply", { status: "error", response: { reason: "unmatched topic" } }],
    ]);
  });

  it("is not answered any more once it was left", async () => {
    const socket = await openSocket(await startTestGateway());
    socket.send(room, "phx_join", { config: waiting(50) }, "join");
    socket.send(room, "phx_leave", {}, "leave");
    await socket.join("realtime:later", waiting(100)); // both times are over when this is answered
    expect(socket.frames).toEqual([
      ["j", "leave", room, "phx_reply", { status: "ok", response: {} }],
      ["j", "j", room, "phx_close", {}],
    ]);
  });

  it("makes place for another join", async () => {
    const socket = await openSocket(await startTestGateway());
    socket.send(room, "phx_join", { config: waiting(20_000) }, "first");
    expect(await socket.join(room)).toEqual(okJoin);
    expect(socket.frames).toEqual([["j", "j", room, "phx_close", {}]]);
  });
});
