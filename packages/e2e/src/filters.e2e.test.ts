// Over 400 lines: the rows of protocol.md 4.6 to 4.8, on one cluster that is not to be started twice.

import { waitUntil } from "@walcast/testkit";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { settle, startCluster, type Cluster } from "./cluster.ts";
import { openRaw, type RawSocket } from "./raw-socket.ts";
import { connectClient, isSubscribed, type TestSubscription, type Wanted } from "./realtime-clients.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ postgresUrl: inject("postgresUrl"), natsUrl: inject("natsUrl") });
});
afterAll(() => cluster.stop());

/** The last row of a stream: when it has come, so has everything before it. */
const lastId = 999;

const untilLast = (subscription: TestSubscription): Promise<unknown> =>
  waitUntil(() => subscription.changes.some(({ record }) => record["id"] === lastId), { what: "the last row" });

describe("a filter lets through what a SELECT with the same condition returns", () => {
  /** A filter, and the condition it stands for. */
  const filters: readonly (readonly [string, string])[] = [
    ["n=eq.2", "n = 2"],
    ["n=neq.2", "n <> 2"],
    ["n=lt.2", "n < 2"],
    ["n=lte.2", "n <= 2"],
    ["n=gt.2", "n > 2"],
    ["n=gte.2", "n >= 2"],
    ["n=in.(1,3,7)", "n IN (1, 3, 7)"],
    ["n=not.eq.2", "NOT n = 2"],
    ["n=not.neq.2", "NOT n <> 2"],
    ["n=not.lt.2", "NOT n < 2"],
    ["n=not.lte.2", "NOT n <= 2"],
    ["n=not.gt.2", "NOT n > 2"],
    ["n=not.gte.2", "NOT n >= 2"],
    ["n=not.in.(1,3)", "n NOT IN (1, 3)"],
    ["n=not.in.(1,NULL)", "n NOT IN (1, NULL)"],
    ["n=is.null", "n IS NULL"],
    ["n=not.is.null", "n IS NOT NULL"],
    ["n=isdistinct.2", "n IS DISTINCT FROM 2"],
    ["n=not.isdistinct.2", "n IS NOT DISTINCT FROM 2"],
    [" n=gte.1 , n=lt.3 ", "n >= 1 AND n < 3"],
    ["t=eq.a", "t = 'a'"],
    ['t=eq."a,b"', "t = 'a,b'"],
    [String.raw`t=eq."q\"\\"`, String.raw`t = 'q"\'`],
    ["t=eq.x=y.z", "t = 'x=y.z'"],
    ["t=eq.f(x,y)", "t = 'f(x,y)'"],
    ['t=in.("a,b", a, "NULL")', "t IN ('a,b', 'a', 'NULL')"],
    ["t=in.(a,null)", "t IN ('a', NULL)"],
    ["t=gt.a", `t COLLATE "C" > 'a'`],
    ["t=like.a%", "t LIKE 'a%'"],
    ["t=like._", "t LIKE '_'"],
    [String.raw`t=like.%\%`, String.raw`t LIKE '%\%'`],
    ["t=not.like.a%", "t NOT LIKE 'a%'"],
    ["t=ilike.A%", "t ILIKE 'A%'"],
    ["t=not.ilike.A%", "t NOT ILIKE 'A%'"],
    ["t=match.^[a-f]+$", "t ~ '^[a-f]+$'"],
    [String.raw`t=match.\d{2}`, String.raw`t ~ '\d{2}'`],
    ["t=not.match.^a", "t !~ '^a'"],
    ["t=imatch.^A", "t ~* '^A'"],
    ["t=not.imatch.^A", "t !~* '^A'"],
    ["b=is.true", "b IS TRUE"],
    ["b=is.false", "b IS FALSE"],
    ["b=is.unknown", "b IS UNKNOWN"],
    ["b=not.is.true", "b IS NOT TRUE"],
    ["b=eq.yes", "b = 'yes'"],
    ["big=eq.9007199254740993", "big = 9007199254740993"],
    ["big=gt.9007199254740992", "big > 9007199254740992"],
    ["price=eq.1.5", "price = 1.5"],
    ["price=lt.0.10000000000000000001", "price < 0.10000000000000000001"],
    ["f=eq.0.1", "f = 0.1::float8"],
    ["f=lt.Infinity", "f < 'Infinity' AND f <> 'NaN'"], // NaN and the infinities are null on the wire
    ["c=eq.ab", "c = 'ab'"],
    ["u=eq.550E8400E29B41D4A716446655440000", "u = '550e8400-e29b-41d4-a716-446655440000'"],
    [String.raw`bin=eq.\xDEADBEEF`, String.raw`bin = '\xdeadbeef'`],
    ["d=gte.2024-02-29", "d >= '2024-02-29'"],
    ["d=lt.0044-03-15 BC", "d < '0044-03-15 BC'"],
    ["d=lt.infinity", "d < 'infinity'"],
    ["at=eq.2024-02-29T12:00:00+02:00", "at = '2024-02-29T12:00:00+02:00'"],
    ["at=gt.2024-02-29 10:00:00.000001+00", "at > '2024-02-29 10:00:00.000001+00'"],
    ["ts=lte.2024-02-29 10:00", "ts <= '2024-02-29 10:00'"],
    ["tm=eq.24:00", "tm = '24:00'"],
    ["iv=eq.30 days", "iv = '30 days'"],
    ["iv=lt.720:00:00.000001", "iv < '720:00:00.000001'"],
    ["tags=eq.{x}", "tags = '{x}'"],
    ["positive=gt.1", "positive > 1"],
    ["mood=eq.ok", "mood = 'ok'"],
    ["mood=lt.ok", "mood < 'ok'"],
    ["mood=not.lte.sad", "mood > 'sad'"],
    ["or=(mood.gt.ok,nested.lte.ok)", "mood > 'ok' OR nested::mood <= 'ok'"],
    ["data->>kind=eq.x", "data->>'kind' = 'x'"],
    ["data->n=gt.9", "data->'n' > '9'"],
    ["data->list->0->>k=eq.v", "data->'list'->0->>'k' = 'v'"],
    ["data->>none=is.null", "data->>'none' IS NULL"],
    ["or=(n.eq.1,t.like.a%,and(b.is.true,not.n.is.null))", "n = 1 OR t LIKE 'a%' OR (b IS TRUE AND n IS NOT NULL)"],
    ["not.or=(n.eq.1,t.eq.a)", "NOT (n = 1 OR t = 'a')"],
    ["n=gt.0,or=(n.lt.2,n.gt.2)", "n > 0 AND (n < 2 OR n > 2)"],
  ];

  it("whatever the operator, the type and the spelling", async () => {
    await cluster.sql.query(`
      CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
      CREATE DOMAIN inner_mood AS mood;
      CREATE DOMAIN positive AS int CHECK (VALUE > 0);
      CREATE TABLE things (id int PRIMARY KEY, n int, t text, b bool, big bigint, price numeric, f float8, c char(5), u uuid,
        bin bytea, d date, at timestamptz, ts timestamp, tm time, iv interval, tags text[], positive positive, mood mood, nested inner_mood, data jsonb);`);
    const client = connectClient("2.119.0", cluster.url);
    const all = client.subscribe({ table: "things" });
    const subscriptions = filters.map(([filter, condition]) => {
      return { filter, condition, received: client.subscribe({ table: "things", filter }) };
    });
    await waitUntil(() => [all, ...subscriptions.map(({ received }) => received)].every((one) => isSubscribed(one)), {
      what: "all subscriptions to be live",
    });
    await cluster.sql.query(String.raw`
      INSERT INTO things (id, n, t, b, big, price, f, c, u, bin) VALUES
        (1, 1, 'a', true, 9007199254740992, 1.5, 0.1, 'ab', '550e8400-e29b-41d4-a716-446655440000', '\xdeadbeef'),
        (2, 2, 'A', false, 9007199254740993, 1.50, 0.30000000000000004, 'ab   ', '00000000-0000-0000-0000-000000000001', '\x'),
        (3, 3, 'a,b', NULL, 9007199254740994, 0.1, 1e300, 'abc', NULL, NULL),
        (4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
        (5, -1, 'q"\', true, -1, 0.10000000000000000001, 'NaN', '', NULL, NULL),
        (6, 7, 'x=y.z', false, 0, 1e20, 'Infinity', NULL, NULL, NULL),
        (7, 0, 'f(x,y)', true, 1, -0.5, 0, NULL, NULL, NULL),
        (8, 2, '100%', NULL, 1, 0, 0, NULL, NULL, NULL),
        (9, 10, 'NULL', NULL, 1, 0, 0, NULL, NULL, NULL);
      INSERT INTO things (id, mood, nested) VALUES
        (10, 'happy', NULL), (11, NULL, 'happy'), (12, NULL, 'sad'), (13, 'ok', 'ok');
      INSERT INTO things (id, d, at, ts, tm, iv, tags, positive, mood, data) VALUES
        (20, '2024-02-29', '2024-02-29 10:00+00', '2024-02-29 10:00', '24:00', '1 mon', '{x}', 2, 'ok', '{"kind":"x","n":10}'),
        (21, '0045-03-15 BC', '2024-02-29 10:00:00.000002+00', '2024-02-29 10:00:00.5', '12:00', '30 days', '{x,y}', 1, 'sad',
             '{"kind":null,"n":9,"list":[{"k":"v"}]}'),
        (22, 'infinity', 'infinity', '-infinity', '00:00', '-1 day', '{}', NULL, NULL, '[1]');
      INSERT INTO things (id) VALUES (${lastId});`);
    await untilLast(all);
    for (const { filter, condition, received } of subscriptions) {
      const { rows } = await cluster.sql.query<{ id: number }>(`SELECT id FROM things WHERE ${condition} ORDER BY id`);
      const ids = received.changes.map(({ record }) => record["id"]);
      expect({ filter, ids }).toEqual({ filter, ids: rows.map(({ id }) => id) });
    }
    client.disconnect();
  });
});

describe("updates and deletes", () => {
  const received = async (table: string, filters: readonly string[], sql: string): Promise<Record<string, unknown>> => {
    const client = connectClient("2.119.0", cluster.url);
    const all = client.subscribe({ table });
    const filtered = filters.map((filter) => ({ filter, changes: client.subscribe({ table, filter }) }));
    await waitUntil(() => [all, ...filtered.map(({ changes }) => changes)].every((one) => isSubscribed(one)), {
      what: "subscriptions to be live",
    });
    await cluster.sql.query(sql);
    await cluster.sql.query(`INSERT INTO ${table} (id) VALUES (${lastId})`);
    await untilLast(all);
    client.disconnect();
    return Object.fromEntries(
      filtered.map(({ filter, changes: { changes } }) => [
        filter,
        changes.map(({ event, record, oldRecord }) => `${event} ${String(record["id"] ?? oldRecord["id"])}`),
      ]),
    );
  };
  const change = (table: string): string => `
    UPDATE ${table} SET status = 2 WHERE id = 1; UPDATE ${table} SET id = 20 WHERE id = 2; DELETE FROM ${table} WHERE id IN (1, 20)`;
  const filters = [
    "status=eq.1",
    "status=eq.2",
    "id=eq.1",
    "id=eq.2",
    "id=eq.20",
    "body=like.x%",
    "note=is.null",
    "status=not.is.null",
  ];

  it("under the default identity: updates by new values, deletes by the key, nothing by an unchanged TOAST value", async () => {
    await settle(
      cluster,
      `CREATE TABLE by_key (id int PRIMARY KEY, status int, body text, note text);
      ALTER TABLE by_key ALTER body SET STORAGE EXTERNAL;
      INSERT INTO by_key VALUES (1, 1, repeat('x', 10000)), (2, 1, 'xyz')`,
    );
    expect(await received("by_key", filters, change("by_key"))).toEqual({
      "status=eq.1": ["UPDATE 20"],
      "status=eq.2": ["UPDATE 1"],
      "id=eq.1": ["UPDATE 1", "DELETE 1"],
      "id=eq.2": [],
      "id=eq.20": ["UPDATE 20", "DELETE 20"],
      "body=like.x%": ["UPDATE 20"],
      "note=is.null": ["UPDATE 1", "UPDATE 20", `INSERT ${lastId}`],
      "status=not.is.null": ["UPDATE 1", "UPDATE 20"],
    });
  });

  it("under REPLICA IDENTITY FULL: deletes by any column, TOAST values filled in", async () => {
    await settle(
      cluster,
      `CREATE TABLE by_row (id int PRIMARY KEY, status int, body text, note text);
      ALTER TABLE by_row ALTER body SET STORAGE EXTERNAL;
      ALTER TABLE by_row REPLICA IDENTITY FULL;
      INSERT INTO by_row VALUES (1, 1, repeat('x', 10000)), (2, 1, 'xyz')`,
    );
    expect(await received("by_row", filters, change("by_row"))).toEqual({
      "status=eq.1": ["UPDATE 20", "DELETE 20"],
      "status=eq.2": ["UPDATE 1", "DELETE 1"],
      "id=eq.1": ["UPDATE 1", "DELETE 1"],
      "id=eq.2": [],
      "id=eq.20": ["UPDATE 20", "DELETE 20"],
      "body=like.x%": ["UPDATE 1", "UPDATE 20", "DELETE 1", "DELETE 20"],
      "note=is.null": ["UPDATE 1", "UPDATE 20", "DELETE 1", "DELETE 20", `INSERT ${lastId}`],
      "status=not.is.null": ["UPDATE 1", "UPDATE 20", "DELETE 1", "DELETE 20"],
    });
  });
});

interface Frame {
  readonly event: string;
  readonly ref: string | null;
  readonly payload: {
    readonly ids: readonly number[];
    readonly data: Readonly<Record<string, unknown>>;
    readonly message: string;
    readonly response: { readonly postgres_changes: readonly { readonly id: number }[] };
  };
}

/** Joins one channel with these bindings; the ids they got and what was said of them. */
async function join(socket: RawSocket, bindings: readonly object[]): Promise<{ ids: number[]; message: string }> {
  const topic = `realtime:r${socket.frames.length}`;
  const of = (frame: unknown): Frame & { topic: string } => frame as Frame & { topic: string };
  socket.send({
    topic,
    event: "phx_join",
    payload: { config: { postgres_changes: bindings } },
    ref: "1",
    join_ref: "1",
  });
  const reply = await socket.next((frame) => of(frame).topic === topic && of(frame).event === "phx_reply", "the reply");
  const system = await socket.next((frame) => of(frame).topic === topic && of(frame).event === "system", "the message");
  return { ids: of(reply).payload.response.postgres_changes.map(({ id }) => id), message: of(system).payload.message };
}

/** The frames with changes of these ids. */
const framesOf = (socket: RawSocket, ids: readonly number[]): Frame["payload"][] =>
  (socket.frames as Frame[])
    .filter(({ event, payload }) => event === "postgres_changes" && payload.ids.some((id) => ids.includes(id)))
    .map(({ payload }) => payload);

const untilFrames = (socket: RawSocket, ids: readonly number[], count: number): Promise<unknown> =>
  waitUntil(() => framesOf(socket, ids).length >= count, { what: `${count} frames with changes` });

describe("one channel's bindings", () => {
  beforeAll(() => cluster.sql.query(`CREATE TABLE wide (id bigint PRIMARY KEY, a numeric, b text, "Odd ""c""" int)`));

  it("get one frame for each change and selection, with all ids that match", async () => {
    const socket = await openRaw(cluster.url);
    const { ids } = await join(socket, [
      { event: "*", schema: "public", table: "wide" },
      { event: "INSERT", schema: "public", table: "wide", filter: "a=gt.1" },
      { event: "*", schema: "public", table: "wide", select: ["a"] },
      { event: "*", schema: "public", table: "wide", select: ["id", "a"], filter: "b=eq.x" },
      { event: "*", schema: "public", table: "wide", select: ['Odd "c"', 7] },
      { event: "DELETE", schema: "public", table: "wide" },
      { event: "*", schema: "public" },
      { event: "*", schema: "public", table: "w%", select: [] },
    ]);
    await cluster.sql.query(`INSERT INTO wide VALUES (9007199254740993, 1.50, 'x', 7)`);
    await cluster.sql.query(`DELETE FROM wide`);
    await untilFrames(socket, ids, 6);
    const [all, above, a, idAndA, odd, deleted, schema, pattern] = ids;
    const names = (frame: Frame["payload"]) => (frame.data["columns"] as { name: string }[]).map(({ name }) => name);
    const frames = framesOf(socket, ids);
    const seen = frames.map((frame) => [
      frame.data["type"],
      frame.ids.toSorted((x, y) => x - y),
      names(frame),
      Object.keys((frame.data["record"] ?? frame.data["old_record"]) as object),
    ]);
    const sort = (list: (number | undefined)[]) => list.toSorted((x, y) => Number(x) - Number(y));
    const whole = ["id", "a", "b", 'Odd "c"'];
    expect(new Set(seen.map((one) => JSON.stringify(one)))).toEqual(
      new Set(
        [
          ["INSERT", sort([all, above, schema, pattern]), whole, whole],
          ["INSERT", sort([a, idAndA]), ["id", "a"], ["id", "a"]],
          ["INSERT", sort([odd]), ["id", 'Odd "c"'], ["id", 'Odd "c"']],
          ["DELETE", sort([all, deleted, schema, pattern]), whole, ["id"]],
          ["DELETE", sort([a]), ["id", "a"], ["id"]],
          ["DELETE", sort([odd]), ["id", 'Odd "c"'], ["id"]],
        ].map((one) => JSON.stringify(one)),
      ),
    );
    expect(frames.length).toBe(6);
    socket.end();
  });

  it("get short values alone of a record that is too large", async () => {
    await cluster.sql.query("CREATE TABLE large (id int PRIMARY KEY, short text, long text)");
    const socket = await openRaw(cluster.url);
    const { ids } = await join(socket, [{ event: "*", schema: "public", table: "large" }]);
    await cluster.sql.query(
      "INSERT INTO large VALUES (1, repeat('y', 64), repeat('x', 1048576)), (2, 'z', repeat('x', 65))",
    );
    await untilFrames(socket, ids, 2);
    expect(framesOf(socket, ids).map(({ data: { record, errors } }) => ({ record, errors }))).toEqual([
      { record: { id: 1, short: "y".repeat(64) }, errors: ["Error 413: Payload Too Large"] },
      { record: { id: 2, short: "z", long: "x".repeat(65) }, errors: null },
    ]);
    socket.end();
  });

  it("of a real client call back with the columns they selected", async () => {
    const client = connectClient("2.119.0", cluster.url);
    const wanted: Wanted & { select: string[] } = { table: "wide", filter: "b=eq.selected", select: ["b"] };
    const subscription = client.subscribe(wanted);
    await waitUntil(() => isSubscribed(subscription), { what: "the subscription" });
    await cluster.sql.query(`INSERT INTO wide VALUES (1, 1, 'other', 1), (2, 2, 'selected', 2)`);
    await waitUntil(() => subscription.changes.length > 0, { what: "the change" });
    expect(subscription.changes.map(({ record }) => record)).toEqual([{ id: 2, b: "selected" }]);
    client.disconnect();
  });
});

describe("what is wrong is told, and nothing of the channel is subscribed", () => {
  const exception = (filters: string, select: string, failure: string): string =>
    "Unable to subscribe to changes with given parameters. An exception happened so please check your connect parameters: " +
    `[event: *, schema: public, table: wrong, filters: [${filters}], select: ${select}]. Exception: ERROR ${failure}`;
  const ofFilter = (column: string, operator: string, value: string, failure: string): string =>
    exception(`{"${column}", "${operator}", ${JSON.stringify(value)}, false}`, "nil", failure);
  const raised = "P0001 (raise_exception)";
  const wildcard =
    "Column selection is not supported for wildcard subscriptions. Provide an explicit schema and table name.";
  const noParams = "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: ";

  beforeAll(() =>
    cluster.sql.query(`
    CREATE TYPE feeling AS ENUM ('sad', 'ok');
    CREATE TYPE public.interval AS ENUM ('day');
    CREATE TABLE wrong (id int PRIMARY KEY, t text, at timestamptz, f feeling, every public.interval)`),
  );

  it.each<[object, string]>([
    [{ filter: "wrong" }, 'Error parsing `filter` params: ["wrong"]'],
    [{ filter: "foo=hey" }, 'Error parsing `filter` params: ["foo", "hey"]'],
    [{ filter: "id=in.1,2" }, "Error parsing `filter` params: `in` filter value must be wrapped by parentheses"],
    [
      { filter: "id=eq.1,,id=eq.2" },
      "Error parsing `filter` params: filter must not contain empty segments (check for extra commas)",
    ],
    [
      { select: "id" },
      'Error parsing `select` params: expected a list of column name strings, e.g. select: ["col1", "col2"]',
    ],
    [{ table: "*", select: ["id"] }, wildcard],
    [{ schema: undefined, select: ["id"] }, wildcard],
    [
      { event: "INSERT", table: "missing" },
      "Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the given connect " +
        "parameters: [event: INSERT, schema: public, table: missing, filters: [], select: nil]",
    ],
    [{ schema: undefined, table: undefined }, `${noParams}%{"event" => "*"}`],
    [{ filter: null }, `${noParams}%{"event" => "*", "filter" => nil, "schema" => "public", "table" => "wrong"}`],
    [{ filter: "nope=eq.1" }, ofFilter("nope", "eq", "1", `${raised} invalid column for filter nope`)],
    [{ select: ["id", "nope"] }, exception("", '["id", "nope"]', `${raised} invalid column for select nope`)],
    [
      { filter: "id=like.1%" },
      ofFilter("id", "like", "1%", `${raised} operator like requires a text-compatible column type, got integer`),
    ],
    [
      { filter: "t=match.(" },
      ofFilter("t", "match", "(", `${raised} invalid regular expression for match filter: parentheses () not balanced`),
    ],
    [
      { filter: "id=is.true" },
      ofFilter("id", "is", "true", `${raised} is true filter requires a boolean column, got integer`),
    ],
    [
      { filter: "id=is.maybe" },
      ofFilter("id", "is", "maybe", `${raised} invalid value for is filter: must be null, true, false, or unknown`),
    ],
    [
      { filter: `id=in.(${"1,".repeat(100)}1)` },
      ofFilter("id", "in", `{${"1,".repeat(100)}1}`, `${raised} too many values for \`in\` filter. Maximum 100`),
    ],
    [
      { filter: "id=eq.x" },
      ofFilter("id", "eq", "x", '22P02 (invalid_text_representation) invalid input syntax for type integer: "x"'),
    ],
    [
      { filter: "f=lt.glad" },
      ofFilter("f", "lt", "glad", '22P02 (invalid_text_representation) invalid input value for enum feeling: "glad"'),
    ],
    [
      { filter: "every=eq.day" }, // the log has the type's name alone
      ofFilter("every", "eq", "day", '22007 (invalid_datetime_format) invalid input syntax for type interval: "day"'),
    ],
    [
      { filter: "at=gt.then" },
      ofFilter(
        "at",
        "gt",
        "then",
        '22007 (invalid_datetime_format) invalid input syntax for type timestamp with time zone: "then"',
      ),
    ],
  ])("%j", async (wrong, message) => {
    const socket = await openRaw(cluster.url);
    const good = { event: "*", schema: "public", table: "wrong" };
    const joined = await join(socket, [good, { ...good, ...wrong }]);
    expect(joined.message).toBe(message);
    socket.end();
  });

  it("also when only one of several bindings is wrong", async () => {
    const [refused, accepted] = [await openRaw(cluster.url), await openRaw(cluster.url)];
    const good = { event: "*", schema: "public", table: "wrong" };
    await join(refused, [good, { ...good, filter: "nope=eq.1" }]);
    const { ids, message } = await join(accepted, [good, { ...good, filter: "id=eq.1" }]);
    expect(message).toBe("Subscribed to PostgreSQL");
    await cluster.sql.query("INSERT INTO wrong VALUES (1)");
    await untilFrames(accepted, ids, 1);
    expect(framesOf(accepted, ids).map((frame) => frame.ids)).toEqual([ids.toSorted((a, b) => a - b)]);
    refused.send({ topic: "phoenix", event: "heartbeat", payload: {}, ref: "hb" });
    await refused.next((frame) => (frame as Frame).ref === "hb", "the heartbeat's answer");
    expect((refused.frames as Frame[]).map(({ event }) => event)).not.toContain("postgres_changes");
    refused.end();
    accepted.end();
  });
});

describe.skipIf(inject("postgresVersion") < 15)("a publication that lists columns", () => {
  let own: Cluster;
  beforeAll(async () => {
    own = await startCluster({
      postgresUrl: inject("postgresUrl"),
      natsUrl: inject("natsUrl"),
      schema: `
        CREATE TABLE part (id int PRIMARY KEY, a int, secret int);
        CREATE TABLE private (id int PRIMARY KEY);
        CREATE PUBLICATION supabase_realtime FOR TABLE part (id, a)`,
    });
  });
  afterAll(() => own.stop());

  it("hides the others from filters, selections and frames, and unpublished tables altogether", async () => {
    const socket = await openRaw(own.url);
    const part = { event: "*", schema: "public", table: "part" };
    expect((await join(socket, [{ ...part, filter: "secret=eq.1" }])).message).toMatch(
      /invalid column for filter secret$/,
    );
    expect((await join(socket, [{ ...part, select: ["secret"] }])).message).toMatch(
      /invalid column for select secret$/,
    );
    expect((await join(socket, [{ ...part, table: "private" }])).message).toMatch(/Please check Realtime is enabled/);
    const { ids, message } = await join(socket, [{ ...part, filter: "a=eq.1" }]);
    expect(message).toBe("Subscribed to PostgreSQL");
    await own.sql.query("INSERT INTO part VALUES (1, 1, 1)");
    await untilFrames(socket, ids, 1);
    expect(framesOf(socket, ids)[0]?.data).toMatchObject({ record: { id: 1, a: 1 } });
    socket.end();
  });
});
