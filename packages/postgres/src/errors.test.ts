import pg from "pg";
import { describe, expect, it } from "vitest";
import { DatabaseUnavailableError, sqlStateOf } from "./errors.ts";

function databaseError(code: string): Error {
  const error = new pg.DatabaseError("refused", 7, "error");
  error.code = code;
  return error;
}

describe("sqlStateOf", () => {
  it("finds it in the error and in what caused it", () => {
    expect(sqlStateOf(databaseError("42P01"))).toBe("42P01");
    expect(sqlStateOf(new DatabaseUnavailableError({ cause: databaseError("57P03") }))).toBe("57P03");
    expect(sqlStateOf(new Error("a", { cause: new Error("b", { cause: databaseError("XX000") }) }))).toBe("XX000");
  });

  it("takes no other code for one, also when it looks alike", () => {
    expect(sqlStateOf(Object.assign(new Error("broken pipe"), { code: "EPIPE" }))).toBeUndefined();
    expect(sqlStateOf(Object.assign(new Error("x"), { code: "ECONNREFUSED" }))).toBeUndefined();
    expect(sqlStateOf(new Error("x"))).toBeUndefined();
    expect(sqlStateOf("42P01")).toBeUndefined();
    expect(sqlStateOf(undefined)).toBeUndefined();
  });
});
