import { describe, expect, it } from "vitest";
import {
  env,
  nothing,
  okJoin,
  openSocket,
  policies,
  presenceOnly,
  readOnly,
  room,
  startTestGateway,
  text,
  tokenOf,
  type TestSocket,
} from "./test-gateway.ts";

describe("a private channel", () => {
  const config = { private: true, broadcast: { ack: true } };
  const cannotRead = "You do not have permissions to read from this Channel topic: room";

  it("is refused to who may read nothing in it, also when nobody can tell", async () => {
    const { rights, asked } = policies({ none: nothing, lost: "failure" });
    const gateway = await startTestGateway({ env, channelRights: rights });
    const socket = await openSocket(gateway, "2.0.0", tokenOf("anon"));
    const refusal = (reason: string): object => ({ status: "error", response: { reason } });
    expect(await socket.join(room, config, { access_token: tokenOf("none") })).toEqual(
      refusal(`Unauthorized: ${cannotRead}`),
    );
    expect(await socket.join(room, config, { access_token: tokenOf("lost") })).toEqual(
      refusal("Realtime was unable to connect to the project database"),
    );
    expect(await socket.join(room, {}, { access_token: tokenOf("none") })).toEqual(okJoin);
    expect(asked).toEqual(["none room", "lost room"]);
  });

  it("delivers to who may read broadcasts, and takes them without a word from who may not write", async () => {
    const { rights } = policies({ reader: readOnly, present: presenceOnly });
    const gateway = await startTestGateway({ env, channelRights: rights });
    const [writer, reader, present] = await Promise.all(
      ["writer", "reader", "present"].map((role) => openSocket(gateway, "2.0.0", tokenOf(role))),
    );
    if (writer === undefined || reader === undefined || present === undefined) throw new Error("three were opened");
    for (const socket of [writer, reader, present]) expect(await socket.join(room, config)).toEqual(okJoin);
    writer.send(room, "broadcast", text, "1");
    reader.send(room, "broadcast", { from: "the reader" }, "2");
    for (const socket of [writer, reader, present]) await socket.settled();
    expect(writer.frames).toEqual([["j", "1", room, "phx_reply", { status: "ok", response: {} }]]);
    expect(reader.frames).toEqual([[null, null, room, "broadcast", text]]);
    expect(present.frames).toEqual([]);
    expect(await gateway.metric('walcast_gateway_broadcasts_dropped_total{reason="denied"}')).toBe(1);
  });

  it("follows what new tokens may do: gains at once, and ends with what they lose", async () => {
    const { rights } = policies({
      present: presenceOnly,
      none: nothing,
      reader: readOnly,
    });
    const gateway = await startTestGateway({ env, channelRights: rights });
    const writer = await openSocket(gateway, "2.0.0", tokenOf("writer"));
    await writer.join(room, config);
    const open = async (role: string): Promise<TestSocket> => {
      const socket = await openSocket(gateway, "2.0.0", tokenOf(role));
      await socket.join(room, config);
      return socket;
    };
    const refresh = async (socket: TestSocket, role: string): Promise<void> => {
      socket.send(room, "access_token", { access_token: tokenOf(role) });
      await socket.settled();
    };
    const [gaining, losing, gone] = [await open("present"), await open("writer"), await open("present")];
    await refresh(gaining, "writer");
    await refresh(losing, "reader");
    await refresh(gone, "none");
    writer.send(room, "broadcast", text);
    for (const socket of [writer, gaining, losing, gone]) await socket.settled();
    expect(gaining.frames).toEqual([[null, null, room, "broadcast", text]]);
    const ended = (message: string): unknown => [
      ["j", null, room, "system", { extension: "system", status: "error", message, channel: "room" }],
      ["j", "j", room, "phx_close", {}],
    ];
    expect(losing.frames).toEqual(ended("You no longer have permission to read from this Channel topic: room"));
    expect(gone.frames).toEqual(ended(cannotRead));
  });

  it("asks nobody, and says nothing, when the same token is sent once more", async () => {
    const { rights, asked } = policies({});
    const gateway = await startTestGateway({ env, channelRights: rights });
    const [anon, other, fresh] = [tokenOf("anon"), tokenOf("other"), tokenOf("new")];
    const socket = await openSocket(gateway, "2.0.0", anon);
    await socket.join(room, config);
    await socket.join("realtime:other", config, { access_token: other });
    for (const [topic, token] of [
      [room, anon],
      [room, anon],
      ["realtime:other", other],
      [room, fresh],
      [room, fresh],
    ] as const)
      socket.send(topic, "access_token", { access_token: token });
    await socket.settled();
    expect(asked).toEqual(["anon room", "other other", "new room"]);
    expect(socket.frames).toEqual([]);
  });

  it("is heard here by who may read, when the sender may not and has no other channel", async () => {
    const { rights } = policies({ speaker: { broadcast: { read: false, write: true }, presence: readOnly.broadcast } });
    const gateway = await startTestGateway({ env, channelRights: rights });
    const [speaker, reader] = [
      await openSocket(gateway, "2.0.0", tokenOf("speaker")),
      await openSocket(gateway, "2.0.0", tokenOf("reader")),
    ];
    for (const socket of [speaker, reader]) expect(await socket.join(room, config)).toEqual(okJoin);
    speaker.send(room, "broadcast", text);
    for (const socket of [speaker, reader]) await socket.settled();
    expect(reader.broadcasts()).toEqual([text]);
  });
});
