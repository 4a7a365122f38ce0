import type { LoggedChange } from "@walcast/change-log";
import { toLsn, type Relation } from "@walcast/model";
import { describe, expect, it } from "vitest";
import { bringsBroadcasts, broadcastOf } from "./database-broadcasts.ts";

const relation = (schema: string, table: string, oid = 7): Relation => ({
  oid,
  schema,
  table,
  replicaIdentity: "d",
  columns: [],
});
const messages = relation("realtime", "messages_2026_01_31");
const emitted = relation("$message", "$message", 0);
const change = (kind: LoggedChange["kind"], record: string): LoggedChange => ({
  kind,
  relation: { text: "", parse: () => messages },
  position: { epoch: 1, commitLsn: toLsn(8n), index: 0 },
  committedAtMicros: 0,
  xid: 1,
  record: Buffer.from(record),
  oldRecord: undefined,
  unchanged: undefined,
});
const id = "0b1c";
const row = (more: string): string =>
  `{"topic":"room","extension":"broadcast","event":"moved","private":true,"id":"${id}",${more}}`;
const emit = (content: string, prefix = "walcast:broadcast"): string =>
  JSON.stringify({ prefix, transactional: false, content: Buffer.from(content).toString("base64") });

describe("relations that bring broadcasts", () => {
  it.each([
    [relation("realtime", "messages"), true],
    [messages, true],
    [emitted, true],
    [relation("realtime", "messages_of_mine"), false],
    [relation("public", "messages"), false],
  ])("%o: %s", (one, expected) => expect(bringsBroadcasts(one)).toBe(expected));
});

describe("a broadcast from the database", () => {
  it("is a row of realtime.messages, its payload as it is spelled", () => {
    const found = broadcastOf(
      change("insert", row('"payload":{"n":9007199254740993},"binary_payload":null')),
      messages,
    );
    expect(found).toMatchObject({
      to: { topic: "realtime:room", isPrivate: true },
      broadcast: { tag: "event", event: "moved", encoding: "json", metadata: `{"id":"${id}"}` },
    });
    expect(Buffer.from(found?.broadcast.payload ?? "").toString()).toBe('{"n":9007199254740993}');
  });

  it("may be bytes", () => {
    const found = broadcastOf(change("insert", row('"payload":null,"binary_payload":"00ff"')), messages);
    expect(found?.broadcast).toMatchObject({ encoding: "binary", payload: Buffer.from([0, 255]) });
  });

  it("is an emitted message with the prefix", () => {
    const found = broadcastOf(change("message", emit('{"topic":"room","event":"e","payload":{"a":1.50}}')), emitted);
    expect(found?.to).toEqual({ topic: "realtime:room", isPrivate: false });
    expect(Buffer.from(found?.broadcast.payload ?? "").toString()).toBe('{"a":1.50}');
  });

  it.each([
    [
      "a probe, which has no event",
      "insert",
      '{"topic":"room","extension":"broadcast","event":null,"private":false,"id":"1"}',
    ],
    ["an update", "update", row('"payload":{}')],
    ["another's message", "message", emit("{}", "others")],
    ["a message that is no JSON", "message", emit("{")],
    ["a message without a topic", "message", emit('{"event":"e"}')],
  ] as const)("is not %s", (_, kind, record) => {
    expect(broadcastOf(change(kind, record), kind === "message" ? emitted : messages)).toBeUndefined();
  });
});
