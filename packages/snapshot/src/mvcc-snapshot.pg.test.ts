import { isVisibleIn, parseMvccSnapshot } from "@walcast/model";
import { createDatabase, type TestDatabase } from "@walcast/testkit";
import fc from "fast-check";
import { Client } from "pg";
import { afterAll, beforeAll, expect, inject, it } from "vitest";

let database: TestDatabase;
let client: Client;
beforeAll(async () => {
  database = await createDatabase(inject("postgresUrl"));
  client = new Client({ connectionString: database.url });
  await client.connect();
});
afterAll(async () => {
  await client.end();
  await database.drop();
});

/** A snapshot around any number, beyond 2^32 and at its edges too, and transactions less than 2^31 away. */
const cases = fc
  .tuple(
    fc.bigInt(3n, 2n ** 40n),
    fc.array(fc.integer({ min: 0, max: 50 }), { maxLength: 20 }),
    fc.integer({ min: 0, max: 60 }),
  )
  .map(([base, offsets, width]) => {
    const edge = base % 3n === 0n ? (base / 2n ** 32n + 1n) * 2n ** 32n - 25n : base;
    const xmin = edge < 3n ? 3n : edge;
    const xmax = xmin + BigInt(width);
    const xip = [...new Set(offsets)].map((offset) => xmin + BigInt(offset)).filter((xid) => xid < xmax);
    return { xmin, xmax, xip: xip.toSorted((a, b) => (a < b ? -1 : 1)) };
  })
  // These numbers are nobody's (manual, "Transactions and Identifiers").
  .filter(({ xmin, xmax, xip }) => [xmin, xmax, ...xip].every((xid) => xid % 2n ** 32n >= 3n));

it("sees what PostgreSQL's own pg_visible_in_snapshot says, across the wrap of 32 bits", async () => {
  await fc.assert(
    fc.asyncProperty(
      cases,
      fc.array(fc.bigInt(-(2n ** 31n) + 100n, 2n ** 31n - 100n)),
      async ({ xmin, xmax, xip }, far) => {
        const text = `${xmin}:${xmax}:${xip.join(",")}`;
        const near = Array.from({ length: 80 }, (_, i) => xmin + BigInt(i - 10));
        const xids = [...near, ...far.map((distance) => xmax + distance)].filter((xid) => xid >= 3n);
        const { rows } = await client.query<{ visible: boolean }>(
          "SELECT pg_visible_in_snapshot(x::text::xid8, $1::text::pg_snapshot) AS visible FROM unnest($2::text[]) AS x",
          [text, xids.map(String)],
        );
        const snapshot = parseMvccSnapshot(text);
        if (snapshot === undefined) return expect.fail(text);
        const ours = xids.map((xid) => isVisibleIn(snapshot, Number(BigInt.asUintN(32, xid))));
        expect(ours).toEqual(rows.map(({ visible }) => visible));
      },
    ),
    { numRuns: 200 },
  );
});

it("reads what PostgreSQL writes, with transactions and savepoints that go on", async () => {
  const others = await Promise.all(
    [1, 2].map(async () => {
      const other = new Client({ connectionString: database.url });
      await other.connect();
      await other.query("BEGIN; SELECT pg_current_xact_id(); SAVEPOINT s; CREATE TEMP TABLE t ()");
      const { rows } = await other.query<{ xid: string }>("SELECT pg_current_xact_id()::text AS xid");
      return { other, xid: Number(BigInt.asUintN(32, BigInt(rows[0]?.xid ?? 0))) };
    }),
  );
  const { rows: before } = await client.query<{ xid: string }>("SELECT pg_current_xact_id()::text AS xid");
  const { rows } = await client.query<{ snapshot: string }>("SELECT pg_current_snapshot()::text AS snapshot");
  const snapshot = parseMvccSnapshot(rows[0]?.snapshot ?? "");
  if (snapshot === undefined) return expect.fail("no snapshot");
  expect(others.map(({ xid }) => isVisibleIn(snapshot, xid))).toEqual([false, false]);
  expect(isVisibleIn(snapshot, Number(BigInt.asUintN(32, BigInt(before[0]?.xid ?? 0))))).toBe(true);
  for (const { other } of others) await other.end();
});

it.each([[""], ["1:2"], ["a:b:"], ["1:2:3,"]])("%j is no snapshot", (text) => {
  expect(parseMvccSnapshot(text)).toBeUndefined();
});
