import { MemoryNetwork } from "@walcast/bus";
import { waitUntil } from "@walcast/testkit";
import { describe, expect, it } from "vitest";
import { broadcastAddress } from "./room.ts";
import { env, kind3, okJoin, openSocket, room, startTestGateway, text, tokenOf } from "./test-gateway.ts";

describe("a broadcast", () => {
  it("reaches clients of every serializer, here and on another gateway, as protocol.md 2.5 has it", async () => {
    const network = new MemoryNetwork();
    const [here, there] = [await startTestGateway({ network }), await startTestGateway({ network })];
    const sender = await openSocket(here);
    const receivers = await Promise.all(
      [here, there].flatMap((gateway) => (["1.0.0", "2.0.0"] as const).map((vsn) => openSocket(gateway, vsn))),
    );
    for (const socket of [sender, ...receivers]) expect(await socket.join(room)).toEqual(okJoin);
    const verbatim = '{"type":"broadcast","event":"e", "payload":[1.50],"more":{"x":null}}';
    sender.sendRaw(`["j","1","${room}","broadcast",${verbatim}]`);
    sender.sendRaw(`["j","1","${room}","broadcast",{}]`);
    sender.sendRaw(kind3({ topic: room, event: "json", payload: '{"n":1}' }));
    sender.sendRaw(kind3({ topic: room, event: "bytes", encoding: 0, payload: Buffer.of(0, 1, 255) }));
    for (const socket of [sender, ...receivers]) await socket.settled();
    const toV1 = [JSON.parse(verbatim), {}, { event: "json", payload: { n: 1 }, type: "broadcast" }];
    const toV2 = [
      JSON.parse(verbatim),
      {},
      [room, "json", 1, Buffer.from('{"n":1}')],
      [room, "bytes", 0, Buffer.of(0, 1, 255)],
    ];
    expect(receivers.map((socket) => socket.broadcasts())).toEqual([toV1, toV2, toV1, toV2]);
    expect(sender.broadcasts()).toEqual([]);
    for (const gateway of [here, there]) {
      expect(await gateway.metric('walcast_gateway_broadcasts_dropped_total{reason="binaryPayload"}')).toBe(1);
      expect(await gateway.metric("walcast_gateway_broadcast_deliveries_total")).toBe(7);
    }
    expect(await here.metric('walcast_gateway_broadcasts_received_total{origin="websocket"}')).toBe(4);
    expect(await there.metric('walcast_gateway_broadcasts_received_total{origin="gateway"}')).toBe(4);
  });

  it.each(["1.0.0", "2.0.0"] as const)("goes back to a sender of vsn %s that asks for it, once", async (vsn) => {
    const gateway = await startTestGateway();
    const [selfish, other] = [await openSocket(gateway, vsn), await openSocket(gateway, vsn)];
    await selfish.join(room, { broadcast: { self: "TRUE" } });
    await other.join(room, { broadcast: { self: false } });
    selfish.send(room, "broadcast", text);
    await selfish.settled();
    other.send(room, "broadcast", text);
    await other.settled();
    await selfish.settled();
    expect([selfish.broadcasts(), other.broadcasts()]).toEqual([[text, text], [text]]);
  });

  it("is answered when that is asked for, after it was sent, by whatever way it came", async () => {
    const gateway = await startTestGateway();
    const socket = await openSocket(gateway);
    await socket.join(room, { broadcast: { ack: true, self: true } });
    await socket.join("realtime:quiet");
    socket.send(room, "broadcast", text, "1");
    socket.sendRaw(kind3({ topic: room, event: "e", ref: "2", payload: "{}" }));
    socket.send("realtime:quiet", "broadcast", text, "3");
    await socket.settled();
    expect(socket.frames).toEqual([
      [null, null, room, "broadcast", text],
      ["j", "1", room, "phx_reply", { status: "ok", response: {} }],
      [room, "e", 1, Buffer.from("{}")],
      ["j", "2", room, "phx_reply", { status: "ok", response: {} }],
    ]);
  });

  it("that is too large or no object goes nowhere, and is answered when that is asked for", async () => {
    const gateway = await startTestGateway({ env: { MAX_PAYLOAD_KB: "1" } });
    const [sender, receiver] = [await openSocket(gateway), await openSocket(gateway)];
    await sender.join(room, { broadcast: { ack: true } });
    await sender.join("realtime:quiet");
    for (const topic of [room, "realtime:quiet"]) await receiver.join(topic);
    const payload = `"${"é".repeat(749)}"`; // 1500 bytes, the limit
    sender.sendRaw(kind3({ topic: room, event: "fits", ref: "0", payload }));
    sender.sendRaw(kind3({ topic: room, event: "e", ref: "1", encoding: 0, payload: Buffer.alloc(1_501) }));
    sender.sendRaw(kind3({ topic: "realtime:quiet", event: "e", ref: "2", payload: `${payload} ` }));
    sender.send(room, "broadcast", { x: "é".repeat(750) }, "3");
    for (const [index, odd] of [null, [], 7, "text"].entries()) sender.send(room, "broadcast", odd, `4${index}`);
    sender.send("realtime:quiet", "broadcast", [], "5");
    await sender.settled();
    await receiver.settled();
    const answers = sender.frames.map((frame) => [(frame as unknown[])[1], (frame as unknown[])[4]]);
    const refusal = (error: string): object => ({ status: "error", response: { error } });
    expect(answers).toEqual([
      ["0", { status: "ok", response: {} }],
      ["1", refusal("payload_size_exceeded")],
      ["3", refusal("payload_size_exceeded")],
      ...["40", "41", "42", "43"].map((ref) => [ref, refusal("payload_not_an_object")]),
    ]);
    expect(receiver.broadcasts()).toEqual([[room, "fits", 1, Buffer.from(payload)]]);
    expect(await gateway.metric('walcast_gateway_broadcasts_dropped_total{reason="payloadTooLarge"}')).toBe(3);
    expect(await gateway.metric('walcast_gateway_broadcasts_dropped_total{reason="notAnObject"}')).toBe(5);
  });

  it("may be of any size that a frame has when there is no limit", async () => {
    const gateway = await startTestGateway({ env: { MAX_PAYLOAD_KB: "0" } });
    const [sender, receiver] = [await openSocket(gateway), await openSocket(gateway)];
    await Promise.all([sender.join(room), receiver.join(room)]);
    const payload = Buffer.alloc(4_900_000, 7);
    sender.sendRaw(kind3({ topic: room, event: "e", encoding: 0, payload }));
    await waitUntil(() => receiver.broadcasts().length === 1, { what: "the broadcast" });
    expect(payload.equals((receiver.broadcasts()[0] as [string, string, number, Buffer])[3])).toBe(true);
  });

  it("with a topic above 255 bytes reaches clients of vsn 1.0.0, and is dropped for others where it would be binary", async () => {
    const gateway = await startTestGateway();
    const [one, two] = [await openSocket(gateway, "1.0.0"), await openSocket(gateway, "2.0.0")];
    const topic = `realtime:${"x".repeat(300)}`;
    await Promise.all([one.join(topic), two.join(topic)]);
    const response = await fetch(`${gateway.base}/api/broadcast/${"x".repeat(300)}/events/e`, { method: "POST" });
    expect(response.status).toBe(202);
    one.send(topic, "broadcast", text);
    await one.settled();
    await two.settled();
    expect([one.broadcasts(), two.broadcasts()]).toEqual([[{ event: "e", payload: {}, type: "broadcast" }], [text]]);
    expect(await gateway.metric('walcast_gateway_broadcasts_dropped_total{reason="nameTooLong"}')).toBe(1);
  });

  it("stays among private channels or among public ones of its topic", async () => {
    const network = new MemoryNetwork();
    const [here, there] = [await startTestGateway({ network }), await startTestGateway({ network })];
    const sockets = await Promise.all([here, here, there, there].map((gateway) => openSocket(gateway)));
    for (const [index, socket] of sockets.entries()) await socket.join(room, { private: index % 2 === 1 });
    for (const socket of sockets.slice(0, 2)) socket.send(room, "broadcast", { from: sockets.indexOf(socket) });
    for (const socket of sockets) await socket.settled();
    expect(sockets.map((socket) => socket.broadcasts())).toEqual([[], [], [{ from: 0 }], [{ from: 1 }]]);
  });

  it("keeps its place among a sender's others, whatever their kind and size", async () => {
    const network = new MemoryNetwork();
    const [here, there] = [await startTestGateway({ network }), await startTestGateway({ network })];
    const [sender, near, far] = [await openSocket(here), await openSocket(here), await openSocket(there)];
    await Promise.all([sender, near, far].map((socket) => socket.join(room)));
    const count = 600;
    for (let i = 0; i < count; i++) {
      if (i % 3 === 0) sender.send(room, "broadcast", { i });
      else
        sender.sendRaw(
          kind3({ topic: room, event: String(i), encoding: 0, payload: Buffer.alloc(i % 100 === 1 ? 100_000 : i) }),
        );
    }
    for (const socket of [near, far]) {
      await waitUntil(() => socket.frames.length === count, { what: "all broadcasts" });
      const numbers = socket.frames.map((frame) => {
        const [, second, , , payload] = frame as unknown[];
        return payload === undefined ? Number(second) : (payload as { i: number }).i;
      });
      expect(numbers).toEqual(Array.from({ length: count }, (_, i) => i));
    }
  });

  it("reaches a channel that was joined anew, and not one that was left", async () => {
    const gateway = await startTestGateway();
    const [sender, receiver] = [await openSocket(gateway), await openSocket(gateway)];
    await sender.join(room);
    await receiver.join(room);
    await receiver.join(room);
    sender.send(room, "broadcast", text);
    await sender.settled();
    await receiver.settled();
    expect(receiver.broadcasts()).toEqual([text]);
    receiver.send(room, "phx_leave", {});
    await receiver.settled();
    sender.send(room, "broadcast", text);
    await sender.settled();
    await receiver.settled();
    expect(receiver.broadcasts()).toEqual([text]);
    expect(await gateway.metric("walcast_gateway_rooms")).toBe(1);
    expect(await gateway.metric("walcast_gateway_broadcast_deliveries_total")).toBe(1);
  });

  it("neither leaves nor reaches a legacy channel", async () => {
    const gateway = await startTestGateway();
    const [legacy, current] = [await openSocket(gateway, "1.0.0"), await openSocket(gateway, "1.0.0")];
    legacy.send(room, "phx_join", {});
    await legacy.settled();
    await current.join(room);
    legacy.send(room, "broadcast", text, "1");
    current.send(room, "broadcast", text, "2");
    await legacy.settled();
    await current.settled();
    expect([legacy.broadcasts(), current.broadcasts()]).toEqual([[], []]);
  });

  it("stays here and is counted when other gateways are away", async () => {
    const bus = new MemoryNetwork().open();
    await bus.close();
    const gateway = await startTestGateway({ bus });
    const [sender, receiver] = [await openSocket(gateway), await openSocket(gateway)];
    await Promise.all([sender.join(room, { broadcast: { ack: true } }), receiver.join(room)]);
    sender.send(room, "broadcast", text, "1");
    await sender.settled();
    await receiver.settled();
    expect([receiver.broadcasts(), sender.frames.length]).toEqual([[text], 1]);
    expect(await gateway.metric('walcast_gateway_broadcasts_dropped_total{reason="busAway"}')).toBe(1);
  });

  it("that another gateway garbles is passed over", async () => {
    const network = new MemoryNetwork();
    const gateway = await startTestGateway({ network });
    const socket = await openSocket(gateway);
    await socket.join(room);
    network.open().publish(broadcastAddress({ topic: room, isPrivate: false }), Buffer.from("garbage"));
    await socket.settled();
    expect(socket.frames).toEqual([]);
    expect(await gateway.metric('walcast_gateway_broadcasts_dropped_total{reason="malformed"}')).toBe(1);
  });
});

describe("binary frames that are none", () => {
  it.each(["1.0.0", "2.0.0"] as const)("are dropped from a client of vsn %s, whose connection stays", async (vsn) => {
    const gateway = await startTestGateway();
    const socket = await openSocket(gateway, vsn);
    await socket.join(room, { broadcast: { self: true } });
    const good = kind3({ topic: room, event: "e", payload: "{}" });
    for (const kind of [0, 1, 2, 4, 9]) socket.sendRaw(Uint8Array.from([kind, ...good.slice(1)]));
    for (const length of [0, 1, 6, 7, 15]) socket.sendRaw(good.slice(0, length));
    socket.sendRaw(kind3({ topic: room, event: "e", payload: "{" }));
    await socket.settled();
    expect(socket.frames).toEqual([]);
    expect(await gateway.metric("walcast_gateway_malformed_frames_total")).toBe(11);
  });

  it("are answered like others when their topic is not joined", async () => {
    const socket = await openSocket(await startTestGateway());
    socket.sendRaw(kind3({ topic: "realtime:elsewhere", event: "e", ref: "7", payload: "{}" }));
    await socket.settled();
    expect(socket.frames).toEqual([
      [null, "7", "realtime:elsewhere", "phx_reply", { status: "error", response: { reason: "unmatched topic" } }],
    ]);
  });
});

it("frames behind a join whose token is being verified wait for it, in their order", async () => {
  const gateway = await startTestGateway({ env });
  const socket = await openSocket(gateway, "2.0.0", tokenOf("anon"));
  socket.send(room, "phx_join", { config: { broadcast: { self: true } } });
  socket.sendRaw(kind3({ topic: room, event: "1", payload: "{}" }));
  socket.send(room, "broadcast", { n: 2 });
  socket.sendRaw(kind3({ topic: room, event: "3", encoding: 0, payload: "x" }));
  await socket.settled();
  expect(socket.broadcasts()).toEqual([[room, "1", 1, Buffer.from("{}")], { n: 2 }, [room, "3", 0, Buffer.from("x")]]);
});
