import type { ChangeKind, LoggedChange } from "@walcast/change-log";
import { toLsn, type Relation } from "@walcast/model";
import { serializerV1, serializerV2 } from "@walcast/protocol";
import { describe, expect, it } from "vitest";
import { identify, legacyRequest, parseBinding, parseLegacyBinding } from "./binding.ts";
import { ChangeData } from "./change-data.ts";
import { FanOut, type Emit } from "./fan-out.ts";
import { formOf, Groups, type Group, type View } from "./group.ts";

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
    relation: { text: "", parse: () => todos },
    position: { epoch: 1, commitLsn: toLsn(0x16b3748n), index: 3 },
    committedAtMicros: Date.UTC(2024, 1, 29, 10, 34, 56, 123) * 1000 + 999,
    xid: 7,
    record: bytes(texts.record),
    oldRecord: bytes(texts.oldRecord),
    unchanged: bytes(texts.unchanged),
  };
};

const groups = new Groups();
const current = (serializer = serializerV1, more: { hasMeta?: boolean } = {}): Group =>
  groups.enter({
    ...more,
    topic: "realtime:room",
    serializer,
    dialect: "current",
    bindings: identify([{ schema: "a" }, { schema: "b" }]).map(parseBinding),
  });
const legacy = (serializer = serializerV1, more: { hasMeta?: boolean } = {}): Group =>
  groups.enter({
    ...more,
    topic: "realtime:*",
    serializer,
    dialect: "legacy",
    bindings: [parseLegacyBinding(legacyRequest("realtime:*").identified)],
  });

const viewOf = (group: Group, select?: readonly string[]): View => ({
  group,
  select,
  dataKey: JSON.stringify(formOf(group, select)),
});

/** The frames of one change, by the group they are published to. */
function frames(
  happened: LoggedChange,
  matches: ReadonlyMap<View, readonly number[]>,
  { maxRecordBytes = 0 } = {},
): [string, string][] {
  const published: [string, string][] = [];
  const emit: Emit = (group, frame) => published.push([group.name, frame.toString()]);
  new FanOut(new ChangeData(todos, { maxRecordBytes }), happened).all(matches, emit);
  return published;
}
const frameOf = (happened: LoggedChange, group: Group, ids: readonly number[] = [7]): string =>
  frames(happened, new Map([[viewOf(group), ids]]))[0]?.[1] ?? "";

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

  it("says when and by which transaction it was committed to those who asked, and to nobody else", () => {
    const happened = change("insert");
    const all = [serializerV1, serializerV2].flatMap((serializer) => [
      ...[current(serializer), legacy(serializer)].map((group) => [group, false] as const),
      ...[current(serializer, { hasMeta: true }), legacy(serializer, { hasMeta: true })].map(
        (group) => [group, true] as const,
      ),
    ]);
    const sent = frames(happened, new Map(all.map(([group]) => [viewOf(group), [7]])));
    const meta =
      '"position":"1.0/16B3748.3","commit_lsn":"0/16B3748","xid":7,"committed_at":"2024-02-29T10:34:56.123999Z"';
    expect(sent.map(([, frame]) => frame.includes(`${meta},"record":`))).toEqual(all.map(([, hasMeta]) => hasMeta));
    expect(sent.map(([, frame]) => frame.includes('"commit_lsn"'))).toEqual(all.map(([, hasMeta]) => hasMeta));
  });

  it("keeps every digit of the record", () => {
    expect(frameOf(change("insert"), current())).toContain('"record":{"id":9007199254740993,"price":1.50}');
  });

  it("names the columns that PostgreSQL did not send", () => {
    const frame = frameOf(change("update", { unchanged: '["body"]' }), current(serializerV2));
    expect(JSON.parse(frame)).toMatchObject({ 4: { data: { unchanged: ["body"] } } });
  });
});

describe("a selection", () => {
  const bytes = { record: '{"id":9007199254740993,"na\\"me":1.50}', oldRecord: '{"id":1,"na\\"me":null}' };
  const dataOf = (select: readonly string[], more: Parameters<typeof change>[1] = bytes): string =>
    frames(change("update", more), new Map([[viewOf(current(), select), [7]]]))[0]?.[1] ?? "";

  it("cuts columns and records down to the columns it lists, digit by digit", () => {
    const frame = dataOf(["id"]);
    expect(frame).toContain('"columns":[{"name":"id","type":"int8"}]');
    expect(frame).toContain('"record":{"id":9007199254740993},"old_record":{"id":1},"errors":null');
    expect(dataOf(['na"me'])).toContain('"record":{"na\\"me":1.50},"old_record":{"na\\"me":null}');
  });

  it("names only its own columns as unchanged", () => {
    const unchanged = '["na\\"me"]';
    expect(dataOf(['na"me'], { record: '{"id":2}', unchanged })).toContain(
      '"record":{},"old_record":{},"unchanged":["na\\"me"]',
    );
    expect(dataOf(["id"], { record: '{"id":2}', unchanged })).not.toContain("unchanged");
  });

  it("makes one frame for each selection of a channel", () => {
    const group = current();
    const matches = new Map([
      [viewOf(group, ["id"]), [7, 8]],
      [viewOf(group), [9]],
    ]);
    const published = frames(change("insert"), matches).map(([, frame]) => JSON.parse(frame) as { payload: unknown });
    expect(published).toMatchObject([
      { payload: { ids: [7, 8], data: { columns: [{ name: "id" }] } } },
      { payload: { ids: [9], data: { columns } } },
    ]);
  });
});

describe("a record that is too large", () => {
  const long = "x".repeat(65);
  const happened = change("update", {
    record: JSON.stringify({ id: 2, 'na"me': long }),
    oldRecord: JSON.stringify({ id: 1, 'na"me': "é".repeat(32) }),
  });
  const data = (maxRecordBytes: number, select?: readonly string[]): unknown =>
    JSON.parse(frames(happened, new Map([[viewOf(current(), select), [7]]]), { maxRecordBytes })[0]?.[1] ?? "");
  const payload = (records: object) => ({ payload: { data: records } });

  it("keeps its short values, and says so", () => {
    expect(data(100)).toMatchObject(
      payload({
        columns,
        record: { id: 2 },
        old_record: { id: 1, 'na"me': "é".repeat(32) },
        errors: ["Error 413: Payload Too Large"],
      }),
    );
    expect(data(100, ['na"me'])).toMatchObject(payload({ record: {}, errors: ["Error 413: Payload Too Large"] }));
  });

  it("is sent whole below the limit, or when there is none", () => {
    for (const limit of [1_000, 0]) {
      expect(data(limit)).toMatchObject(payload({ record: { id: 2, 'na"me': long }, errors: null }));
    }
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
      [viewOf(one), [7]],
      [viewOf(other), [8, 9]],
      [viewOf(third), [1]],
    ]);
    const published: [string, string][] = [];
    const data = new ChangeData(todos, { maxRecordBytes: 0 });
    const emit: Emit = (group, frame) => published.push([group.name, frame.toString()]);
    for (const kind of ["insert", "update", "delete", "insert"] as const) {
      published.length = 0;
      new FanOut(data, change(kind)).all(matches, emit);
      expect(published).toEqual(frames(change(kind), matches));
      expect(published.map(([name]) => name)).toEqual([one.name, other.name, third.name]);
    }
  });

  it("builds what a rule lets through once for groups that differ only in who reads, and anew for all others", () => {
    const data = new ChangeData(todos, { maxRecordBytes: 0 });
    const one = new FanOut(data, change("insert"));
    const two = new FanOut(data, change("insert", { record: '{"id":2}' }));
    const all = { tag: "delivered", columns: undefined, oldColumns: undefined } as const;
    const ruled = (fanOut: FanOut, group: Group, ids: readonly number[], select?: readonly string[]): Buffer => {
      const frames: Buffer[] = [];
      fanOut.ruled({ view: viewOf(group, select), ids }, all, (_, frame) => frames.push(frame));
      return frames[0] ?? Buffer.of();
    };
    const reader = (sub: string): Group =>
      groups.enter({ ...current(), reader: { key: sub, principal: { role: sub } as never, isAlone: true } });
    const [ann, bob] = [reader("ann"), reader("bob")];
    const frame = ruled(one, ann, [7]);
    expect(ruled(one, bob, [7])).toBe(frame);
    const others = [
      ruled(two, bob, [7]),
      ruled(one, bob, [8]),
      ruled(one, bob, [7], ["id"]),
      ruled(one, current(serializerV2), [7]),
      ruled(one, legacy(), [7]),
    ].map(String);
    expect(new Set([String(frame), ...others]).size).toBe(6);
    expect(String(ruled(one, ann, [7]))).toBe(String(frame));
  });

  it("writes a commit time of its own for each transaction", () => {
    const published: string[] = [];
    const data = new ChangeData(todos, { maxRecordBytes: 0 });
    const emit: Emit = (_, frame) => published.push(frame.toString());
    const first = change("delete");
    const second = { ...first, committedAtMicros: first.committedAtMicros + 1_000_000 };
    for (const one of [first, second, first]) new FanOut(data, one).all(new Map([[viewOf(current()), [1]]]), emit);
    expect(published.map((frame) => /commit_timestamp":"([^"]*)"/.exec(frame)?.[1])).toEqual([
      "2024-02-29T10:34:56.123Z",
      "2024-02-29T10:34:57.123Z",
      "2024-02-29T10:34:56.123Z",
    ]);
  });
});
