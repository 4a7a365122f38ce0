import type { LoggedChange } from "@walcast/change-log";
import { toLsn, type Column, type Relation } from "@walcast/model";
import { serializerV2 } from "@walcast/protocol";
import { parseFilter, withEnumOrders } from "@walcast/subscriptions";
import { describe, expect, it } from "vitest";
import { byView, Groups } from "./group.ts";
import { addLeaving } from "./leaving.ts";

const labels = ["todo", "doing", "done"];
const mood: Column = { name: "s", type: "state", typeOid: 20_000, typeModifier: -1, isKey: true };
const relation: Relation = {
  oid: 1,
  schema: "public",
  table: "jobs",
  replicaIdentity: "f",
  columns: [{ name: "id", type: "int4", typeOid: 23, typeModifier: -1, isKey: true }, mood],
};

/** What a channel that keeps the rows of its filter is told of an update with the full old row. */
function toldOf(filter: string, before: string | null, after: string | null): string[] {
  const groups = new Groups();
  groups.enter({
    topic: "realtime:jobs",
    serializer: serializerV2,
    dialect: "current",
    holdsRows: "collection",
    bindings: [
      {
        id: 5,
        event: "*",
        kinds: new Set(["insert", "update", "delete"]),
        schema: "public",
        table: "jobs",
        filter: withEnumOrders(parseFilter(filter), [{ ...mood, labels }]),
        select: undefined,
        key: ["id"],
      },
    ],
  });
  const row = (s: string | null): Buffer => Buffer.from(JSON.stringify({ id: 1, s }));
  const change: LoggedChange = {
    kind: "update",
    relation: { text: JSON.stringify(relation), parse: () => relation },
    position: { epoch: 1, commitLsn: toLsn(1n), index: 0 },
    xid: 1,
    committedAtMicros: 0,
    record: row(after),
    oldRecord: row(before),
    unchanged: undefined,
  };
  const matches = byView(groups.index.match(relation, change));
  addLeaving(groups, { relation, change }, matches);
  return [...matches.keys()].map(({ isLeaving }) => (isLeaving === true ? "left" : "changed"));
}

describe("under REPLICA IDENTITY FULL", () => {
  it.each([
    ["todo", "done", ["left"]],
    ["todo", "doing", ["changed"]],
    ["done", "done", []],
  ])("who orders an enum is told by what the row was: %s to %s", (before, after, told) => {
    expect(toldOf("s=lt.done", before, after)).toEqual(told);
  });

  it.each(["s=lt.done", "s=not.gte.done", "not.or=(s.gte.done,id.eq.2)", "or=(s.lt.done,id.eq.2)"])(
    "a row with a label that has no place, as one renamed since, may have been theirs: %s",
    (filter) => {
      expect(toldOf(filter, "open", "open")).toEqual(["left"]);
    },
  );

  it("and not where the rest of the filter says that it was not", () => {
    expect(toldOf("s=lt.done,id=eq.2", "open", "open")).toEqual([]);
  });
});
