import { QuestionPool } from "@walcast/row-security";
import { createDatabase } from "@walcast/testkit";
import { afterEach, describe, expect, inject, it } from "vitest";
import { LogMarker } from "./log-marker.ts";

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

describe("a mark", () => {
  it("is written also where as many wait for a connection as may", async () => {
    const database = await createDatabase(inject("postgresUrl"));
    cleanups.push(() => database.drop());
    const pool = new QuestionPool({
      database: { connectionString: database.url },
      size: 1,
      queueLimit: 1,
      timeoutMs: 5_000,
    });
    cleanups.push(() => pool.close());
    const marker = new LogMarker(pool);
    const gate = Promise.withResolvers<void>();
    const reading = pool.ask("table", () => gate.promise);
    const waiting = pool.ask("table", () => Promise.resolve());
    const marked = Promise.all([marker.mark(), marker.mark()]);
    await expect(pool.ask("table", () => Promise.resolve())).rejects.toMatchObject({ code: "POLICY_QUEUE_FULL" });
    gate.resolve();
    await Promise.all([reading, waiting, marked]);
    expect(pool.load).toEqual({ running: 0, waiting: 0 });
  });
});
