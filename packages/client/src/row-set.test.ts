import { describe, expect, it } from "vitest";
import { RowSet, type RowsPage } from "./row-set.ts";

const page = (rows: readonly Record<string, unknown>[], more: Partial<RowsPage> = {}): RowsPage => ({
  page: 0,
  key: ["id"],
  rows,
  tags: rows.map(({ id }) => `tag ${String(id)}`),
  done: true,
  ...more,
});
const filled = (): RowSet => {
  const set = new RowSet();
  set.page(
    page([
      { id: 1, note: "a" },
      { id: 2, note: "b" },
    ]),
  );
  return set;
};

describe("pages", () => {
  it("become the rows when the last of them has come, and tell the difference", () => {
    const set = filled();
    expect(set.page(page([{ id: 2, note: "b" }], { done: false }))).toBeUndefined();
    expect([...set.rows.keys()]).toEqual(["1", "2"]);
    expect(set.page(page([{ id: 3, note: "c" }], { page: 1 }))).toEqual([
      { type: "delete", key: "1", old: { id: 1, note: "a" } },
      { type: "insert", key: "3", row: { id: 3, note: "c" } },
    ]);
    expect([...set.rows.keys()]).toEqual(["2", "3"]);
  });

  it("that were cut off are forgotten with the next first one", () => {
    const set = new RowSet();
    set.page(page([{ id: 1 }], { done: false }));
    set.page(page([{ id: 2 }]));
    expect([...set.rows.keys()]).toEqual(["2"]);
  });

  it("has a tag for as long as it is there", () => {
    const set = filled();
    set.change({ type: "INSERT", record: { id: 3 }, row: "tag 3" });
    set.change({ type: "DELETE", old_record: { id: 3 }, row: "tag 3" });
    set.change({ type: "INSERT", record: { id: 3 } });
    expect(set.left("tag 3")).toEqual([]);
    set.change({ type: "TRUNCATE" });
    set.change({ type: "INSERT", record: { id: 1 } });
    expect(set.left("tag 1")).toEqual([]);
  });

  it("of equal rows tell nothing, whatever the order of their columns", () => {
    expect(
      filled().page(
        page([
          { note: "a", id: 1 },
          { id: 2, note: "b" },
        ]),
      ),
    ).toEqual([]);
  });
});

describe("a change", () => {
  it("of each kind says what became of its row", () => {
    const set = filled();
    expect(set.change({ type: "INSERT", record: { id: 3 } })).toEqual([{ type: "insert", key: "3", row: { id: 3 } }]);
    expect(set.change({ type: "UPDATE", record: { id: 1, note: "x" }, old_record: { id: 1 } })).toEqual([
      { type: "update", key: "1", row: { id: 1, note: "x" }, old: { id: 1, note: "a" } },
    ]);
    expect(set.change({ type: "DELETE", old_record: { id: 2 } })).toEqual([
      { type: "delete", key: "2", old: { id: 2, note: "b" } },
    ]);
    expect(set.change({ type: "DELETE", old_record: { id: 9 } })).toEqual([]);
    expect(set.change({ type: "TRUNCATE" })?.map(({ key }) => key)).toEqual(["1", "3"]);
  });

  it("that came without its long values, or does not say which row went, has the rows read again", () => {
    const set = filled();
    const errors = ["Error 413: Payload Too Large"];
    expect(set.change({ type: "UPDATE", record: { id: 1 }, errors })).toBeUndefined();
    expect(set.change({ type: "DELETE", old_record: { note: "a" }, errors: null })).toBeUndefined();
    expect(set.change({ type: "DELETE", old_record: {}, errors: ["Error 401: Unauthorized"] })).toEqual([]);
    expect(set.change({ type: "DELETE", old_record: { note: "b" }, row: "tag 2" })?.map(({ key }) => key)).toEqual([
      "2",
    ]);
    expect([...set.rows.keys()]).toEqual(["1"]);
  });

  it("of the key takes the row from the former one", () => {
    const changes = filled().change({ type: "UPDATE", record: { id: 7, note: "a" }, old_record: { id: 1 } });
    expect(changes?.map(({ type, key }) => `${type} ${key}`)).toEqual(["delete 1", "insert 7"]);
  });

  it("without values that did not change keeps those that are here, and asks for those that are not", () => {
    const set = filled();
    set.change({ type: "UPDATE", record: { id: 1, n: 1 }, old_record: { id: 1 }, unchanged: ["note"] });
    expect(set.rows.get("1")).toEqual({ id: 1, n: 1, note: "a" });
    expect(
      set.change({ type: "UPDATE", record: { id: 8 }, old_record: { id: 8 }, unchanged: ["note"] }),
    ).toBeUndefined();
  });

  it("that is refused changes nothing", () => {
    const errors = ["Error 401: Unauthorized"];
    expect(filled().change({ type: "UPDATE", record: {}, old_record: {}, errors })).toEqual([]);
  });

  it("of a row that nothing names any more has the rows read again, unless the row is here", () => {
    const update = { type: "UPDATE", record: { id: 7, note: "a" }, unkeyed: true };
    expect(filled().change(update)).toBeUndefined();
    expect(
      filled()
        .change({ ...update, record: { id: 1, note: "z" } })
        ?.map(({ type, key }) => [type, key]),
    ).toEqual([["update", "1"]]);
  });

  it("is placed by the key that the newest rows came with, and asked for again without one", () => {
    const set = filled();
    set.page(page([{ n: 5 }], { key: ["n"] }));
    expect(set.change({ type: "UPDATE", record: { n: 5, note: "x" } })?.map(({ type, key }) => [type, key])).toEqual([
      ["update", "5"],
    ]);
    set.page(page([{ n: 5 }], { key: [] }));
    expect(set.change({ type: "INSERT", record: { n: 6 } })).toBeUndefined();
  });
});

describe("a row that leaves", () => {
  it("is found by its tag, from pages and from changes, once", () => {
    const set = filled();
    set.change({ type: "INSERT", record: { id: 3 }, row: "tag 3" });
    expect(["tag 3", "tag 1", "tag 1", "another's"].map((tag) => set.left(tag).length)).toEqual([1, 1, 0, 0]);
    expect([...set.rows.keys()]).toEqual(["2"]);
  });
});

it("keys of several columns are JSON", () => {
  const set = new RowSet(["a", "b"]);
  set.page(page([{ a: 1, b: "x" }]));
  expect([...set.rows.keys()]).toEqual(['[1,"x"]']);
});
