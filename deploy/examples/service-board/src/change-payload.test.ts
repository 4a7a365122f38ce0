import { describe, expect, test } from "vitest";
import { readChange } from "./change-payload.ts";
import { RecordError } from "./record.ts";

const columns = [
  { name: "id", type: "int8" },
  { name: "customer", type: "text" },
  { name: "vehicle", type: "text" },
  { name: "place", type: "text" },
  { name: "problem", type: "text" },
  { name: "status_id", type: "int2" },
  { name: "created_at", type: "timestamptz" },
  { name: "updated_at", type: "timestamptz" },
  { name: "revision", type: "int8" },
];

const texts = {
  id: "3",
  customer: "<b>Ann</b>",
  vehicle: "Yaris",
  place: "14 Mill Lane",
  problem: "key locked inside",
  status_id: "2",
  created_at: "2025-01-02T03:04:05.678901Z",
  updated_at: "2025-01-02T03:14:05Z",
  revision: "12",
};
const typed = { ...texts, id: 3, status_id: 2, revision: 12, created_at: "2025-01-02T03:04:05.678901+00:00" };

const service = {
  id: 3,
  customer: "<b>Ann</b>",
  vehicle: "Yaris",
  place: "14 Mill Lane",
  problem: "key locked inside",
  statusId: 2,
  revision: 12,
  createdAt: "2025-01-02T03:04:05.678Z",
  updatedAt: "2025-01-02T03:14:05.000Z",
};

describe("readChange", () => {
  test.each([
    ["values as text", texts],
    ["values as JSON", typed],
  ])("reads an INSERT with %s", (_, record) => {
    expect(readChange({ type: "INSERT", columns, record, errors: null })).toEqual({ tag: "written", service });
  });

  test.each([
    ["is marked", { ...texts, problem: "unchanged_toast" }],
    ["is absent", Object.fromEntries(Object.entries(typed).filter(([column]) => column !== "problem"))],
  ])("takes a long value that the UPDATE did not touch, and that %s, from the old row", (_, record) => {
    const payload = { type: "UPDATE", columns, record, old_record: { ...texts, status_id: "1" }, errors: null };
    expect(readChange(payload)).toEqual({ tag: "written", service });
  });

  test("reads a DELETE with the whole old row, and one with its key alone", () => {
    const change = { type: "DELETE", columns, errors: null };
    expect(readChange({ ...change, old_record: texts })).toEqual({ tag: "deleted", id: 3, revision: 12 });
    expect(readChange({ ...change, old_record: { id: 3 } })).toEqual({ tag: "deleted", id: 3, revision: undefined });
    const padded = { id: "3", revision: null };
    expect(readChange({ ...change, old_record: padded })).toEqual({ tag: "deleted", id: 3, revision: undefined });
  });

  test("reads a TRUNCATE", () => {
    expect(readChange({ type: "TRUNCATE", schema: "public", table: "service" })).toEqual({ tag: "truncated" });
  });

  test.each([
    ["nothing", undefined],
    ["an unknown type", { type: "VACUUM", columns, record: texts }],
    ["a row the reader may not see", { type: "INSERT", columns: [], record: {}, errors: ["Error 401: Unauthorized"] }],
    ["a row of another table", { type: "INSERT", columns, record: { id: "1" } }],
    ["a key beyond 2^53", { type: "DELETE", columns, old_record: { id: "9007199254740993" } }],
  ])("refuses %s", (_, payload) => {
    expect(() => readChange(payload)).toThrow(RecordError);
  });
});
