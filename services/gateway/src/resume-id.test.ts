import { expect, it } from "vitest";
import { readResumeId } from "./resume-id.ts";

it.each([undefined, ""])("%j is none", (given) => {
  expect(readResumeId(given)).toEqual({ tag: "none" });
});

it.each(["2f1e6a34-52a5-4c0e-9f0a-6f1d5c3b2a19", "a".repeat(16), "Z_.~-0123456789a", "x".repeat(128)])(
  "%s is an id",
  (id) => {
    expect(readResumeId(id)).toEqual({ tag: "id", id });
  },
);

it.each(["short", "a".repeat(15), "a".repeat(129), "sixteen letters!", "0123456789abcdeé", "0123456789abcdef\n"])(
  "%j is refused with what it should be",
  (given) => {
    expect(readResumeId(given)).toEqual({ tag: "invalid", reason: expect.stringContaining("16 to 128") as unknown });
  },
);
