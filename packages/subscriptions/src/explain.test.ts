import type { ChangeKind, LoggedChange } from "@walcast/change-log";
import { toLsn, type Relation } from "@walcast/model";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { explainer, type Verdict } from "./explain.ts";
import { parseFilter } from "./filter.ts";
import { SubscriptionIndex } from "./subscription-index.ts";

const column = (name: string, type: string) => ({ name, type, typeOid: 0, typeModifier: -1, isKey: name === "id" });
const relation = (schema: string, table: string): Relation => ({
  oid: 1,
  schema,
  table,
  replicaIdentity: "d",
  columns: [column("id", "int4"), column("name", "text"), column("doc", "jsonb"), column("a.b", "text")],
});
const todos = relation("public", "todos");

const change = (kind: ChangeKind, record?: object, old?: object): LoggedChange => ({
  kind,
  relation: { text: "", parse: () => todos },
  position: { epoch: 1, commitLsn: toLsn(1n), index: 0 },
  committedAtMicros: 0,
  xid: 1,
  record: record === undefined ? undefined : Buffer.from(JSON.stringify(record)),
  oldRecord: old === undefined ? undefined : Buffer.from(JSON.stringify(old)),
  unchanged: undefined,
});

const asked = ({
  schema = "public",
  table = "todos",
  kinds = ["insert", "update", "delete"] as readonly ChangeKind[],
  filter = "",
} = {}) => ({ id: 1, schema, table, kinds: new Set(kinds), filter: parseFilter(filter) });

const verdictOf = (filter: string, happened: LoggedChange): Verdict =>
  explainer(asked({ filter })).explain(todos, happened);

describe("explainer", () => {
  it("says which table, which event, and that all of it holds", () => {
    const insert = change("insert", { id: 1 });
    expect(explainer(asked()).explain(todos, insert)).toEqual({ tag: "matched" });
    expect(explainer(asked({ table: "users" })).explain(todos, insert)).toEqual({ tag: "table" });
    expect(explainer(asked({ schema: "pri%" })).explain(todos, insert)).toEqual({ tag: "table" });
    expect(explainer(asked({ kinds: ["delete"] })).explain(todos, insert)).toEqual({ tag: "event" });
  });

  it("lists the terms that do not hold, and of a group all of them", () => {
    const filter = 'id=gt.1,name=in.(a,b),or=(id.eq.7,and(name.not.eq.c,"a.b".is.null),not.id.lt.0)';
    const verdict = verdictOf(filter, change("insert", { id: 2, name: "c", "a.b": "x" }));
    expect(verdict).toEqual({
      tag: "filter",
      terms: [{ text: "name=in.(a,b)", holds: false, terms: [] }],
    });
    expect(verdictOf(filter, change("insert", { id: -1, name: "a", "a.b": "x" }))).toEqual({
      tag: "filter",
      terms: [
        { text: "id=gt.1", holds: false, terms: [] },
        {
          text: 'or=(id.eq.7,and(name.not.eq.c,"a.b".is.null),not.id.lt.0)',
          holds: false,
          terms: [
            { text: "id.eq.7", holds: false, terms: [] },
            {
              text: 'and(name.not.eq.c,"a.b".is.null)',
              holds: false,
              terms: [
                { text: "name.not.eq.c", holds: true, terms: [] },
                { text: '"a.b".is.null', holds: false, terms: [] },
              ],
            },
            { text: "id.not.lt.0", holds: false, terms: [] },
          ],
        },
      ],
    });
  });

  it("tells unknown from false", () => {
    expect(verdictOf("name=eq.a", change("insert", { id: 1, name: null }))).toMatchObject({
      terms: [{ text: "name=eq.a", holds: undefined }],
    });
    expect(verdictOf("name=eq.a", change("delete", undefined, { id: 1 }))).toMatchObject({
      terms: [{ text: "name=eq.a", holds: undefined }],
    });
  });

  it("says when there is no row to filter, and when the filter does not fit the table", () => {
    const truncates = explainer(asked({ kinds: ["truncate"], filter: "id=eq.1" }));
    expect(truncates.explain(todos, change("truncate"))).toEqual({ tag: "rowless" });
    expect(verdictOf("id=eq.x", change("insert", { id: 1 }))).toMatchObject({
      tag: "unfit",
      message: expect.stringContaining("x") as unknown,
    });
  });

  it("says matched exactly where the index finds a match", () => {
    const ids = fc.integer({ min: 0, max: 3 });
    const filters = fc.oneof(
      fc.constant(""),
      fc
        .tuple(fc.constantFrom("eq", "neq", "lt", "gte", "not.eq", "not.lt", "isdistinct"), ids)
        .map(([op, id]) => `id=${op}.${id}`),
      fc.tuple(ids, ids).map(([a, b]) => `id=in.(${a},${b}),name=not.is.null`),
      fc.tuple(ids, ids).map(([a, b]) => `or=(id.eq.${a},and(id.gt.${b},name.like.a%))`),
      fc.tuple(ids, ids).map(([a, b]) => `not.or=(id.eq.${a},doc->n.eq.${b})`),
      ids.map((id) => `doc->>n=eq.${id}`),
      fc.constantFrom("name=match.^a", "missing=eq.1", "id=eq.x", "name=not.in.(a)"),
    );
    const kinds = fc.constantFrom<ChangeKind>("insert", "update", "delete", "truncate");
    const values = fc.record(
      {
        id: fc.option(ids),
        name: fc.option(fc.constantFrom("a", "ab", "c")),
        doc: fc.option(fc.record({ n: fc.option(ids) })),
      },
      { requiredKeys: [] },
    );
    const subscriptions = fc.record({
      schema: fc.constantFrom("public", "private", "p%", "*"),
      table: fc.constantFrom("todos", "users", "t%", "*"),
      kinds: fc.uniqueArray(kinds, { minLength: 1 }),
      filter: filters,
    });
    const relations = [todos, relation("public", "users"), relation("private", "todos")];
    let matched = 0;
    fc.assert(
      fc.property(
        fc.array(subscriptions, { minLength: 1, maxLength: 8 }),
        fc.array(fc.record({ of: fc.constantFrom(...relations), kind: kinds, record: values, old: values }), {
          maxLength: 6,
        }),
        (all, changes) => {
          const index = new SubscriptionIndex<number>();
          const explainers = all.map((one, id) => {
            const subscription = { ...asked(one), id, group: id };
            index.add(subscription);
            return explainer(subscription);
          });
          for (const { of, kind, record, old } of changes) {
            const hasNew = kind === "insert" || kind === "update";
            const hasOld = kind === "update" || kind === "delete";
            const happened = change(kind, hasNew ? record : undefined, hasOld ? old : undefined);
            const found = index
              .match(of, happened)
              .map(({ group }) => group)
              .toSorted((a, b) => a - b);
            const verdicts = explainers.map(({ explain }) => explain(of, happened));
            expect(verdicts.flatMap(({ tag }, id) => (tag === "matched" ? [id] : []))).toEqual(found);
            matched += found.length;
          }
        },
      ),
      { numRuns: 500 },
    );
    expect(matched).toBeGreaterThan(100);
  });
});
