import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  BindingError,
  describeBinding,
  identify,
  legacyRequest,
  parseBinding,
  parseLegacyBinding,
  type Binding,
} from "./binding.ts";

const parse = (request: Record<string, unknown>): Binding => parseBinding({ id: 1, request });
const filterOf = (text: string) => parse({ schema: "public", table: "todos", filter: text }).filter;

describe("identify", () => {
  const requests = fc.dictionary(fc.string(), fc.jsonValue());

  it("gives equal requests equal ids everywhere, and different ones of a channel different ids, none of them 0", () => {
    fc.assert(
      fc.property(fc.array(requests, { maxLength: 20 }), fc.array(requests), (channel, other) => {
        const identified = identify(channel);
        expect(identified.map(({ request }) => request)).toEqual(channel);
        const byText = new Map(identified.map(({ id, request }) => [JSON.stringify(request), id]));
        for (const { id, request } of identified) {
          expect(byText.get(JSON.stringify(request))).toBe(id);
          expect(Number.isInteger(id) && id > 0 && id < 2 ** 27).toBe(true);
        }
        expect(new Set(byText.values()).size).toBe(byText.size);
        expect(identify(channel)).toEqual(identified);
        const [request = {}] = other;
        expect(identify([request, ...channel])[0]).toEqual(identify([request])[0]);
      }),
    );
  });

  it("keeps requests apart whose hashes are equal", () => {
    // Found by trial: many requests meet in 2^27 places.
    const many = Array.from({ length: 60_000 }, (_, index) => ({ table: `t${index}` }));
    const ids = identify(many).map(({ id }) => id);
    const alone = many.map((request) => identify([request])[0]?.id);
    expect(new Set(alone).size).toBeLessThan(many.length);
    expect(new Set(ids).size).toBe(many.length);
  });
});

describe("parseBinding", () => {
  it.each<[Record<string, unknown>, Partial<Binding>]>([
    [{ schema: "public" }, { schema: "public", table: "*", event: "*" }],
    [{ table: "todos" }, { schema: "public", table: "todos" }],
    [
      { schema: "*", table: "*" },
      { schema: "*", table: "*" },
    ],
    [
      { schema: "a", table: "b", event: "insert" },
      { event: "INSERT", kinds: new Set(["insert"]) },
    ],
    [
      { schema: "a", event: "UPDATE" },
      { event: "UPDATE", kinds: new Set(["update"]) },
    ],
    [
      { schema: "a", event: "Delete" },
      { event: "DELETE", kinds: new Set(["delete"]) },
    ],
    [
      { schema: "a", event: "TRUNCATE" },
      { event: "*", kinds: new Set(["insert", "update", "delete"]) },
    ],
    [
      { schema: "a", event: "__proto__" },
      { event: "*", kinds: new Set(["insert", "update", "delete"]) },
    ],
    [{ schema: "a", event: 7 }, { event: "*" }],
    [
      { schema: 7, table: "b" },
      { schema: "public", table: "b" },
    ],
    [
      { schema: "a", table: "b", filter: "" },
      { filter: [], select: undefined },
    ],
    [{ schema: "a", table: "b", select: ["x", 7, null, "y"] }, { select: ["x", "y"] }],
    [{ schema: "a", table: "b", select: [] }, { select: undefined }],
    [{ schema: "a", table: "*", select: [7] }, { select: undefined }],
    [{ schema: "a", select: null }, { select: undefined }],
    [
      { schema: "a", table: "b", filter: "id=eq.1" },
      { filter: [{ tag: "condition", column: "id", operator: "eq", isNegated: false, value: "1" }] },
    ],
  ])("reads %j", (request, expected) => {
    expect(parse(request)).toMatchObject(expected);
  });

  const none = "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: ";
  it.each([
    [{}, "%{}"],
    [{ event: "*" }, '%{"event" => "*"}'],
    [{ schema: 1, table: null }, '%{"schema" => 1, "table" => nil}'],
    [{ schema: "a", table: "b", filter: null }, '%{"filter" => nil, "schema" => "a", "table" => "b"}'],
    [{ schema: "a", table: "b", filter: ["x"] }, '%{"filter" => ["x"], "schema" => "a", "table" => "b"}'],
    [{ schema: "a", filter: "id=eq.1" }, '%{"filter" => "id=eq.1", "schema" => "a"}'],
    [{ table: "b", filter: "id=eq.1" }, '%{"filter" => "id=eq.1", "table" => "b"}'],
    [{ event: "*", user_token: "secret" }, "<redacted>"],
  ])("refuses %j", (request, described) => {
    expect(() => parse(request)).toThrow(new BindingError(none + described));
  });

  it.each([
    { schema: "a", select: ["x"] },
    { table: "b", select: ["x"] },
    { schema: "a", table: "*", select: ["x"] },
    { schema: "*", table: "b", select: ["x"] },
    { schema: "a", table: "b%", select: ["x"] },
  ])("refuses a selection without one table: %j", (request) => {
    expect(() => parse(request)).toThrow(
      new BindingError(
        "Column selection is not supported for wildcard subscriptions. Provide an explicit schema and table name.",
      ),
    );
  });

  it.each(["x", 7, { 0: "x" }, true])("refuses a selection that is no list: %j", (select) => {
    expect(() => parse({ schema: "a", table: "b", select })).toThrow(
      'Error parsing `select` params: expected a list of column name strings, e.g. select: ["col1", "col2"]',
    );
  });

  it("refuses a filter that is none in the peer's words", () => {
    expect(() => filterOf("wrong")).toThrow('Error parsing `filter` params: ["wrong"]');
  });
});

describe("a legacy topic", () => {
  it.each([
    ["realtime:*", { schema: "*" }, { schema: "*", table: "*", filter: [] }],
    ["realtime:public", { schema: "public" }, { schema: "public", table: "*" }],
    ["realtime:public:todos", { schema: "public", table: "todos" }, { schema: "public", table: "todos" }],
    ["realtime:public:*", { schema: "public", table: "*" }, { table: "*" }],
    [
      "realtime:public:todos:name=eq.a:b",
      { schema: "public", table: "todos", filter: "name=eq.a:b" },
      { filter: [{ tag: "condition", column: "name", operator: "eq", isNegated: false, value: "a:b" }] },
    ],
    ["realtime:", { schema: "" }, { schema: "", table: "*" }],
  ])("%s is its own parameters", (topic, request, expected) => {
    const { identified, replyEntry } = legacyRequest(topic);
    expect(identified.request).toEqual(request);
    expect(replyEntry).toEqual({ ...request, id: identified.id });
    expect(identified.id).toBeGreaterThan(0);
    expect(parseLegacyBinding(identified)).toMatchObject({
      ...expected,
      kinds: new Set(["insert", "update", "delete", "truncate"]),
    });
  });
});

describe("describeBinding", () => {
  it.each([
    [{ schema: "public", event: "insert" }, "[event: INSERT, schema: public, table: *, filters: [], select: nil]"],
    [
      { schema: "public", table: "test", filter: "notacolumn=eq.123" },
      '[event: *, schema: public, table: test, filters: [{"notacolumn", "eq", "123", false}], select: nil]',
    ],
    [
      { schema: "public", table: "test", filter: "a=not.in.(1,2),b=gt.3" },
      '[event: *, schema: public, table: test, filters: [{"a", "in", "{1,2}", true}, {"b", "gt", "3", false}], select: nil]',
    ],
    [
      { schema: "public", table: "test", select: ["id", "a"], filter: "or=(a.eq.1,b.gt.2)" },
      '[event: *, schema: public, table: test, filters: [{"or", "group", "(a.eq.1,b.gt.2)", false}], select: ["id", "a"]]',
    ],
  ])("prints %j as the peer does", (request, text) => {
    expect(describeBinding(parse(request))).toBe(text);
  });
});
