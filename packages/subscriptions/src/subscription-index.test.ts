import type { ChangeKind, LoggedChange } from "@walcast/change-log";
import { toLsn, type Relation } from "@walcast/model";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compileFilter, passes } from "./compiled-filter.ts";
import { FilterTypeError } from "./filter-errors.ts";
import { withEnumOrders } from "./enum-orders.ts";
import { parseFilter } from "./filter.ts";
import { RecordReader } from "./record-reader.ts";
import { SubscriptionIndex } from "./subscription-index.ts";
import type { Subscription } from "./subscription.ts";
import { shapeOf } from "./table-shape.ts";

const column = (name: string, type: string) => ({ name, type, typeOid: 0, typeModifier: -1, isKey: name === "id" });
const relation = (schema: string, table: string, idType = "int4"): Relation => ({
  oid: 1,
  schema,
  table,
  replicaIdentity: "d",
  columns: [column("id", idType), column("name", "text"), column("price", "numeric"), column("doc", "jsonb")],
});

const change = (kind: ChangeKind, record?: object, old?: object): LoggedChange => ({
  kind,
  relation: { text: "", parse: () => relation("public", "todos") },
  position: { epoch: 1, commitLsn: toLsn(1n), index: 0 },
  committedAtMicros: 0,
  xid: 1,
  record: record === undefined ? undefined : Buffer.from(JSON.stringify(record)),
  oldRecord: old === undefined ? undefined : Buffer.from(JSON.stringify(old)),
  unchanged: undefined,
});

const subscription = (
  group: string,
  id: number,
  { schema = "public", table = "todos", kinds = ["insert", "update", "delete"] as ChangeKind[], filter = "" } = {},
): Subscription<string> => ({ group, id, schema, table, kinds: new Set(kinds), filter: parseFilter(filter) });

/** What the index must equal: every subscription is looked at. */
function naiveMatch(all: Iterable<Subscription<string>>, of: Relation, { kind, record, oldRecord }: LoggedChange) {
  const matches = new Map<string, number[]>();
  for (const { group, id, schema, table, kinds, filter } of all) {
    const isName = (pattern: string, name: string) =>
      pattern === "*" || pattern === name || (pattern.endsWith("%") && name.startsWith(pattern.slice(0, -1)));
    const isNamed = isName(schema, of.schema) && isName(table, of.table);
    if (!isNamed || !kinds.has(kind)) continue;
    const looksAt = kind === "delete" ? oldRecord : record;
    if (filter.length > 0) {
      if (looksAt === undefined) continue;
      try {
        const shape = shapeOf(of.columns);
        if (!passes(compileFilter(filter, shape), new RecordReader(looksAt, shape))) continue;
      } catch (error) {
        if (error instanceof FilterTypeError) continue;
        throw error;
      }
    }
    matches.set(group, [...(matches.get(group) ?? []), id]);
  }
  return matches;
}

const sorted = (matches: ReadonlyMap<string, readonly number[]>) =>
  new Map([...matches].map(([group, ids]) => [group, ids.toSorted((a, b) => a - b)]));

/** The ids that matched, by group. */
function byGroup(matches: readonly Subscription<string>[]): ReadonlyMap<string, readonly number[]> {
  const groups = new Map<string, number[]>();
  for (const { group, id } of matches) groups.set(group, [...(groups.get(group) ?? []), id]);
  return groups;
}

describe("SubscriptionIndex", () => {
  it("equals the naive filter, over additions, removals and tables that change", () => {
    const schemas = fc.constantFrom("public", "private", "p%", "*");
    const tables = fc.constantFrom("todos", "users", "to%", "*");
    const kinds = fc.constantFrom<ChangeKind>("insert", "update", "delete", "truncate");
    const ids = fc.integer({ min: 0, max: 4 });
    const filters = fc.oneof(
      fc.constant(""),
      ids.map((id) => `id=eq.${id}`),
      fc.tuple(ids, ids).map(([a, b]) => `id=in.(${a},${b})`),
      fc.tuple(fc.constantFrom("lt", "lte", "gt", "gte", "neq", "not.eq"), ids).map(([op, id]) => `id=${op}.${id}`),
      fc.tuple(fc.constantFrom("a", "b", "1"), ids).map(([name, id]) => `name=eq.${name},price=gt.${id}`),
      fc.tuple(ids, fc.constantFrom("eq", "neq")).map(([id, op]) => `price=${op}.${id}.0,id=eq.${id}`),
      fc
        .tuple(fc.constantFrom("lt", "lte", "gt", "gte"), fc.constantFrom("", "not."), ids)
        .map(([op, not, id]) => `price=${not}${op}.${id}.5`),
      fc.tuple(ids, ids).map(([a, b]) => `id=not.lt.${a},id=lte.${b}`),
      fc.tuple(ids, ids).map(([a, b]) => `or=(id.eq.${a},and(price.gt.${b},name.like.a%))`),
      ids.map((id) => `doc->n=eq.${id}`),
      ids.map((id) => `doc->>n=gt.${id}`),
      fc.constantFrom("name=is.null", "name=not.in.(a,b)", "id=not.neq.1", "name=isdistinct.a", "name=match.^a|1$"),
      fc.constantFrom("name=eq.a", "missing=eq.1", "id=eq.x", "id=eq.01"),
    );
    const values = fc.record(
      {
        id: fc.option(ids),
        name: fc.option(fc.constantFrom("a", "b", "1")),
        price: fc.option(fc.oneof(ids, fc.constantFrom(0.5, 2.5, 4.5))),
        doc: fc.option(fc.record({ n: fc.option(ids) })),
      },
      { requiredKeys: [] },
    );
    const steps = fc.oneof(
      {
        weight: 3,
        arbitrary: fc.record({
          do: fc.constant("add" as const),
          group: fc.constantFrom("g1", "g2", "g3"),
          schema: schemas,
          table: tables,
          kinds: fc.uniqueArray(kinds, { minLength: 1 }),
          filter: filters,
        }),
      },
      { weight: 1, arbitrary: fc.record({ do: fc.constant("remove" as const), at: fc.nat() }) },
      {
        weight: 4,
        arbitrary: fc.record({
          do: fc.constant("change" as const),
          relation: fc.record({
            schema: fc.constantFrom("public", "private"),
            table: fc.constantFrom("todos", "users"),
            idType: fc.constantFrom("int4", "int4", "text"),
          }),
          kind: kinds,
          record: values,
          old: values,
        }),
      },
    );
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 60 }), (script) => {
        const index = new SubscriptionIndex<string>();
        const live: Subscription<string>[] = [];
        const relations = new Map<string, Relation>();
        for (const [number, step] of script.entries()) {
          if (step.do === "add") {
            const added = subscription(step.group, number + 1, step);
            live.push(added);
            index.add(added);
          } else if (step.do === "remove") {
            const [removed] = live.length === 0 ? [] : live.splice(step.at % live.length, 1);
            if (removed !== undefined) index.remove(removed);
          } else {
            const { schema, table, idType } = step.relation;
            const key = `${schema} ${table} ${idType}`;
            const of = relations.get(key) ?? relation(schema, table, idType);
            relations.set(key, of);
            const { kind } = step;
            const happened = change(
              kind,
              kind === "insert" || kind === "update" ? step.record : undefined,
              kind === "update" || kind === "delete" ? step.old : undefined,
            );
            const expected = sorted(naiveMatch(live, of, happened));
            expect(sorted(byGroup(index.match(of, happened)))).toEqual(expected);
            if (expected.size > 0) expect(index.concerns(of)).toBe(true);
          }
        }
        for (const one of live) index.remove(one);
        for (const of of relations.values()) expect(index.concerns(of)).toBe(false);
      }),
      { numRuns: 1000 },
    );
  });

  it("lists each matching binding of a group, and no other", () => {
    const index = new SubscriptionIndex<string>();
    for (const [id, filter] of ["", "id=eq.1", "id=eq.2", "id=gt.0"].entries()) {
      index.add(subscription("g", id + 1, { filter }));
    }
    const todos = relation("public", "todos");
    expect(sorted(byGroup(index.match(todos, change("insert", { id: 1 }))))).toEqual(new Map([["g", [1, 2, 4]]]));
    expect(index.match(relation("public", "users"), change("insert", { id: 1 }))).toEqual([]);
  });

  it("looks at the old row of a delete and at the new row of an update", () => {
    const index = new SubscriptionIndex<string>();
    index.add(subscription("one", 1, { filter: "id=eq.1" }));
    index.add(subscription("two", 2, { filter: "id=eq.2" }));
    const todos = relation("public", "todos");
    expect(index.match(todos, change("update", { id: 2 }, { id: 1 })).map(({ group }) => group)).toEqual(["two"]);
    expect(index.match(todos, change("delete", undefined, { id: 1 })).map(({ group }) => group)).toEqual(["one"]);
    expect(index.match(todos, change("delete", undefined, { name: "x" })).map(({ group }) => group)).toEqual([]);
  });

  it("gives a truncate to those who want truncates and have no filter", () => {
    const index = new SubscriptionIndex<string>();
    index.add(subscription("all", 1, { kinds: ["truncate"] }));
    index.add(subscription("filtered", 2, { kinds: ["truncate"], filter: "id=eq.1" }));
    index.add(subscription("rows", 3));
    expect(index.match(relation("public", "todos"), change("truncate")).map(({ group }) => group)).toEqual(["all"]);
  });

  it("compares by the column's new type once the table has changed", () => {
    const index = new SubscriptionIndex<string>();
    index.add(subscription("number", 1, { filter: "id=eq.01" }));
    expect(index.match(relation("public", "todos"), change("insert", { id: 1 })).length).toBe(1);
    expect(index.match(relation("public", "todos", "text"), change("insert", { id: "1" })).length).toBe(0);
    expect(index.match(relation("public", "todos", "text"), change("insert", { id: "01" })).length).toBe(1);
  });

  it("keeps the orders of an enum apart that it had when each subscribed", () => {
    const mood = { ...column("mood", "mood"), typeOid: 20_000 };
    const index = new SubscriptionIndex<string>();
    const add = (group: string, filter: string, labels: readonly string[]): void => {
      const { filter: parsed, ...rest } = subscription(group, 1, { filter });
      index.add({ ...rest, filter: withEnumOrders(parsed, [{ ...mood, labels }]) });
    };
    add("before", "mood=gt.sad", ["sad", "happy"]);
    add("after", "mood=gt.sad", ["sad", "ok", "happy"]);
    add("below", "mood=lt.happy", ["sad", "ok", "happy"]);
    const todos = { ...relation("public", "todos"), columns: [mood] };
    const groupsOf = (label: string): string[] =>
      index.match(todos, change("insert", { mood: label })).map(({ group }) => group);
    expect(groupsOf("ok").toSorted()).toEqual(["after", "below"]);
    expect(groupsOf("happy").toSorted()).toEqual(["after", "before"]);
  });

  it("keeps names apart that run together", () => {
    const index = new SubscriptionIndex<string>();
    index.add(subscription("g", 1, { schema: "a", table: "b.c" }));
    expect(index.concerns(relation("a.b", "c"))).toBe(false);
    expect(index.concerns(relation("a", "b.c"))).toBe(true);
  });
});
