// Over 400 lines: every step of one schema, forth and back, on a server of its own that is not to be started twice.

import { createDatabase, startPostgres, type TestDatabase } from "@walcast/testkit";
import { Client } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  clientRoles,
  dropOldPartitions,
  ensurePartitions,
  Janitor,
  migrate,
  pendingMigrations,
  revert,
  type JanitorReport,
} from "./index.ts";

// A server of its own: `anon` and the like belong to all of its databases.
let server: Awaited<ReturnType<typeof startPostgres>>;
let superuser: Client;
let database: TestDatabase;
let admin: Client;
/** Owns nothing but what it makes; may create in the database, and may not do anything else. */
let owner: Client;
const versions = [1, 2, 3, 4, 5, 6, 7];

beforeAll(async () => {
  server = await startPostgres();
  superuser = await connect(server.url);
  await superuser.query(`
    CREATE ROLE migrator LOGIN PASSWORD 'x';
    CREATE ROLE creator LOGIN CREATEROLE PASSWORD 'x';
    CREATE ROLE gate LOGIN NOINHERIT PASSWORD 'x'`);
});
beforeEach(async () => {
  database = await createDatabase(server.url);
  admin = await connect(database.url);
  await admin.query(`GRANT CREATE ON DATABASE ${database.name} TO migrator, creator`);
  owner = await connect(database.url, "migrator");
});
afterEach(async () => {
  await Promise.all([admin.end(), owner.end()]);
  await database.drop();
});
afterAll(async () => {
  await superuser.end();
  await server.stop();
});

async function connect(url: string, user?: string): Promise<Client> {
  const address = new URL(url);
  if (user !== undefined) [address.username, address.password] = [user, "x"];
  const client = new Client({ connectionString: address.href });
  await client.connect();
  return client;
}
const rowsOf = async (client: Client, text: string, values: unknown[] = []): Promise<Record<string, unknown>[]> =>
  (await client.query<Record<string, unknown>>(text, values)).rows;
const partitions = async (): Promise<unknown[]> =>
  (
    await rowsOf(
      admin,
      "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'realtime.messages'::regclass ORDER BY 1",
    )
  ).map(({ name }) => name);
const dayName = (days: number): string =>
  `realtime.messages_${new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10).replaceAll("-", "_")}`;
const objects = (): Promise<unknown> =>
  rowsOf(
    admin,
    `SELECT relname AS name FROM pg_class WHERE relnamespace = to_regnamespace('realtime') AND relkind IN ('r', 'p', 'i', 'I')
     UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = to_regnamespace('realtime') ORDER BY 1`,
  );

describe("migrating", () => {
  it("makes everything as a role that may create in the database, and then there is nothing more to do", async () => {
    expect(await pendingMigrations(owner)).toEqual(versions);
    const report = await migrate(owner);
    expect(report).toEqual({ applied: versions, adopted: [], createdRoles: [], published: [] });
    expect(await pendingMigrations(owner)).toEqual([]);
    const before = await objects();
    expect(await migrate(owner)).toMatchObject({ applied: [], adopted: [] });
    expect(await objects()).toEqual(before);
    expect(await partitions()).toEqual([-1, 0, 1, 2, 3].map(dayName));
    expect(
      await rowsOf(admin, "SELECT relrowsecurity FROM pg_class WHERE oid = 'realtime.messages'::regclass"),
    ).toEqual([{ relrowsecurity: true }]);
  });

  it("may be done by several at once", async () => {
    const others = await Promise.all(Array.from({ length: 4 }, () => connect(database.url, "migrator")));
    const reports = await Promise.all(others.map((client) => migrate(client)));
    expect(reports.map(({ applied }) => applied.length).filter((count) => count > 0)).toEqual([7]);
    await Promise.all(others.map((client) => client.end()));
  });

  it("is all or nothing", async () => {
    await expect(migrate(owner, { publications: ["missing"] })).rejects.toMatchObject({ code: "PUBLICATION_MISSING" });
    expect(await rowsOf(admin, "SELECT to_regnamespace('realtime') AS schema")).toEqual([{ schema: null }]);
  });

  it("says which privilege is missing", async () => {
    await admin.query(`REVOKE CREATE ON DATABASE ${database.name} FROM migrator`);
    await expect(migrate(owner)).rejects.toMatchObject({
      code: "MIGRATION_PRIVILEGE",
      message: expect.stringContaining("GRANT CREATE ON DATABASE"),
    });
    await admin.query("CREATE SCHEMA realtime");
    await expect(migrate(owner)).rejects.toMatchObject({ code: "MIGRATION_PRIVILEGE" });
  });

  it("by an older walcast than the one before is refused", async () => {
    await migrate(owner);
    await owner.query("INSERT INTO realtime.walcast_migrations VALUES (99, 'table realtime.new', true)");
    await expect(migrate(owner)).rejects.toMatchObject({ code: "MIGRATION_UNKNOWN" });
    await expect(revert(owner, 0)).rejects.toMatchObject({ code: "MIGRATION_UNKNOWN" });
  });
});

describe("reverting", () => {
  it("undoes what is newer than a version, and 0 everything; then all can be made again", async () => {
    await migrate(owner);
    expect(await revert(owner, 4)).toEqual([7, 6, 5]);
    expect(await pendingMigrations(owner)).toEqual([5, 6, 7]);
    expect(await revert(owner, 0)).toEqual([4, 3, 2, 1]);
    expect(await rowsOf(admin, "SELECT to_regnamespace('realtime') AS schema")).toEqual([{ schema: null }]);
    expect(await revert(owner, 0)).toEqual([]);
    expect(await migrate(owner)).toMatchObject({ applied: versions });
  });

  it("keeps the schema when somebody put a table there", async () => {
    await migrate(owner);
    await owner.query("CREATE TABLE realtime.mine (id int)");
    await revert(owner, 0);
    expect(await objects()).toEqual([{ name: "mine" }]);
  });
});

describe("roles", () => {
  const dropRoles = async (): Promise<void> => {
    for (const { name } of clientRoles)
      await superuser.query(`DROP OWNED BY ${name}; DROP ROLE ${name}`).catch(() => {});
  };
  afterEach(async () => {
    await admin.query(`DROP SCHEMA IF EXISTS realtime CASCADE`);
    await dropRoles();
  });

  it("are made when asked for, by who may, and get what the peer's have", async () => {
    expect((await migrate(admin, { createRoles: true })).createdRoles).toEqual([
      "anon",
      "authenticated",
      "service_role",
    ]);
    expect((await migrate(admin, { createRoles: true })).createdRoles).toEqual([]);
    const [grants] = await rowsOf(
      admin,
      `SELECT bool_and(has_table_privilege(r, 'realtime.messages', p)) AS granted,
              bool_or(has_table_privilege(r, 'realtime.messages', 'DELETE')) AS deletes,
              (SELECT rolbypassrls FROM pg_roles WHERE rolname = 'service_role') AS bypass
         FROM unnest(ARRAY['anon', 'authenticated', 'service_role']) AS r, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS p`,
    );
    expect(grants).toEqual({ granted: true, deletes: false, bypass: true });
  });

  it("need CREATEROLE, and service_role a superuser: the message has the statement", async () => {
    await expect(migrate(owner, { createRoles: true })).rejects.toMatchObject({
      code: "MIGRATION_PRIVILEGE",
      message: expect.stringContaining('CREATE ROLE "anon" NOLOGIN NOINHERIT'),
    });
    const creator = await connect(database.url, "creator");
    await expect(migrate(creator, { createRoles: true })).rejects.toMatchObject({
      message: expect.stringContaining('CREATE ROLE "service_role" NOLOGIN NOINHERIT BYPASSRLS'),
    });
    await creator.end();
  });

  it("that are made later get their grants with the next migration", async () => {
    await migrate(owner);
    await superuser.query("CREATE ROLE anon NOLOGIN");
    await migrate(owner);
    expect(await rowsOf(admin, "SELECT has_table_privilege('anon', 'realtime.messages', 'SELECT') AS ok")).toEqual([
      { ok: true },
    ]);
    expect(await rowsOf(admin, "SELECT has_schema_privilege('anon', 'realtime', 'USAGE') AS ok")).toEqual([
      { ok: true },
    ]);
  });
});

describe("the gateway's role", () => {
  it("may insert probes and keep the partitions, and nothing else", async () => {
    await migrate(owner, { gatewayRole: "gate" });
    await migrate(owner, { gatewayRole: "gate" });
    const gate = await connect(database.url, "gate");
    await gate.query("INSERT INTO realtime.messages (topic, extension) VALUES ('t', 'broadcast')");
    const refused = { code: "42501" };
    await expect(
      gate.query("INSERT INTO realtime.messages (topic, extension, event) VALUES ('t', 'broadcast', 'e')"),
    ).rejects.toMatchObject(refused);
    await expect(gate.query("SELECT FROM realtime.messages")).rejects.toMatchObject(refused);
    await expect(gate.query("DELETE FROM realtime.messages")).rejects.toMatchObject(refused);
    await expect(gate.query("CREATE TABLE realtime.t (id int)")).rejects.toMatchObject(refused);
    await admin.query(`DROP TABLE ${dayName(3)}`);
    expect(await ensurePartitions(gate)).toBe(1);
    expect(await dropOldPartitions(gate)).toBe(0);
    await gate.end();
  });

  it("alone may: the functions act with their owner's rights", async () => {
    await migrate(owner, { gatewayRole: "gate" });
    await owner.query("GRANT USAGE ON SCHEMA realtime TO PUBLIC");
    const other = await connect(database.url, "creator");
    await expect(dropOldPartitions(other, 0)).rejects.toMatchObject({ code: "42501" });
    await expect(ensurePartitions(other)).rejects.toMatchObject({ code: "42501" });
    await other.end();
  });
});

describe("partitions", () => {
  it("that are over for long are dropped, and nothing else", async () => {
    await migrate(owner);
    for (const days of [-2, -4, -5, -400]) {
      const from = new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10);
      await owner.query(
        `CREATE TABLE ${dayName(days)} PARTITION OF realtime.messages FOR VALUES FROM ('${from}') TO ('${from}'::date + 1)`,
      );
    }
    await owner.query("CREATE TABLE realtime.messages_2001_01_01 (id int)"); // a table of somebody's, no partition
    expect(await dropOldPartitions(owner)).toBe(3);
    expect(await partitions()).toEqual([-2, -1, 0, 1, 2, 3].map(dayName));
    expect(await dropOldPartitions(owner, 0)).toBe(2);
    expect(await ensurePartitions(owner)).toBe(1);
    expect(await rowsOf(admin, "SELECT to_regclass('realtime.messages_2001_01_01') IS NOT NULL AS kept")).toEqual([
      { kept: true },
    ]);
  });

  it("can be made by several at once", async () => {
    await migrate(owner);
    for (const days of [0, 1, 2]) await owner.query(`DROP TABLE ${dayName(days)}`);
    const clients = await Promise.all(Array.from({ length: 4 }, () => connect(database.url)));
    const made = await Promise.all(clients.map(ensurePartitions));
    expect(made.reduce((sum, n) => sum + n, 0)).toBe(3);
    await Promise.all(clients.map((client) => client.end()));
  });

  it("are kept by the janitor until it is told to stop, whatever happens", async () => {
    const stop = new AbortController();
    const reports: JanitorReport[] = [];
    const troubles: unknown[] = [];
    const janitor = new Janitor({
      database: { connectionString: database.url },
      keepHours: 72,
      intervalMs: 1,
      onReport: (report) => {
        reports.push(report);
        stop.abort();
      },
      onTrouble: (trouble) => {
        if (troubles.push(trouble) === 1) void migrate(owner).then(() => owner.query(`DROP TABLE ${dayName(2)}`));
      },
    });
    await janitor.run(stop.signal);
    expect(troubles[0]).toMatchObject({ code: "3F000" });
    expect(reports[0]?.dropped).toBe(0);
  });
});

describe("messages", () => {
  const sent = (): Promise<Record<string, unknown>[]> =>
    rowsOf(
      admin,
      "SELECT topic, extension, event, payload, private, id, binary_payload FROM realtime.messages ORDER BY inserted_at",
    );
  const warnings: (string | undefined)[] = [];
  beforeEach(async () => {
    await migrate(owner);
    warnings.length = 0;
    admin.on("notice", ({ message }) => warnings.push(message));
  });

  it("sent by realtime.send are private broadcasts with an id, which is the row's", async () => {
    await admin.query(`SELECT realtime.send('{"a": 1}', 'greeting', 'room:1')`);
    await admin.query(`SELECT realtime.send('{"id": "mine"}', 'greeting', 'room:1', false)`);
    const [first, second] = await sent();
    expect(first).toMatchObject({ topic: "room:1", extension: "broadcast", event: "greeting", private: true });
    expect(first?.["payload"]).toEqual({ a: 1, id: first?.["id"] });
    expect(second).toMatchObject({ private: false, payload: { id: "mine" } });
  });

  it("sent by realtime.send_binary have bytes", async () => {
    await admin.query(`SELECT realtime.send_binary('\\x00ff', 'e', 't')`);
    expect(await sent()).toMatchObject([{ payload: null, binary_payload: Buffer.from([0, 255]), private: true }]);
  });

  it("that cannot be sent are a warning, and the transaction goes on", async () => {
    await admin.query("BEGIN");
    await admin.query(`SELECT realtime.send('[1]', 'e', 't')`);
    await admin.query(`SELECT realtime.send(NULL, 'e', 't')`);
    await admin.query(`SELECT realtime.send('{}', 'e', NULL)`);
    await admin.query(`SELECT realtime.send_binary('a', 'e', NULL)`);
    await admin.query("COMMIT");
    expect(await sent()).toEqual([]);
    expect(warnings).toHaveLength(4);
    expect(warnings.every((text) => text?.startsWith("WarnSendingBroadcastMessage: ") === true)).toBe(true);
  });

  it("are not payload and bytes at once", async () => {
    await expect(
      admin.query(
        "INSERT INTO realtime.messages (topic, extension, payload, binary_payload) VALUES ('t', 'broadcast', '{}', 'x')",
      ),
    ).rejects.toMatchObject({ code: "23514" });
  });

  it("of changed rows come from triggers", async () => {
    await admin.query(`
      CREATE TABLE todos (id int PRIMARY KEY, title text);
      CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM realtime.broadcast_changes('todos', TG_OP, TG_OP, TG_TABLE_NAME, TG_TABLE_SCHEMA, NEW, OLD);
        RETURN NULL; END $$;
      CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON todos FOR EACH ROW EXECUTE FUNCTION tell();
      INSERT INTO todos VALUES (1, 'a')`);
    await admin.query("UPDATE todos SET title = 'b'");
    await admin.query("DELETE FROM todos");
    const about = { table: "todos", schema: "public" };
    expect((await sent()).map(({ payload }) => payload)).toMatchObject([
      { ...about, operation: "INSERT", record: { id: 1, title: "a" }, old_record: null },
      { ...about, operation: "UPDATE", record: { id: 1, title: "b" }, old_record: { id: 1, title: "a" } },
      { ...about, operation: "DELETE", record: null, old_record: { id: 1, title: "b" } },
    ]);
    expect(await sent()).toMatchObject([{ private: true, event: "INSERT", topic: "todos" }, {}, {}]);
  });

  it.each([
    ["'TRUNCATE'", "'ROW'", "Failed to process the row: Unexpected operation type: TRUNCATE"],
    [
      "'INSERT'",
      "'STATEMENT'",
      "Failed to process the row: function can only be triggered for each row, not for each statement",
    ],
  ])("of changes refuse %s with %s", async (operation, level, message) => {
    const call = `SELECT realtime.broadcast_changes('t', 'e', ${operation}, 't', 's', ROW(1), ROW(1), ${level})`;
    await expect(admin.query(call)).rejects.toMatchObject({ message });
  });

  it("know their topic inside of policies, and only there", async () => {
    expect(await rowsOf(admin, "SELECT realtime.topic() AS topic")).toEqual([{ topic: null }]);
    await admin.query("BEGIN; SELECT set_config('realtime.topic', 'a:b', true)");
    expect(await rowsOf(admin, "SELECT realtime.topic() AS topic")).toEqual([{ topic: "a:b" }]);
    await admin.query("COMMIT");
    expect(await rowsOf(admin, "SELECT realtime.topic() AS topic")).toEqual([{ topic: null }]);
  });
});

describe("publications", () => {
  const carried = async (publication: string): Promise<unknown[]> =>
    (
      await rowsOf(admin, "SELECT tablename FROM pg_publication_tables WHERE pubname = $1 ORDER BY 1", [publication])
    ).map(({ tablename }) => tablename);

  it("that list tables carry the messages afterwards, with partitions that are yet to come", async () => {
    await admin.query(
      `CREATE TABLE public.t (id int PRIMARY KEY); CREATE PUBLICATION "Listed ""one""" FOR TABLE public.t`,
    );
    const options = { publications: ['Listed "one"'] };
    expect((await migrate(admin, options)).published).toEqual(['Listed "one"']);
    expect((await migrate(admin, options)).published).toEqual([]);
    expect(await carried('Listed "one"')).toEqual([...[-1, 0, 1, 2, 3].map((day) => dayName(day).slice(9)), "t"]);
    await admin.query(
      "CREATE TABLE realtime.messages_1999_01_01 PARTITION OF realtime.messages FOR VALUES FROM ('1999-01-01') TO ('1999-01-02')",
    );
    expect(await carried('Listed "one"')).toContain("messages_1999_01_01");
  });

  it("by way of the root, or for all tables, stay as they are", async () => {
    await admin.query(
      "CREATE PUBLICATION rooted WITH (publish_via_partition_root = true); CREATE PUBLICATION everything FOR ALL TABLES",
    );
    expect((await migrate(admin, { publications: ["rooted", "everything"] })).published).toEqual(["rooted"]);
    expect((await migrate(admin, { publications: ["rooted", "everything"] })).published).toEqual([]);
    expect(await carried("rooted")).toEqual(["messages"]);
  });

  it("of others are not touched: the message says who may", async () => {
    await admin.query("CREATE PUBLICATION theirs");
    await expect(migrate(owner, { publications: ["theirs"] })).rejects.toMatchObject({ code: "MIGRATION_PRIVILEGE" });
  });
});

describe("where Supabase's own schema is", () => {
  beforeEach(() =>
    admin.query(`
      CREATE SCHEMA realtime;
      GRANT USAGE, CREATE ON SCHEMA realtime TO migrator;
      CREATE TABLE realtime.schema_migrations (version bigint PRIMARY KEY, inserted_at timestamp);
      CREATE TABLE realtime.messages (
        topic text NOT NULL, extension text NOT NULL, payload jsonb, event text, private boolean DEFAULT false,
        updated_at timestamp NOT NULL DEFAULT now(), inserted_at timestamp NOT NULL DEFAULT now(),
        id uuid NOT NULL DEFAULT gen_random_uuid(), PRIMARY KEY (id, inserted_at)) PARTITION BY RANGE (inserted_at);
      CREATE FUNCTION realtime.topic() RETURNS text LANGUAGE sql STABLE AS $$ SELECT 'theirs' $$;
      CREATE FUNCTION realtime.send(payload jsonb, event text, topic text, private boolean DEFAULT true) RETURNS void
        LANGUAGE sql AS $$ SELECT $$`),
  );

  it("its objects are used as they are, only what is missing is made, and reverting leaves them", async () => {
    const before = await objects();
    const report = await migrate(owner);
    expect(report.adopted).toEqual([
      "realtime.messages",
      "realtime.topic()",
      "realtime.send(jsonb, text, text, boolean)",
    ]);
    expect(await rowsOf(admin, "SELECT realtime.topic() AS topic")).toEqual([{ topic: "theirs" }]);
    expect(await pendingMigrations(owner)).toEqual([]);
    await revert(owner, 0);
    expect(await objects()).toEqual(before);
  });

  it("its owner prepares the gateway's role", async () => {
    await migrate(admin, { gatewayRole: "gate" });
    const gate = await connect(database.url, "gate");
    expect(await ensurePartitions(gate)).toBe(5);
    await gate.query("INSERT INTO realtime.messages (topic, extension) VALUES ('t', 'broadcast')");
    await gate.end();
    await expect(migrate(owner, { gatewayRole: "gate" })).rejects.toMatchObject({ code: "MIGRATION_PRIVILEGE" });
  });
});
