import type { LoggedChange } from "@walcast/change-log";
import { toLsn, type Relation } from "@walcast/model";
import { serializerV1, serializerV2 } from "@walcast/protocol";
import { describe, expect, it } from "vitest";
import { identify, parseBinding } from "./binding.ts";
import { byView, Groups, type Audience, type Group } from "./group.ts";

const todos: Relation = {
  oid: 1,
  schema: "public",
  table: "todos",
  replicaIdentity: "d",
  columns: [{ name: "id", type: "int4", typeOid: 23, typeModifier: -1, isKey: true }],
};
const insert = (id: number): LoggedChange => ({
  kind: "insert",
  relation: { text: "", parse: () => todos },
  position: { epoch: 1, commitLsn: toLsn(1n), index: 0 },
  committedAtMicros: 0,
  xid: 1,
  record: Buffer.from(`{"id":${id}}`),
  oldRecord: undefined,
  unchanged: undefined,
});

const audience = (
  requests: readonly Record<string, unknown>[],
  { topic = "realtime:room", serializer = serializerV1, dialect = "current", hasMeta }: Partial<Audience> = {},
): Audience => ({ topic, serializer, dialect, hasMeta, bindings: identify(requests).map(parseBinding) });
const matching = (groups: Groups, id: number): [Group, readonly number[]][] =>
  [...byView(groups.index.match(todos, insert(id)))].map(([{ group }, ids]) => [group, ids]);
const all = { schema: "public", table: "todos" };

describe("Groups", () => {
  it("lets channels that must get the same frames share a group", () => {
    const groups = new Groups();
    const first = groups.enter(audience([all]));
    const second = groups.enter(audience([all]));
    expect(second).toBe(first);
    expect([groups.size, first.members]).toEqual([1, 2]);
  });

  it.each<[string, Audience]>([
    ["topic", audience([all], { topic: "realtime:other" })],
    ["meta", audience([all], { hasMeta: true })],
    ["serializer", audience([all], { serializer: serializerV2 })],
    ["dialect", audience([all], { dialect: "legacy" })],
    ["filter", audience([{ ...all, filter: "id=eq.1" }])],
    ["selection", audience([{ ...all, select: ["id"] }])],
    ["event", audience([{ ...all, event: "INSERT" }])],
    ["number of bindings", audience([all, { schema: "private" }])],
  ])("keeps channels apart that differ in %s", (_, other) => {
    const groups = new Groups();
    expect(groups.enter(other).name).not.toBe(groups.enter(audience([all])).name);
    expect(groups.size).toBe(2);
  });

  it("finds a group as long as it has members, and the next one of its kind is a new one", () => {
    const groups = new Groups();
    const [first] = [groups.enter(audience([all])), groups.enter(audience([all]))];
    groups.leave(first);
    expect(matching(groups, 1).map(([group]) => group)).toEqual([first]);
    groups.leave(first);
    expect(groups.size).toBe(0);
    expect(groups.index.match(todos, insert(1))).toEqual([]);
    expect(groups.index.concerns(todos)).toBe(false);
    const next = groups.enter(audience([all]));
    expect(next.name).not.toBe(first.name);
    expect(matching(groups, 1).map(([group]) => group)).toEqual([next]);
  });

  it("lists the ids of the bindings that match, one each for equal ones", () => {
    const groups = new Groups();
    const requests = [all, all, { ...all, filter: "id=eq.1" }, { ...all, filter: "id=eq.2" }, { schema: "private" }];
    const ids = identify(requests).map(({ id }) => id);
    const group = groups.enter(audience(requests));
    expect(matching(groups, 1)).toEqual([[group, [ids[0], ids[2]]]]);
    expect(matching(groups, 3)).toEqual([[group, [ids[0]]]]);
  });

  it("has a view for each selection, which lists the ids of its bindings", () => {
    const groups = new Groups();
    const requests = [
      { ...all, event: "INSERT", select: ["id"] },
      { ...all, select: ["id"] },
      { ...all, select: ["name"] },
      all,
    ];
    const [one, same, other, whole] = identify(requests).map(({ id }) => id);
    groups.enter(audience(requests));
    const views = [...byView(groups.index.match(todos, insert(1)))].map(([{ select }, ids]) => [select, ids]);
    expect(views).toEqual([
      [["id"], [one, same].toSorted((a = 0, b = 0) => a - b)], // frames are told apart by them
      [["name"], [other]],
      [undefined, [whole]],
    ]);
  });
});
