import type { Relation } from "@walcast/model";
import { createDatabase, waitUntil } from "@walcast/testkit";
import { Client } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from "vitest";
import { AccessCatalog, ruleFor, type AccessAnswer, type AccessChange, type TableAccess } from "./index.ts";
import { createPolicyDatabase, type PolicyDatabase } from "./test-database.ts";

let database: PolicyDatabase;
let catalog: AccessCatalog;
let changes: AccessChange[];
let nowMs = 0;

beforeAll(async () => {
  database = await createPolicyDatabase(inject("postgresUrl"));
});
beforeEach(() => {
  nowMs = 0;
  changes = [];
  catalog = new AccessCatalog({ database: database.gate, pollMs: 100, staleMs: 5_000, now: () => nowMs });
  catalog.onChange((change) => changes.push(change));
});
afterEach(() => catalog.close());
afterAll(() => database.drop());

async function accessTo(relation: Relation, role: string): Promise<TableAccess> {
  const answer = await catalog.access(relation, database.role(role));
  if (answer.tag !== "access") throw new Error(answer.tag);
  return answer.access;
}
const selectable = async (relation: Relation, role: string): Promise<readonly string[]> =>
  [...(await accessTo(relation, role)).selectable].sort();
async function table(name: string, text: string): Promise<Relation> {
  await database.sql(text);
  return await database.relation("public", name);
}

describe("the access catalog", () => {
  it("knows what may be selected: by table, by column, by way of other roles, and not without the schema", async () => {
    const plain = await table(
      "plain",
      `CREATE TABLE plain (id int PRIMARY KEY, gone int, a text, "B ""b""" text);
       ALTER TABLE plain DROP COLUMN gone;
       GRANT SELECT ON plain TO %user%;
       GRANT SELECT (id, "B ""b""") ON plain TO %owner%`,
    );
    expect(await selectable(plain, "user")).toEqual(['B "b"', "a", "id"]);
    expect(await selectable(plain, "owner")).toEqual(['B "b"', "id"]);
    expect(await selectable(plain, "member")).toEqual(['B "b"', "id"]);
    expect(await selectable(plain, "anon")).toEqual([]);
    await database.sql(
      `CREATE SCHEMA closed; CREATE TABLE closed.t (id int PRIMARY KEY); GRANT SELECT ON closed.t TO %user%`,
    );
    expect(await selectable(await database.relation("closed", "t"), "user")).toEqual([]);
  });

  it("knows no roles and tables that are not there", async () => {
    const plain = await database.relation("public", "plain");
    for (const role of ["nobody", "none", "public", "", "current_user"])
      expect(await catalog.access(plain, role)).toEqual({ tag: "unknownRole" });
    expect(await catalog.access({ ...plain, oid: 1 }, database.role("user"))).toEqual({ tag: "unknownTable" });
  });

  it("asks once for what it was asked a thousand times", async () => {
    const plain = await database.relation("public", "plain");
    expect(catalog.known(plain, database.role("user"))).toBeUndefined();
    await Promise.all(Array.from({ length: 1000 }, () => accessTo(plain, "user")));
    expect(catalog.known(plain, database.role("user"))?.tag).toBe("access");
    const one = await accessTo(plain, "user");
    expect(await accessTo(plain, "user")).toBe(one);
  });

  // Each changes what the catalog says, and is seen by the next look.
  const alterations: [what: string, alter: string, is: (answer: AccessAnswer) => boolean][] = [
    ["a grant", "GRANT SELECT ON %t TO %anon%", has("a")],
    ["a revoke", "REVOKE SELECT ON %t FROM %anon%", (answer) => !has("a")(answer)],
    ["a grant on a column", "GRANT SELECT (id) ON %t TO %anon%", (answer) => has("id")(answer) && !has("a")(answer)],
    ["a grant to a role one is in", "GRANT SELECT ON %t TO %owner%", (answer) => !has("a")(answer)],
    ["a membership", "GRANT %owner% TO %anon%", has("a")],
    ["the end of a membership", "REVOKE %owner% FROM %anon%", (answer) => !has("a")(answer)],
    ["a grant to everybody", "GRANT SELECT ON %t TO PUBLIC", has("a")],
    ["the schema closed", "REVOKE USAGE ON SCHEMA public FROM PUBLIC", (answer) => !has("id")(answer)],
    ["the schema opened", "GRANT USAGE ON SCHEMA public TO PUBLIC", has("a")],
    ["row level security on", "ALTER TABLE %t ENABLE ROW LEVEL SECURITY", rows("policies")],
    ["another owner", "ALTER TABLE %t OWNER TO %anon%", rows("all")],
    ["FORCE", "ALTER TABLE %t FORCE ROW LEVEL SECURITY", rows("policies")],
    ["BYPASSRLS", "ALTER ROLE %anon% BYPASSRLS", rows("all")],
    ["no BYPASSRLS", "ALTER ROLE %anon% NOBYPASSRLS", rows("policies")],
    ["row level security off", "ALTER TABLE %t DISABLE ROW LEVEL SECURITY", rows("all")],
    ["a column added", "ALTER TABLE %t ADD COLUMN b int", has("b")],
    ["a column renamed", "ALTER TABLE %t RENAME COLUMN b TO c", (answer) => has("c")(answer) && !has("b")(answer)],
    ["a column dropped", "ALTER TABLE %t DROP COLUMN c", (answer) => !has("c")(answer)],
    ["a key of another type", "ALTER TABLE %t ALTER COLUMN id TYPE int8", key("pg_catalog.int8")],
    ["no key", "ALTER TABLE %t DROP CONSTRAINT altered_pkey", key()],
    ["a key of two", "ALTER TABLE %t ADD PRIMARY KEY (a, id)", key("pg_catalog.text", "pg_catalog.int8")],
    [
      "a rename",
      "ALTER TABLE %t RENAME TO renamed",
      ({ ...one }) => one.tag === "access" && one.access.facts.table === "renamed",
    ],
    ["a drop", "DROP TABLE renamed", ({ tag }) => tag === "unknownTable"],
  ];
  it("sees every change of grants, roles, policies and tables at its next look", async () => {
    const relation = await table("altered", "CREATE TABLE altered (id int PRIMARY KEY, a text)");
    const same = { ...relation, columns: [] }; // a younger column is asked for at once, which is not what is tested here
    await catalog.access(same, database.role("anon"));
    for (const [what, alter, is] of alterations) {
      await database.sql(alter.replaceAll("%t ", "altered "));
      await catalog.check();
      expect([what, changes.length]).toEqual([what, 1]);
      const answer = await catalog.access(same, database.role("anon"));
      expect([what, is(answer)]).toEqual([what, true]);
      changes = [];
      await catalog.check(); // nothing more to see
      expect([what, changes]).toEqual([what, []]);
    }
  });

  it("tells a change of policies, though what may be selected stays", async () => {
    const relation = await table(
      "governed",
      "CREATE TABLE governed (id int PRIMARY KEY); ALTER TABLE governed ENABLE ROW LEVEL SECURITY",
    );
    await accessTo(relation, "user");
    for (const change of [
      "CREATE POLICY p ON governed USING (true)",
      "ALTER POLICY p ON governed USING (false)",
      "DROP POLICY p ON governed",
    ]) {
      await database.sql(change);
      await catalog.check();
      await accessTo(relation, "user");
    }
    expect(changes).toEqual(Array.from({ length: 3 }, () => ({ tables: new Set([relation.oid]), roles: new Set() })));
  });

  it("tells of a role that is created, and of one that is dropped", async () => {
    const plain = await database.relation("public", "plain");
    const role = database.role("passing");
    expect(await catalog.access(plain, role)).toEqual({ tag: "unknownRole" });
    await database.sql("CREATE ROLE %passing%");
    await catalog.check();
    expect((await catalog.access(plain, role)).tag).toBe("access");
    await database.sql("DROP ROLE %passing%");
    await catalog.check();
    expect(await catalog.access(plain, role)).toEqual({ tag: "unknownRole" });
    expect(changes.map(({ roles }) => roles)).toEqual([new Set([role]), new Set([role])]);
  });

  it("is not moved by what happens to rows", async () => {
    const relation = await table("rows", "CREATE TABLE rows (id int PRIMARY KEY); GRANT SELECT ON rows TO %user%");
    await accessTo(relation, "user");
    await database.sql("INSERT INTO rows SELECT generate_series(1, 1000)");
    await database.admin.query("VACUUM ANALYZE rows");
    await catalog.check();
    expect(changes).toEqual([]);
  });

  it("asks at once for a column it does not know", async () => {
    const old = await table("growing", "CREATE TABLE growing (id int PRIMARY KEY); GRANT SELECT ON growing TO %user%");
    await accessTo(old, "user");
    await database.sql("ALTER TABLE growing ADD COLUMN b int");
    expect(await selectable(await database.relation("public", "growing"), "user")).toEqual(["b", "id"]);
  });

  it("is checked while it runs, until it is told to stop", async () => {
    const relation = await table("watched", "CREATE TABLE watched (id int PRIMARY KEY)");
    await accessTo(relation, "user");
    const stop = new AbortController();
    const running = catalog.run(stop.signal);
    await database.sql("GRANT SELECT ON watched TO %user%");
    await waitUntil(async () => (await selectable(relation, "user")).length === 1, { what: "the grant to be seen" });
    stop.abort();
    await expect(running).resolves.toBeUndefined();
  });
});

it("what could not be checked for too long is not used, and trouble is told once it is over, too", async () => {
  const own = await createDatabase(inject("postgresUrl"));
  const there = new Client({ connectionString: own.url });
  await there.connect();
  const { rows } = await there
    .query<{ oid: number }>("CREATE TABLE t (id int PRIMARY KEY); SELECT 't'::regclass::oid AS oid")
    .then((results) => (results as unknown as { rows: { oid: number }[] }[])[1] ?? { rows: [] });
  await there.end();
  const troubles: (string | undefined)[] = [];
  let at = 0;
  const away = new AccessCatalog({
    database: { connectionString: own.url },
    pollMs: 100,
    staleMs: 5_000,
    now: () => at,
    onTrouble: (trouble) => troubles.push(trouble?.message === undefined ? undefined : "trouble"),
  });
  const relation: Relation = {
    oid: Number(rows[0]?.oid),
    schema: "public",
    table: "t",
    replicaIdentity: "d",
    columns: [],
  };
  expect((await away.access(relation, "postgres")).tag).toBe("access");
  await own.drop();
  at = 5_000;
  await expect(away.check()).rejects.toMatchObject({ code: "DATABASE_UNAVAILABLE" });
  expect((await away.access(relation, "postgres")).tag).toBe("access");
  at = 5_001;
  await expect(away.access(relation, "postgres")).rejects.toMatchObject({ code: "DATABASE_UNAVAILABLE" });
  const again = await createDatabase(inject("postgresUrl"), own.name);
  await away.check();
  expect(troubles.at(-1)).toBeUndefined();
  expect(troubles.slice(0, -1)).toEqual(["trouble", "trouble"]);
  await away.close();
  await again.drop();
});

describe("the rule for a change", () => {
  const full = (over: Partial<TableAccess> & { key?: readonly string[]; secured?: boolean } = {}): AccessAnswer => {
    const { key = ["id"], secured = false, ...access } = over;
    return {
      tag: "access",
      access: {
        facts: {
          oid: 1,
          schema: "public",
          table: "t",
          isPartitioned: false,
          isRowSecured: secured,
          columns: new Set(["id", "a", "b"]),
          primaryKey: key.map((name) => ({ name, type: "int4", operator: "=", wire: "text" })),
        },
        role: "r",
        selectable: new Set(["id", "a", "b"]),
        rows: "all",
        ...access,
      },
    };
  };
  const column = (name: string) => ({ name, type: "int4", typeOid: 23, typeModifier: -1, isKey: false });
  const relation: Relation = {
    oid: 1,
    schema: "public",
    table: "t",
    replicaIdentity: "f",
    columns: ["id", "a", "b"].map(column),
  };
  const rule = (answer: AccessAnswer, kind: Parameters<typeof ruleFor>[1]) => ruleFor(answer, kind, relation);
  const all = { tag: "delivered", columns: undefined, oldColumns: undefined, rows: "all" };
  const refused = (error: string) => ({ tag: "refused", error });

  it("delivers everything of an open table", () => {
    for (const kind of ["insert", "update", "delete", "truncate"] as const) expect(rule(full(), kind)).toEqual(all);
  });

  it("asks for rows under row level security, and gives no more than the key of deleted ones", () => {
    const secured = full({ secured: true, rows: "policies" });
    expect(rule(secured, "insert")).toEqual({ ...all, rows: "visible" });
    expect(rule(secured, "update")).toEqual({ ...all, rows: "visible" });
    expect(rule(secured, "delete")).toEqual({ ...all, oldColumns: new Set(["id"]) });
    expect(rule(full({ secured: true }), "insert")).toEqual(all);
    expect(rule(full({ secured: true }), "delete")).toEqual({ ...all, oldColumns: new Set(["id"]) });
    expect(rule(full({ secured: true, key: [] }), "delete")).toEqual({ ...all, oldColumns: new Set() });
  });

  it("cuts what may not be selected", () => {
    const some = full({ selectable: new Set(["id", "b"]) });
    expect(rule(some, "update")).toEqual({ ...all, columns: new Set(["id", "b"]) });
  });

  it("refuses with 401 without the key, the role or the table, and with 400 where there is no key", () => {
    const unauthorized = refused("Error 401: Unauthorized");
    expect(rule(full({ selectable: new Set(["a"]) }), "insert")).toEqual(unauthorized);
    expect(rule(full({ selectable: new Set(["a"]) }), "delete")).toEqual(unauthorized);
    expect(rule(full({ selectable: new Set(), key: [] }), "insert")).toEqual(unauthorized);
    expect(rule({ tag: "unknownRole" }, "delete")).toEqual(unauthorized);
    expect(rule({ tag: "unknownTable" }, "truncate")).toEqual(unauthorized);
    expect(rule(full({ key: [] }), "insert")).toEqual(refused("Error 400: Bad Request, no primary key"));
    expect(rule(full({ key: [] }), "delete")).toEqual(all);
  });
});

function has(column: string): (answer: AccessAnswer) => boolean {
  return (answer) => answer.tag === "access" && answer.access.selectable.has(column);
}
function rows(expected: TableAccess["rows"]): (answer: AccessAnswer) => boolean {
  return (answer) => answer.tag === "access" && answer.access.rows === expected;
}
function key(...types: string[]): (answer: AccessAnswer) => boolean {
  return (answer) =>
    answer.tag === "access" && answer.access.facts.primaryKey.map(({ type }) => type).join() === types.join();
}
