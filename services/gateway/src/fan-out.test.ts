import type { ChangeKind, LoggedChange } from "@walcast/change-log";
import { toLsn, type Relation } from "@walcast/model";
import { serializerV1, serializerV2 } from "@walcast/protocol";
import { describe, expect, it } from "vitest";
import { identify, legacyRequest, parseBinding, parseLegacyBinding } from "./binding.ts";
import { FanOut } from "./fan-out.ts";
import { Groups, type Group } from "./group.ts";

const todos: Relation = {
  oid: 1,
  schema: 'Odd "schema"',
  table: "to\tdos",
  replicaIdentity: "f",
  columns: [
    { name: "id", type: "int8", typeOid: 20, typeModifier: -1, isKey: true },
    { name: 'na"me', type: "positive", baseType: "int4", typeOid: 17_000, typeModifier: 20, isKey: false },
  ],
};
const parts: Readonly<Record<ChangeKind, Partial<Record<"record" | "oldRecord" | "unchanged", string>>>> = {
  insert: { record: '{"id":9007199254740993,"price":1.50}' },
  update: { record: '{"id":2}', oldRecord: '{"id":1}' },
  delete: { oldRecord: '{"id":1}' },
  truncate: {},
  message: {},
};
const change = (
  kind: ChangeKind,
  more: Partial<Record<"record" | "oldRecord" | "unchanged", string>> = {},
): LoggedChange => {
  const texts = { ...parts[kind], ...more };
  const bytes = (text: string | undefined) => (text === undefined ? undefined : Buffer.from(text));
  return {
    kind,
    position: { epoch: 1, commitLsn: toLsn(0x16b3748n), index: 3 },
    committedAtMicros: Date.UTC(2024, 1, 29, 10, 34, 56, 123) * 1000 + 999,
    xid: 7,
    record: bytes(texts.record),
    oldRecord: bytes(texts.oldRecord),
    unchanged: bytes(texts.unchanged),
  };
};

const groups = new Groups();
const current = (serializer = serializerV1): Group =>
  groups.enter({
    topic: "realtime:room",
    serializer,
    dialect: "current",
    bindings: identify([{ schema: "a" }, { schema: "b" }]).map(parseBinding),
  });
const legacy = (serializer = serializerV1): Group =>
  groups.enter({
    topic: "realtime:*",
    serializer,
    dialect: "legacy",
    bindings: [parseLegacyBinding(legacyRequest("realtime:*").identified)],
  });

/** The frames of one change, by the group they are published to. */
function frames(happened: LoggedChange, matches: ReadonlyMap<Group, readonly number[]>): [string, string][] {
  const published: [string, string][] = [];
  new FanOut(todos, (name, frame) => published.push([name, frame.toString()])).change(happened, matches);
  return published;
}
const frameOf = (happened: LoggedChange, group: Group, ids: readonly number[] = [7]): string =>
  frames(happened, new Map([[group, ids]]))[0]?.[1] ?? "";

const about = { schema: todos.schema, table: todos.table };
const timestamp = { commit_timestamp: "2024-02-29T10:34:56.123Z", position: "1.0/16B3748.3" };
const columns = [
  { name: "id", type: "int8" },
  { name: 'na"me', type: "positive" },
];
const legacyColumns = [
  { flags: ["key"], name: "id", type: "int8", type_modifier: 4_294_967_295 },
  { flags: [], name: 'na"me', type: "positive", type_modifier: 20 },
];

describe("a frame of postgres_changes", () => {
  it.each<[ChangeKind, string, object]>([
    ["insert", "INSERT", { record: JSON.parse(parts.insert.record ?? "") }],
    ["update", "UPDATE", { record: { id: 2 }, old_record: { id: 1 } }],
    ["delete", "DELETE", { old_record: { id: 1 } }],
  ])("of an %s has exactly these keys, in both serializers", (kind, type, records) => {
    const data = { type, ...about, columns, ...timestamp, ...records, errors: null };
    expect(JSON.parse(frameOf(change(kind), current(serializerV1), [7, 8]))).toEqual({
      topic: "realtime:room",
      event: "postgres_changes",
      ref: null,
      payload: { ids: [7, 8], data },
    });
    expect(JSON.parse(frameOf(change(kind), current(serializerV2), [7]))).toEqual([
      null,
      null,
      "realtime:room",
      "postgres_changes",
      { ids: [7], data },
    ]);
  });

  it("keeps every digit of the record", () => {
    expect(frameOf(change("insert"), current())).toContain('"record":{"id":9007199254740993,"price":1.50}');
  });

  it("names the columns that PostgreSQL did not send", () => {
    const frame = frameOf(change("update", { unchanged: '["body"]' }), current(serializerV2));
    expect(JSON.parse(frame)).toMatchObject({ 4: { data: { unchanged: ["body"] } } });
  });
});

describe("a legacy frame", () => {
  it.each<[ChangeKind, string, object]>([
    ["insert", "INSERT", { record: JSON.parse(parts.insert.record ?? "") }],
    ["update", "UPDATE", { record: { id: 2 }, old_record: { id: 1 } }],
    ["delete", "DELETE", { old_record: { id: 1 } }],
  ])("of an %s has the change for its payload, with flags and type modifiers", (kind, type, records) => {
    const payload = { type, ...about, columns: legacyColumns, ...timestamp, ...records, errors: null };
    const frame = { topic: "realtime:*", event: type, ref: null, payload };
    expect(JSON.parse(frameOf(change(kind), legacy()))).toEqual(frame);
    expect(JSON.parse(frameOf(change(kind), legacy(serializerV2)))).toEqual([null, null, "realtime:*", type, payload]);
  });

  it("of a truncate has neither columns nor records nor errors", () => {
    expect(JSON.parse(frameOf(change("truncate"), legacy()))).toEqual({
      topic: "realtime:*",
      event: "TRUNCATE",
      ref: null,
      payload: { type: "TRUNCATE", ...about, ...timestamp },
    });
  });
});

describe("FanOut", () => {
  it("publishes one frame to each group, whatever came before", () => {
    const [one, other, third] = [current(serializerV1), current(serializerV2), legacy()];
    const matches = new Map([
      [one, [7]],
      [other, [8, 9]],
      [third, [1]],
    ]);
    const published: [string, string][] = [];
    const fanOut = new FanOut(todos, (name, frame) => published.push([name, frame.toString()]));
    for (const kind of ["insert", "update", "delete", "insert"] as const) {
      published.length = 0;
      fanOut.change(change(kind), matches);
      expect(published).toEqual(frames(change(kind), matches));
      expect(published.map(([name]) => name)).toEqual([one.name, other.name, third.name]);
    }
  });

  it("writes a commit time of its own for each transaction", () => {
    const published: string[] = [];
    const fanOut = new FanOut(todos, (_, frame) => published.push(frame.toString()));
    const first = change("delete");
    const second = { ...first, committedAtMicros: first.committedAtMicros + 1_000_000 };
    for (const one of [first, second, first]) fanOut.change(one, new Map([[current(), [1]]]));
    expect(published.map((frame) => /commit_timestamp":"([^"]*)"/.exec(frame)?.[1])).toEqual([
      "2024-02-29T10:34:56.123Z",
      "2024-02-29T10:34:57.123Z",
      "2024-02-29T10:34:56.123Z",
    ]);
  });
});
