import { expect, test } from "vitest";
import { WaitTimeoutError } from "./errors.ts";
import { waitUntil } from "./wait-until.ts";

test("resolves with the first truthy answer", async () => {
  let calls = 0;
  const answer = await waitUntil(
    () => {
      calls += 1;
      return calls === 3 ? "here" : undefined;
    },
    { what: "the third call", intervalMs: 0 },
  );
  expect(answer).toBe("here");
});

test("a predicate that throws is asked again", async () => {
  let calls = 0;
  const answer = await waitUntil(
    () => {
      calls += 1;
      if (calls < 3) throw new Error("not yet");
      return calls;
    },
    { what: "the third call", intervalMs: 0 },
  );
  expect(answer).toBe(3);
});

test("the error names what was awaited and why it failed", async () => {
  const waiting = waitUntil(() => Promise.reject(new Error("refused")), {
    what: "the server",
    timeoutMs: 5,
    intervalMs: 1,
  });
  await expect(waiting).rejects.toThrow(WaitTimeoutError);
  await expect(waiting).rejects.toThrow("waited 5 ms for the server; last error: refused");
});
