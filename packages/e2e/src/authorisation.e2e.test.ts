// Over 400 lines: one random test, whose steps, clients and judgement share its state.

import { waitUntil } from "@walcast/testkit";
import { SignJWT } from "jose";
import { afterAll, afterEach, beforeAll, expect, inject, it } from "vitest";
import {
  addPolicy,
  baseSchema,
  changeColumns,
  changeMembers,
  changeRights,
  changeRows,
  createTable,
  keyColumns,
  look,
  quote,
  Random,
  randomUser,
  roles,
  type Change,
  type Row,
  type Sight,
  type Table,
  type User,
} from "./authorisation-model.ts";
import { startCluster, type Cluster } from "./cluster.ts";
import { openRaw, type RawSocket } from "./raw-socket.ts";

// Whoever listens gets exactly what a SELECT as the same user returns: nothing that is forbidden, and nothing too little.
// Tables, policies, privileges, users, filters and changes are random. Each step is quiet: some transactions, then a row that
// everybody sees, and when that has come at a socket, everything before it has been decided.

const env = process.env;
const seed = Number(env["AUTHORISATION_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const cases = Number(env["AUTHORISATION_CASES"] ?? 45);
const secret = "a-secret-of-at-least-32-characters!!";
const expires = Math.floor(Date.now() / 1000) + 6 * 3600;
/** A change of privileges holds after this long at the latest; so does that of a column for changes older than it. */
const effectMs = 1_000;

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster({
    postgresUrl: inject("postgresUrl"),
    natsUrl: inject("natsUrl"),
    schema: baseSchema,
    env: { SECURE_CHANNELS: "true", JWT_SECRET: secret, TENANT_MAX_JOINS_PER_SECOND: "0" },
  });
});
afterAll(() => cluster.stop());
const sockets: RawSocket[] = [];
afterEach(() => sockets.splice(0).forEach((socket) => socket.end()));

interface Binding {
  readonly id: number;
  readonly table: Table | undefined;
  readonly event: string;
  readonly filter: Filter | undefined;
  readonly select: readonly string[] | undefined;
}
interface Filter {
  readonly column: string;
  readonly text: string;
  readonly matches: (value: unknown) => boolean;
}
/** Without one that was just added, which joins of the same moment may not know yet (publication-catalog.ts). */
const stableColumns = ({ columns }: Table): string[] => columns.filter((name) => name !== "added");
interface Listening {
  readonly socket: RawSocket;
  user: User;
  readonly bindings: readonly Binding[];
  /** Frames up to here have been compared. */
  seen: number;
}
type Frame = readonly [unknown, unknown, string, string, Record<string, unknown>];
interface Data {
  readonly type: string;
  readonly schema: string;
  readonly table: string;
  readonly position: string;
  readonly columns: readonly { readonly name: string }[];
  readonly record?: Row;
  readonly old_record?: Row;
  readonly errors: readonly string[] | null;
}

const claimsOf = ({ sub, role, tenant }: User): Record<string, unknown> => ({ sub, role, tenant, exp: expires });
let tokens = 0;
/** A new one each time, if only by its header: the very same is none. */
const token = (user: User): Promise<string> =>
  new SignJWT(claimsOf(user))
    .setProtectedHeader({ alg: "HS256", kid: String(++tokens) })
    .sign(new TextEncoder().encode(secret));

function randomFilter(random: Random, columns: readonly string[]): Filter | undefined {
  const filters: readonly Filter[] = [
    { column: "owner", text: "owner=eq.ann", matches: (value) => value === "ann" },
    { column: "tenant", text: "tenant=in.(x,z)", matches: (value) => value === "x" },
    { column: "n", text: "n=gt.3", matches: (value) => typeof value === "number" && value > 3 },
    { column: "n", text: "n=neq.2", matches: (value) => typeof value === "number" && value !== 2 },
  ];
  const possible = filters.filter(({ column }) => columns.includes(column));
  return random.chance(0.6) || possible.length === 0 ? undefined : random.pick(possible);
}

/** Joins with some bindings on some of the tables, and one on the marks. */
async function listen(
  random: Random,
  { user, tables, from }: { readonly user: User; readonly tables: readonly Table[]; readonly from?: string },
): Promise<Listening> {
  const socket = await openRaw(cluster.url, { vsn: "2.0.0", apikey: await token(user) });
  sockets.push(socket);
  const wanted: Omit<Binding, "id">[] = [];
  for (let i = 1 + random.below(3); i > 0; i--) {
    const table = random.chance(0.15) ? undefined : random.pick(tables);
    const readable = table === undefined ? [] : (await sightOf(user, table)).columns;
    wanted.push({
      table,
      event: random.pick(["*", "*", "*", "INSERT", "UPDATE", "DELETE"]),
      filter: randomFilter(random, readable),
      select: table !== undefined && random.chance(0.25) ? random.some(stableColumns(table), 0.5) : undefined,
    });
  }
  const [schema] = tables.map((table) => table.schema);
  const requests = [
    { event: "*", schema: "public", table: "marks" },
    ...wanted.map(({ table, event, filter, select }) => ({
      event,
      schema,
      table: table?.name ?? "*",
      ...(filter === undefined ? {} : { filter: filter.text }),
      ...(select === undefined || select.length === 0 ? {} : { select }),
    })),
  ];
  const config = { postgres_changes: requests, ...(from === undefined ? {} : { resume: { from } }) };
  socket.send(["1", "1", "realtime:any", "phx_join", { config }]);
  const done = from === undefined ? "Subscribed to PostgreSQL" : '"Resumed"';
  await waitUntil(() => socket.frames.some((frame) => JSON.stringify(frame).includes(done)), {
    what: `${done}: ${JSON.stringify(socket.frames)}, ${JSON.stringify(requests)}`,
  });
  const reply = (socket.frames as Frame[]).find(([, , , event]) => event === "phx_reply");
  const response = reply?.[4]["response"] as { postgres_changes: { id: number }[] };
  const bindings = wanted.map((binding, i) => ({
    ...binding,
    select: binding.select?.length === 0 ? undefined : binding.select,
    id: response.postgres_changes[i + 1]?.id ?? 0,
  }));
  return { socket, user, bindings, seen: 0 };
}

const sights = new Map<string, Sight>();
/** Kept until something is changed. */
async function sightOf(user: User, table: Table): Promise<Sight> {
  const key = JSON.stringify([user, table.schema, table.name]);
  const known = sights.get(key);
  if (known !== undefined) return known;
  const sight = await look(cluster.sql, { ...user, claims: JSON.stringify(claimsOf(user)) }, table);
  sights.set(key, sight);
  return sight;
}

/** What of a change one binding shows. */
interface Shown {
  readonly id: number;
  readonly type: string;
  readonly table: string;
  readonly columns: readonly string[];
  readonly record: Row | undefined;
  readonly old: Row | undefined;
  readonly error: string | undefined;
}

const unauthorized = "Error 401: Unauthorized";

function expectedOf(change: Change, { id, event, table, filter, select }: Binding, sight: Sight): Shown | undefined {
  const { type, table: its, record, old } = change;
  if (type === "TRUNCATE") return undefined; // told to legacy channels only
  if ((table !== undefined && table !== its) || (event !== "*" && event !== type)) return undefined;
  const key = keyColumns(its);
  const loggedOld = old && (its.isFull ? old : only(old, key));
  const shown = { id, type, table: its.name };
  const refused = {
    ...shown,
    columns: [],
    record: type === "DELETE" ? undefined : {},
    old: type === "INSERT" ? undefined : {},
    error: unauthorized,
  };
  // Whatever it filters by: an error may not tell that it matched.
  if (sight.columns.length === 0 || !key.every((name) => sight.columns.includes(name))) return refused;
  if (filter !== undefined && !filter.matches((record ?? loggedOld)?.[filter.column])) return undefined;
  if (filter !== undefined && !sight.columns.includes(filter.column)) return undefined;
  if (type !== "DELETE" && sight.isSecured) {
    if (sight.keys === undefined) return filter === undefined ? refused : undefined;
    if (!sight.keys.has(change.key)) return undefined;
  }
  const wanted =
    select === undefined ? change.columns : change.columns.filter((name) => [...key, ...select].includes(name));
  const columns = wanted.filter((name) => sight.columns.includes(name));
  const isKeyOnly = type === "DELETE" && its.isSecured;
  return {
    ...shown,
    columns,
    record: record && only(record, columns),
    old: loggedOld && only(loggedOld, isKeyOnly ? key : columns),
    error: undefined,
  };
}

const only = (row: Row, columns: readonly string[]): Row =>
  Object.fromEntries(Object.entries(row).filter(([name]) => columns.includes(name)));

/** Both sides in one form: PostgreSQL's JSON and the log write moments differently. */
const canonical = (row: Row | undefined): unknown =>
  row &&
  Object.entries(row)
    .map(([name, value]) => [name, /^\d{4}-\d\d-\d\d[ T]/u.test(String(value)) ? Date.parse(String(value)) : value])
    .toSorted(([a], [b]) => (String(a) < String(b) ? -1 : 1));
const lineOf = ({ record, old, ...rest }: Shown): string =>
  JSON.stringify({ ...rest, record: canonical(record), old: canonical(old) });

async function expectedLines({ user, bindings }: Listening, changes: readonly Change[]): Promise<string[]> {
  const distinct = [...new Map(bindings.map((binding) => [binding.id, binding])).values()];
  const lines: string[] = [];
  for (const change of changes) {
    const sight = await sightOf(user, change.table);
    const shown = distinct.flatMap((binding) => expectedOf(change, binding, sight) ?? []);
    lines.push(...shown.toSorted((a, b) => a.id - b.id).map(lineOf));
  }
  return lines;
}

const dataOf = (frame: Frame): { readonly ids: readonly number[]; readonly data: Data } | undefined =>
  frame[3] === "postgres_changes" ? (frame[4] as never) : undefined;

/** What has come since the last comparison, up to the mark. */
function receivedLines(listening: Listening, mark: number): string[] {
  const frames = listening.socket.frames as Frame[];
  const lines: string[] = [];
  let same: { position: string; shown: Shown[] } | undefined;
  const flush = (): void => {
    lines.push(...(same?.shown.toSorted((a, b) => a.id - b.id).map(lineOf) ?? []));
    same = undefined;
  };
  for (; listening.seen < frames.length; listening.seen++) {
    const found = dataOf(frames[listening.seen] ?? ([] as never));
    if (found === undefined) continue;
    const { ids, data } = found;
    if (data.table === "marks") {
      if (data.record?.["id"] !== mark) continue;
      listening.seen++;
      break;
    }
    if (same?.position !== data.position) flush();
    same ??= { position: data.position, shown: [] };
    for (const id of ids) {
      same.shown.push({
        id,
        type: data.type,
        table: data.table,
        columns: data.columns.map(({ name }) => name),
        record: data.record,
        old: data.old_record,
        error: data.errors?.[0],
      });
    }
  }
  flush();
  return lines;
}

let marks = 0;
async function mark(): Promise<number> {
  await cluster.sql.query("INSERT INTO marks VALUES ($1)", [++marks]);
  return marks;
}
const isMark = (frame: unknown, id: number): boolean => {
  const { data } = dataOf(frame as Frame) ?? {};
  return data?.table === "marks" && data.record?.["id"] === id;
};

let compared = 0;
/** All sockets have got everything before the mark: exactly what they may see. */
async function compare(listenings: readonly Listening[], changes: readonly Change[], what: string): Promise<void> {
  const id = await mark();
  for (const listening of listenings) {
    const { socket, user, bindings } = listening;
    await waitUntil(() => socket.frames.findLast((frame) => isMark(frame, id)), {
      what: `${what}: mark ${id} at ${JSON.stringify(user)}, ${JSON.stringify(socket.frames.slice(-3))}`,
      intervalMs: 5,
    });
    const expected = await expectedLines(listening, changes);
    const received = receivedLines(listening, id);
    compared += expected.length;
    expect(
      received,
      `${what}, ${JSON.stringify({ user, bindings: bindings.map((one) => ({ ...one, table: one.table?.name })) })}`,
    ).toEqual(expected);
  }
}

/** The newest position that a socket has seen. */
const positionOf = ({ socket }: Listening): string =>
  (socket.frames as Frame[]).flatMap((frame) => dataOf(frame)?.data.position ?? []).at(-1) ?? "";

async function changeToken(listening: Listening, user: User): Promise<void> {
  const count = (): number => JSON.stringify(listening.socket.frames).split("Subscribed to PostgreSQL").length;
  const before = count();
  listening.user = user;
  listening.socket.send(["1", "2", "realtime:any", "access_token", { access_token: await token(user) }]);
  await waitUntil(() => count() > before, { what: "the channel to be subscribed anew" });
}

/** A channel of 1.x clients, who alone are told of truncates. */
interface LegacyListening {
  readonly socket: RawSocket;
  readonly user: User;
  seen: number;
}

async function listenLegacy(user: User): Promise<LegacyListening> {
  const socket = await openRaw(cluster.url, { vsn: "2.0.0", apikey: await token(user) });
  sockets.push(socket);
  socket.send(["1", "1", "realtime:*", "phx_join", {}]);
  await socket.next((frame) => JSON.stringify(frame).includes("Subscribed to PostgreSQL"), "the legacy channel");
  return { socket, user, seen: 0 };
}

/** Rights alone decide about a truncate: there are no rows to look at. */
async function compareTruncates(listening: LegacyListening, changes: readonly Change[], what: string): Promise<void> {
  const id = await mark();
  const { socket, user, seen } = listening;
  const isLegacyMark = ([, , , , payload]: Frame): boolean =>
    payload["table"] === "marks" && (payload["record"] as Row | undefined)?.["id"] === id;
  await waitUntil(() => (socket.frames as Frame[]).some(isLegacyMark), { what: `${what}: mark ${id}`, intervalMs: 5 });
  const received = (socket.frames as Frame[])
    .slice(seen)
    .filter(([, , , event]) => event === "TRUNCATE")
    .map(([, , , , { table, errors }]) => [table, (errors as string[] | undefined)?.[0]]);
  listening.seen = socket.frames.length;
  const expected: unknown[] = [];
  for (const { table } of changes.filter(({ type }) => type === "TRUNCATE")) {
    const { columns } = await sightOf(user, table);
    const isRefused = columns.length === 0 || !keyColumns(table).every((name) => columns.includes(name));
    expected.push([table.name, isRefused ? unauthorized : undefined]);
  }
  compared += expected.length;
  expect(received, `${what}, ${JSON.stringify(user)}`).toEqual(expected);
}

async function runCase(caseSeed: number): Promise<void> {
  const random = new Random(caseSeed);
  const { sql } = cluster;
  const schema = `case ${caseSeed}`;
  await sql.query(`CREATE SCHEMA ${quote(schema)}; GRANT USAGE ON SCHEMA ${quote(schema)} TO ${roles.join(", ")}`);
  const tables: Table[] = [];
  for (let i = 1 + random.below(3); i > 0; i--) tables.push(await createTable(sql, random, { schema, name: `t${i}` }));
  const users = Array.from({ length: 4 }, () => randomUser(random));
  const log: Change[] = [];
  const listenings: Listening[] = [];
  const join = async (from?: string): Promise<Listening> => {
    const user = random.pick(users);
    const listening = await listen(random, { user, tables, ...(from === undefined ? {} : { from }) });
    listenings.push(listening);
    return listening;
  };
  const step = async (what: string): Promise<void> => {
    const changes = await changeRows(sql, random, tables);
    sights.clear();
    await compare(listenings, changes, `seed ${caseSeed}, ${what}`);
    await compareTruncates(legacy, changes, `seed ${caseSeed}, ${what}`);
    log.push(...changes);
  };
  const legacy = await listenLegacy(random.pick(users));
  for (let i = 2 + random.below(4); i > 0; i--) await join();
  await step("first");
  const [first] = listenings;
  if (first === undefined) throw new Error("nobody listens");
  let from = positionOf(first);
  let columnsChangedMs = Number.NEGATIVE_INFINITY;
  log.length = 0;
  for (let i = 0; i < 6; i++) {
    switch (random.below(7)) {
      case 0:
        for (const table of tables) await changeRights(sql, random, table);
        // What is claimed is an effect within a time, so there is nothing to wait for.
        await new Promise((resolve) => setTimeout(resolve, effectMs));
        await step("after a change of rights");
        break;
      case 1:
        await addPolicy(sql, random, random.pick(tables));
        await step("after a new policy");
        break;
      case 2:
        await changeToken(random.pick(listenings), random.pick(users));
        await step("after a new token");
        break;
      case 6:
        await changeColumns(sql, random.pick(tables));
        columnsChangedMs = performance.now();
        await step("after a change of columns");
        break;
      case 3:
        await changeMembers(sql, random);
        await step("after a change of members");
        break;
      case 4: {
        // A column that was dropped just now is still known, and named with the changes that had it.
        await new Promise((resolve) =>
          setTimeout(resolve, Math.max(0, columnsChangedMs + effectMs - performance.now())),
        );
        sights.clear();
        const resumed = await join(from);
        await compare([resumed], log, `seed ${caseSeed}, resumed`);
        from = positionOf(resumed);
        log.length = 0;
        for (const listening of listenings) listening.seen = listening.socket.frames.length;
        await step("after a resume");
        break;
      }
      default:
        sights.clear();
        await join();
        await step("after one more joined");
    }
  }
  for (const { socket } of [...listenings, legacy]) socket.end();
  await sql.query(`DROP SCHEMA ${quote(schema)} CASCADE; DELETE FROM members`);
}

it(
  `what is delivered is what PostgreSQL shows (AUTHORISATION_SEED=${seed}, ${cases} cases)`,
  async () => {
    for (let i = 0; i < cases; i++) await runCase(seed + i);
    expect(compared).toBeGreaterThan(0);
    if (env["AUTHORISATION_CASES"] !== undefined) {
      process.stdout.write(`${JSON.stringify({ test: "authorisation", seed, cases, compared })}\n`);
    }
  },
  60_000 + cases * 20_000,
);
