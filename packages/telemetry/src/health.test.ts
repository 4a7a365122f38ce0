import { describe, expect, it } from "vitest";
import { describeError, Health } from "./health.ts";

class CodedError extends Error {
  readonly code = "CODED";
}

describe("Health", () => {
  it("is well until a part says that it is not, and again when all say so", () => {
    const health = new Health();
    expect(health.report()).toEqual({ status: "ok", problems: [] });
    health.set("log", new CodedError("cannot", { cause: new Error("refused") }));
    health.set("database", new Error("gone"));
    expect(health.isOk).toBe(false);
    expect(health.report()).toEqual({
      status: "failing",
      problems: [
        { part: "log", code: "CODED", message: "cannot", cause: "refused" },
        { part: "database", code: "Error", message: "gone", cause: undefined },
      ],
    });
    health.set("log", undefined);
    expect(health.report().problems.map(({ part }) => part)).toEqual(["database"]);
    health.set("database", undefined);
    expect(health.isOk).toBe(true);
  });

  it("is not well while a part is starting", () => {
    const health = new Health();
    health.starting("log");
    expect(health.report()).toMatchObject({ status: "failing", problems: [{ part: "log", code: "STARTING" }] });
    health.set("log", undefined);
    expect(health.isOk).toBe(true);
  });

  it("asks for its facts when it reports", () => {
    const health = new Health();
    let role = "standby";
    health.fact("role", () => role);
    expect(health.report()).toMatchObject({ role: "standby" });
    role = "leader";
    expect(health.report()).toMatchObject({ role: "leader" });
  });
});

describe("describeError", () => {
  it("says code, message and all causes", () => {
    const error = new CodedError("first", { cause: new Error("second", { cause: new TypeError("third") }) });
    expect(describeError(error)).toEqual({ code: "CODED", message: "first", cause: "second: third" });
  });

  it("takes the name for a code when there is none, or none that is a text", () => {
    expect(describeError(new TypeError("x")).code).toBe("TypeError");
    expect(describeError(Object.assign(new Error("x"), { code: 7 })).code).toBe("Error");
  });

  it("finds words for errors that have none of their own", () => {
    const refused = new AggregateError([new Error("connect ECONNREFUSED ::1"), "odd"], "");
    expect(describeError(new Error("cannot connect", { cause: refused })).cause).toBe("connect ECONNREFUSED ::1, odd");
    expect(describeError(new RangeError("")).message).toBe("RangeError");
  });

  it("ends where causes go in a circle", () => {
    const error = new Error("a");
    error.cause = error;
    expect(describeError(error).cause?.split(": ")).toEqual(Array.from({ length: 8 }, () => "a"));
  });

  it.each([
    ["a text", "a text"],
    [undefined, "undefined"],
    [null, "null"],
    [7, "7"],
  ])("describes %s, which is no error", (value, message) => {
    expect(describeError(value)).toEqual({ code: "UNKNOWN", message, cause: undefined });
  });
});
