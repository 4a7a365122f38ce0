// Over 400 lines: every case needs the same gateway on a log in memory, which is a fifth of the file.

import { MemoryChangeLog, transactionLine, type Batch } from "@walcast/change-log";
import { comparePositions, formatPosition, parsePosition, toLsn, type Position } from "@walcast/model";
import { DatabaseUnavailableError } from "@walcast/postgres";
import { serializerV2 } from "@walcast/protocol";
import {
  AccessDeniedError,
  PolicyFailedError,
  type AccessAnswer,
  type AccessCatalog,
  type Visibility,
} from "@walcast/row-security";
import { createLogger, Health, Registry } from "@walcast/telemetry";
import { waitUntil } from "@walcast/testkit";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { identify, parseBinding } from "./binding.ts";
import type { Channel } from "./channel.ts";
import { Delivery } from "./delivery.ts";
import { Gateway } from "./gateway.ts";
import { Groups } from "./group.ts";
import { Membership, splitGroup, type MemberConnection } from "./membership.ts";
import { createMetrics } from "./metrics.ts";
import { Readers, type ReadersOptions } from "./readers.ts";
import { Resumer } from "./resumer.ts";
import { TokenExpiry } from "./token-expiry.ts";

// Only what PostgreSQL would say is the test's own; sockets are lists.

const stops: AbortController[] = [];
afterEach(() => stops.splice(0).forEach((stop) => stop.abort()));

const column = (name: string, isKey = false) => ({ name, type: "int4", typeOid: 23, typeModifier: -1, isKey });
const relation = (oid: number, table: string): Batch["relation"] => ({
  oid,
  schema: "public",
  table,
  replicaIdentity: "d",
  columns: [column("id", true), column("n")],
});
const tables = { open: relation(1, "open"), secured: relation(2, "secured"), other: relation(3, "other") };
type TableName = keyof typeof tables;

type Sub = "ann" | "bob" | "cat";
/** Rows of which the remainder is 0 are everybody's. */
const mayPolicy = (sub: string, id: number): boolean =>
  id % 4 === 0 || id % 4 === { ann: 1, bob: 2, cat: 3 }[sub as Sub];

interface Question {
  readonly sub: string;
  readonly ids: readonly number[];
  /** By the policy above. */
  answer(): void;
  reject(error: Error): void;
}

interface TestChannel {
  readonly membership: Membership;
  /** Ids of rows, with the table's name for others than `secured`. */
  readonly seen: string[];
  readonly positions: Position[];
  readonly failures: string[];
  end(): void;
}

const filtered = (filter: string) => ({ event: "*", schema: "public", table: "secured", filter });
/** Of two changes, as the test's channels note them. */
const refusals = ["undefined without n", "undefined without n"];

interface JoinOptions {
  readonly topic?: string;
  readonly bindings?: readonly Record<string, unknown>[];
  readonly from?: string;
}

async function start() {
  const changeLog = new MemoryChangeLog({ retentionBytes: 2 ** 28 });
  const writer = await changeLog.openWriter();
  const groups = new Groups();
  const metrics = createMetrics(new Registry());
  const log = createLogger("a test", { level: "silent", format: "json" });
  const delivery = new Delivery({ metrics, maxRecordBytes: 0 });
  const stop = new AbortController();
  stops.push(stop);

  const questions: Question[] = [];
  const control = {
    /** Questions are answered at once. */
    isQuick: true,
    isCatalogKnown: true,
    catalogAnswers: [] as (() => void)[],
    selectable: new Set(["id", "n"]),
  };
  const answerFor = (oid: number, role: string): AccessAnswer => {
    const key = { name: "id", type: "int4", operator: "pg_catalog.=", wire: "text" } as const;
    const isSecured = oid !== tables.open.oid;
    const facts = {
      oid,
      schema: "public",
      table: "any",
      isPartitioned: false,
      isRowSecured: isSecured,
      columns: new Set(["id", "n"]),
      primaryKey: [key],
    };
    const { selectable } = control;
    return { tag: "access", access: { facts, role, selectable, rows: isSecured ? "policies" : "all" } };
  };
  const catalog: Pick<AccessCatalog, "known" | "access"> = {
    known: ({ oid }, role) => (control.isCatalogKnown ? answerFor(oid, role) : undefined),
    access: ({ oid }, role) =>
      control.isCatalogKnown
        ? Promise.resolve(answerFor(oid, role))
        : new Promise((resolve) => control.catalogAnswers.push(() => resolve(answerFor(oid, role)))),
  };
  const visibility: Pick<Visibility, "visible"> = {
    visible: ({ principal, keys }) => {
      const ids = keys.map((key) => (JSON.parse(key) as { id: number }).id);
      const { promise, resolve, reject } = Promise.withResolvers<readonly boolean[]>();
      const question: Question = {
        sub: principal.sub,
        ids,
        answer: () => resolve(ids.map((id) => mayPolicy(principal.sub, id))),
        reject,
      };
      if (control.isQuick) question.answer();
      else questions.push(question);
      return promise;
    },
  };
  const readersFor = (options: Pick<ReadersOptions, "split" | "fail" | "behindLimit" | "signal">) =>
    new Readers({ ...options, catalog, visibility, metrics });
  const readers = readersFor({
    split: splitGroup,
    fail: (group, reason) => [...group.listeners].forEach((listener) => listener.fail(reason)),
    signal: stop.signal,
  });
  const resumer = new Resumer({ delivery, readersFor, metrics, log, recentBytes: 2 ** 26, perSecond: 10_000 });
  const hearing = new Map<string, Set<(frame: Uint8Array) => void>>();
  const gateway = new Gateway({
    openChangeLog: () => Promise.resolve(changeLog),
    groups,
    delivery,
    readers,
    resumer,
    publish: (name, frame) => hearing.get(name)?.forEach((take) => take(frame)),
    connections: () => [],
    health: new Health(),
    metrics,
    log,
  });
  void gateway.run(stop.signal);
  await gateway.reading();

  let transactions = 0;
  const append = async (table: TableName, ids: readonly number[]): Promise<string> => {
    const n = ++transactions;
    const commitLsn = toLsn(BigInt(n * 8));
    const first = { epoch: 1, commitLsn, index: 0 };
    const last = { ...first, index: ids.length - 1 };
    const commit = { commitLsnText: `0/${(n * 8).toString(16)}`, committedAtMicros: 0, xid: n, index: 0 };
    const lines = transactionLine(commit) + ids.map((id) => `I\t{"id":${id},"n":7}\n`).join("");
    await writer.append({ relation: tables[table], first, last, lines: Buffer.from(lines) });
    return formatPosition(last);
  };
  /** The gateway has read it; what it asks is asked. */
  const read = async (position: string): Promise<void> => {
    const isRead = (): boolean => resumer.recent.end !== undefined && formatPosition(resumer.recent.end) === position;
    await waitUntil(isRead, { what: `the gateway to read ${position}`, intervalMs: 1 });
  };

  const join = (sub: Sub, { topic = "realtime:t", bindings, from }: JoinOptions = {}): TestChannel => {
    const seen: string[] = [];
    const positions: Position[] = [];
    const failures: string[] = [];
    const take = (frame: Uint8Array): void => {
      const [, , , , { ids, data }] = JSON.parse(Buffer.from(frame).toString()) as [
        unknown,
        unknown,
        unknown,
        unknown,
        { ids: number[]; data: { table: string; position: string; record: { id?: number; n?: number } } },
      ];
      const { id, n } = data.record;
      const select = n === undefined ? " without n" : "";
      const count = ids.length === 1 ? "" : ` for ${ids.length}`;
      seen.push(`${data.table === "secured" ? "" : `${data.table} `}${id}${select}${count}`);
      const position = parsePosition(data.position);
      if (position !== undefined) positions.push(position);
    };
    const channel: Channel = {
      topic,
      joinRef: "1",
      dialect: "current",
      claims: undefined,
      membership: undefined,
      ended: new AbortController(),
      expiry: new TokenExpiry({ now: Date.now, onExpired: () => undefined }),
    };
    const end = (): void => {
      channel.ended.abort();
      membership.end();
    };
    const connection: MemberConnection = {
      system: () => undefined,
      hear: (name) => hearing.set(name, (hearing.get(name) ?? new Set()).add(take)),
      unhear: (name) => hearing.get(name)?.delete(take),
      sendAll: (frames) => frames.forEach(take),
      unsentBytes: () => 0,
      end: (_, reason) => failures.push(reason),
      fail: (_, reason) => {
        failures.push(reason);
        end();
      },
    };
    const requests = bindings ?? [{ schema: "public", table: "*" }];
    const membership = new Membership({
      groups,
      resumer,
      readers,
      connection,
      channel,
      audience: {
        topic,
        serializer: serializerV2,
        dialect: "current",
        bindings: identify(requests.map((request) => request)).map(parseBinding),
      },
      claims: claimsOf(sub),
    });
    membership.start(from === undefined ? undefined : parsePosition(from));
    return { membership, seen, positions, failures, end };
  };
  const asked = (count: number) =>
    waitUntil(() => questions.length >= count, { what: `${count} questions, not ${questions.length}`, intervalMs: 1 });
  /** Answers what is asked until nothing waits. */
  const settle = async (): Promise<void> => {
    await waitUntil(
      () => {
        questions.splice(0).forEach((question) => question.answer());
        control.catalogAnswers.splice(0).forEach((answer) => answer());
        return readers.waiting.size === 0;
      },
      { what: "everything to be decided", intervalMs: 1 },
    );
  };
  const idle = (): Promise<unknown> =>
    waitUntil(() => readers.waiting.size === 0, { what: "nothing to wait", intervalMs: 1 });
  return { append, read, join, questions, control, asked, settle, idle, readers, groups, resumer };
}

const claimsOf = (sub: string, more: object = {}) => ({ role: "user", sub, exp: 4_000_000_000, ...more });
const seenBy = (...channels: readonly TestChannel[]): string[][] => channels.map(({ seen }) => seen);

describe("a group of a role that falls apart", () => {
  it("gives each change once to those of equal claims, also when they came one after the other", async () => {
    const { append, read, join, idle } = await start();
    const first = join("ann");
    await read(await append("secured", [1]));
    const second = join("ann");
    await read(await append("secured", [1, 2, 4]));
    const third = join("ann");
    await read(await append("secured", [5]));
    await read(await append("open", [6]));
    await idle();
    expect(seenBy(first, second, third)).toEqual([
      ["1", "1", "4", "5", "open 6"],
      ["1", "4", "5", "open 6"],
      ["5", "open 6"],
    ]);
  });

  it("keeps all selections of a channel", async () => {
    const { append, read, join, idle } = await start();
    const bindings = [
      { schema: "public", table: "secured" },
      { schema: "public", table: "secured", select: ["id"] },
    ];
    const ann = join("ann", { bindings });
    await read(await append("secured", [1]));
    await idle();
    expect(ann.seen.toSorted()).toEqual(["1", "1 without n"]);
  });

  it("does not repeat what it had while it waited for the catalog", async () => {
    const { append, read, join, control, settle } = await start();
    control.isCatalogKnown = false;
    const ann = join("ann");
    const last = [await append("open", [1]), await append("secured", [1]), await append("open", [2])].at(-1);
    await read(last ?? "");
    await settle();
    expect(ann.seen).toEqual(["open 1", "1", "open 2"]);
  });

  it("gives nothing from before to who joins meanwhile", async () => {
    const { append, read, join, control, settle } = await start();
    control.isCatalogKnown = false;
    const [early] = [join("ann")];
    await read(await append("secured", [1, 4]));
    const [late, stranger] = [join("ann"), join("bob")];
    await read(await append("secured", [5, 8]));
    await settle();
    expect(seenBy(early, late, stranger)).toEqual([["1", "4", "5", "8"], ["5", "8"], ["8"]]);
  });
});

describe("who comes back to the same group", () => {
  it("gets nothing twice for what waited there when it left", async () => {
    const { append, read, join, control, settle } = await start();
    control.isCatalogKnown = false;
    join("ann"); // keeps the group of the role
    await read(await append("other", [0]));
    const late = join("ann"); // waits behind that change
    late.membership.reauthorise(claimsOf("cat")); // leaves, and waits once more
    await read(await append("open", [4]));
    await settle();
    expect(late.seen).toEqual(["open 4"]);
  });
});

describe("a change that waits", () => {
  it("keeps those behind it back, of this reader and nobody else", async () => {
    const { append, read, join, control, questions, asked } = await start();
    const [ann, bob] = [join("ann"), join("bob")];
    await read(await append("secured", [4]));
    control.isQuick = false;
    await read(await append("secured", [8]));
    await read(await append("open", [9]));
    await asked(2);
    questions.find(({ sub }) => sub === "bob")?.answer();
    await waitUntil(() => bob.seen.length === 3, { what: "bob's" });
    expect(seenBy(ann, bob)).toEqual([["4"], ["4", "8", "open 9"]]);
    questions.find(({ sub }) => sub === "ann")?.answer();
    await waitUntil(() => ann.seen.length === 3, { what: "ann's" });
    expect(ann.seen).toEqual(["4", "8", "open 9"]);
  });

  it("is asked about together with those that gathered", async () => {
    const { append, read, join, control, questions, asked, settle } = await start();
    join("ann");
    control.isQuick = false;
    await read(await append("secured", [4]));
    await asked(1);
    for (const id of [8, 9, 10]) await read(await append("secured", [id]));
    questions.shift()?.answer();
    await asked(1);
    expect(questions[0]?.ids).toEqual([8, 9, 10]);
    await settle();
  });

  it("is decided by the token that is the channel's by then, once", async () => {
    const { append, read, join, control, questions, asked, settle } = await start();
    const [ann, other] = [join("ann"), join("ann")];
    await read(await append("secured", [4]));
    control.isQuick = false;
    await read(await append("secured", [5, 6, 8]));
    await asked(1);
    const before = { epoch: 1, commitLsn: toLsn(15n), index: 0 };
    expect(ann.membership.reauthorise(claimsOf("ann"))).toEqual(before); // the same once more: what waits is not had yet
    expect(ann.membership.reauthorise(claimsOf("bob"))).toEqual(before);
    control.isQuick = true;
    questions.splice(0).forEach((question) => question.answer());
    await settle();
    await waitUntil(() => ann.seen.length === 3, { what: "what the new token may see" });
    await read(await append("secured", [12, 13, 14]));
    await waitUntil(() => ann.seen.length === 5, { what: "what came after" });
    expect(seenBy(ann, other)).toEqual([
      ["4", "6", "8", "12", "14"],
      ["4", "5", "8", "12", "13"],
    ]);
  });

  it("of who has just come over from a group that fell apart is not lost with a new token", async () => {
    const { append, read, join, control, asked, settle } = await start();
    const first = join("ann");
    await read(await append("secured", [4]));
    control.isQuick = false;
    await read(await append("secured", [8]));
    await asked(1);
    const late = join("ann"); // in the role's group again
    await read(await append("secured", [12])); // which falls apart while ann's line waits
    late.membership.reauthorise(claimsOf("bob"));
    control.isQuick = true;
    await settle();
    await waitUntil(() => late.seen.length === 1, { what: "the change" });
    expect(seenBy(first, late)).toEqual([["4", "8", "12"], ["12"]]);
  });

  it("does not reach a channel that has left, and reaches the others", async () => {
    const { append, read, join, control, asked, settle } = await start();
    const [gone, stays] = [join("ann"), join("ann")];
    control.isQuick = false;
    await read(await append("secured", [4]));
    await asked(1);
    gone.end();
    await settle();
    await waitUntil(() => stays.seen.length === 1, { what: "the change" });
    expect(gone.seen).toEqual([]);
  });

  it("is asked about again when the database was away, and everything follows in order", async () => {
    const { append, read, join, control, questions, asked, settle } = await start();
    const ann = join("ann");
    control.isQuick = false;
    await read(await append("secured", [4, 8]));
    await asked(1);
    questions.shift()?.reject(new DatabaseUnavailableError());
    await read(await append("open", [1]));
    await asked(1);
    await settle();
    expect(ann.seen).toEqual(["4", "8", "open 1"]);
  });

  it("ends those whose policy fails, and nobody else", async () => {
    const { append, read, join, control, questions, asked } = await start();
    const [ann, bob] = [join("ann"), join("bob")];
    control.isQuick = false;
    await read(await append("secured", [4]));
    await asked(2);
    for (const question of questions) {
      if (question.sub === "ann") question.reject(new PolicyFailedError({ cause: new Error("broken") }));
      else question.answer();
    }
    await waitUntil(() => bob.seen.length === 1, { what: "bob's" });
    expect([ann.failures, ann.seen, bob.failures]).toEqual([["a policy failed: broken"], [], []]);
  });

  it("is refused with 401 when the role may not look where its policy looks", async () => {
    const { append, read, join, control, questions, asked } = await start();
    const ann = join("ann");
    control.isQuick = false;
    await read(await append("secured", [4]));
    await asked(1);
    questions.shift()?.reject(new AccessDeniedError({ cause: new Error("no") }));
    await waitUntil(() => ann.seen.length === 1, { what: "the refusal" });
    expect(ann.seen).toEqual(["undefined without n"]);
  });

  it.each([true, false])(
    "says nothing then to who filters, whether rights are known (%s) or asked for: it would tell what is in the row",
    async (isKnown) => {
      const { append, read, join, control, questions, asked } = await start();
      const ann = join("ann", {
        bindings: [filtered("id=gte.0"), filtered("id=eq.4"), { schema: "public", table: "*" }],
      });
      control.isQuick = false;
      control.isCatalogKnown = isKnown;
      await read(await append("secured", [4]));
      control.isCatalogKnown = true;
      control.catalogAnswers.splice(0).forEach((answer) => answer());
      await asked(1);
      questions.shift()?.reject(new AccessDeniedError({ cause: new Error("no") }));
      await waitUntil(() => ann.seen.length > 0, { what: "the refusal" });
      expect([ann.seen, ann.failures]).toEqual([["undefined without n"], []]); // for one of three
    },
  );

  it.each([true, false])(
    "is refused whatever it filters by, whether rights are known (%s) or asked for",
    async (isKnown) => {
      const { append, read, join, control } = await start();
      control.selectable = new Set(["n"]);
      const [ann, bob] = [
        join("ann", { bindings: [filtered("n=eq.7"), filtered("n=eq.77")] }),
        join("bob", { bindings: [filtered("n=eq.77"), { ...filtered("n=eq.7"), event: "DELETE" }] }),
      ];
      control.isCatalogKnown = isKnown;
      await read(await append("secured", [4, 5]));
      control.isCatalogKnown = true;
      control.catalogAnswers.splice(0).forEach((answer) => answer());
      await waitUntil(() => ann.seen.length === 2 && bob.seen.length === 2, { what: "the refusals" });
      expect([ann.seen, bob.seen, ann.failures]).toEqual([
        ["undefined without n for 2", "undefined without n for 2"],
        refusals,
        [],
      ]);
      control.selectable = new Set(["id", "n"]);
      await read(await append("secured", [4]));
      await waitUntil(() => ann.seen.length === 3, { what: "the row" });
      expect([ann.seen.at(-1), bob.seen]).toEqual(["4", refusals]);
    },
  );

  it("goes on through the log when very many wait: nothing is lost", async () => {
    const { append, read, join, control, asked, settle, readers } = await start();
    const ann = join("ann");
    control.isQuick = false;
    await read(await append("secured", [4]));
    await asked(1);
    const ids = Array.from({ length: 60 }, (_, i) => Array.from({ length: 1_000 }, (__, j) => 4 * (i * 1_000 + j)));
    let last = "";
    for (const some of ids) last = await append("secured", some);
    await read(last);
    expect(readers.waiting.size).toBe(0);
    control.isQuick = true;
    await settle();
    await waitUntil(() => ann.seen.length === 60_001, { what: "all of them", timeoutMs: 30_000 });
    await read(await append("secured", [0]));
    await waitUntil(() => ann.seen.length === 60_002, { what: "what came after" });
    expect(ann.seen).toEqual(["4", ...ids.flat().map(String), "0"]);
    expect(ann.failures).toEqual([]);
  }, 60_000);
});

it("a filter on a column that is not granted any more tells nothing, whatever other bindings look at", async () => {
  const { append, read, join, control, idle } = await start();
  const ann = join("ann", {
    bindings: [
      { schema: "public", table: "secured", filter: "n=eq.7" },
      { schema: "public", table: "other" },
    ],
  });
  await read(await append("secured", [4]));
  await idle();
  control.selectable = new Set(["id"]);
  await read(await append("secured", [8]));
  await read(await append("other", [12]));
  await idle();
  expect(ann.seen).toEqual(["4", "other 12 without n"]);
});

describe("catching up", () => {
  it("does not repeat what still waits for others when it goes live", async () => {
    const { append, read, join, control, settle, questions } = await start();
    const early = join("ann");
    const from = await append("secured", [4]);
    await read(from);
    control.isCatalogKnown = false;
    await read(await append("open", [1])); // waits for the catalog in the role's line, and in ann's own
    const late = join("ann", { from });
    control.isQuick = false;
    await waitUntil(
      () => {
        questions.splice(0).forEach((question) => question.answer());
        // Only what the one who catches up asks, which asked last.
        control.catalogAnswers.splice(1).forEach((answer) => answer());
        return late.seen.length === 1;
      },
      { what: "the change" },
    );
    await settle();
    await read(await append("open", [2]));
    await settle();
    expect(seenBy(early, late)).toEqual([
      ["4", "open 1", "open 2"],
      ["open 1", "open 2"],
    ]);
  });

  it("brings all of it to very many groups of one reader", async () => {
    const { append, read, join } = await start();
    const from = await append("secured", [4]);
    await read(from);
    const ids = Array.from({ length: 1_000 }, (_, i) => 4 * i);
    await read(await append("secured", ids));
    const channels = Array.from({ length: 60 }, (_, i) => join("ann", { topic: `realtime:${i}`, from }));
    await waitUntil(() => channels.every(({ seen }) => seen.length === ids.length), {
      what: "all of it",
      timeoutMs: 30_000,
    });
    await read(await append("open", [1]));
    await waitUntil(() => channels.every(({ seen }) => seen.length > ids.length), { what: "what came after" });
    for (const { seen, failures } of channels) expect([seen, failures]).toEqual([[...ids.map(String), "open 1"], []]);
  }, 60_000);

  it("is not held up by one whose policies take long", async () => {
    const { append, read, join, control, questions, asked } = await start();
    const from = await append("secured", [4]);
    await read(from);
    await read(await append("secured", [8, 12]));
    control.isQuick = false;
    const [ann, bob] = [join("ann", { from }), join("bob", { from })];
    await asked(2);
    questions.find(({ sub }) => sub === "bob")?.answer();
    await waitUntil(() => bob.seen.length === 2, { what: "bob's" });
    await read(await append("open", [1]));
    await waitUntil(() => bob.seen.length === 3, { what: "bob to be live" });
    expect(seenBy(ann, bob)).toEqual([[], ["8", "12", "open 1"]]);
    await waitUntil(
      () => {
        questions.splice(0).forEach((question) => question.answer());
        return ann.seen.length === 3;
      },
      { what: "ann's" },
    );
    expect(ann.seen).toEqual(["8", "12", "open 1"]);
  });
});

describe("whatever happens in whatever order", () => {
  type Action =
    | { readonly tag: "append"; readonly table: TableName; readonly ids: readonly number[] }
    | { readonly tag: "join"; readonly sub: Sub; readonly topic: string }
    | { readonly tag: "resume"; readonly sub: Sub; readonly back: number }
    | { readonly tag: "reauthorise"; readonly which: number; readonly sub: Sub }
    | { readonly tag: "leave"; readonly which: number }
    | { readonly tag: "answer"; readonly which: number }
    | { readonly tag: "unavailable"; readonly which: number }
    | { readonly tag: "catalog"; readonly isKnown: boolean };
  const sub = fc.constantFrom<Sub>("ann", "bob", "cat");
  const which = fc.nat(20);
  const action: fc.Arbitrary<Action> = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        tag: fc.constant("append" as const),
        table: fc.constantFrom<TableName>("open", "secured", "other"),
        ids: fc.array(fc.nat(40), { minLength: 1, maxLength: 4 }),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        tag: fc.constant("join" as const),
        sub,
        topic: fc.constantFrom("realtime:a", "realtime:b"),
      }),
    },
    { weight: 1, arbitrary: fc.record({ tag: fc.constant("resume" as const), sub, back: fc.nat(5) }) },
    { weight: 1, arbitrary: fc.record({ tag: fc.constant("reauthorise" as const), which, sub }) },
    { weight: 1, arbitrary: fc.record({ tag: fc.constant("leave" as const), which }) },
    { weight: 4, arbitrary: fc.record({ tag: fc.constant("answer" as const), which }) },
    { weight: 1, arbitrary: fc.record({ tag: fc.constant("unavailable" as const), which }) },
    { weight: 2, arbitrary: fc.record({ tag: fc.constant("catalog" as const), isKnown: fc.boolean() }) },
  );

  it("each channel gets what it may see, all of it, in order, once", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(action, { minLength: 5, maxLength: 40 }), async (actions) => {
        const { append, read, join, control, questions, settle, resumer } = await start();
        control.isQuick = false;
        const changes: { readonly text: string; readonly id: number; readonly position: Position }[] = [];
        interface Opened {
          readonly channel: TestChannel;
          readonly subs: Sub[];
          readonly from: Position | undefined;
          /** Where it was, and how much it had, after each action. */
          readonly places: { readonly place: Position; readonly had: number }[];
          isOver: boolean;
        }
        const channels: Opened[] = [];
        const open = (it: Sub, from: Position | undefined, channel: TestChannel): void =>
          void channels.push({ channel, subs: [it], from, places: [], isOver: false });
        await read(await append("open", [0]));
        const beginning = resumer.recent.end;
        for (const one of actions) {
          switch (one.tag) {
            case "append": {
              const position = await append(one.table, one.ids);
              await read(position);
              const last = parsePosition(position);
              if (last === undefined) throw new Error("no position");
              const prefix = one.table === "secured" ? "" : `${one.table} `;
              for (const [index, id] of one.ids.entries()) {
                changes.push({ text: prefix + id, id: one.table === "open" ? 0 : id, position: { ...last, index } });
              }
              break;
            }
            case "join":
              open(one.sub, resumer.recent.end, join(one.sub, { topic: one.topic }));
              break;
            case "resume": {
              const from = changes.at(-1 - one.back)?.position ?? beginning;
              if (from === undefined) break;
              open(one.sub, from, join(one.sub, { from: formatPosition(from) }));
              break;
            }
            case "reauthorise": {
              const it = channels[one.which % Math.max(1, channels.length)];
              if (it === undefined || it.isOver) break;
              it.subs.push(one.sub);
              const place = it.channel.membership.reauthorise(claimsOf(one.sub));
              // It is told to the client, which may come back to it.
              if (place !== undefined) expect(parsePosition(formatPosition(place))).toEqual(place);
              break;
            }
            case "leave": {
              const it = channels[one.which % Math.max(1, channels.length)];
              if (it === undefined) break;
              it.isOver = true;
              it.channel.end();
              break;
            }
            case "answer":
            case "unavailable": {
              control.catalogAnswers.splice(one.which % Math.max(1, control.catalogAnswers.length), 1)[0]?.();
              const [question] = questions.splice(one.which % Math.max(1, questions.length), 1);
              if (one.tag === "answer") question?.answer();
              else question?.reject(new DatabaseUnavailableError());
              await new Promise(setImmediate);
              break;
            }
            default:
              control.isCatalogKnown = one.isKnown;
          }
          for (const { channel, places, isOver } of channels) {
            const { place } = channel.membership;
            if (!isOver && place !== undefined) places.push({ place, had: channel.positions.length });
          }
        }
        const lastPosition = await append("open", [1000]);
        await read(lastPosition);
        const end = {
          text: "open 1000",
          id: 0,
          position: parsePosition(lastPosition) ?? { epoch: 0, commitLsn: toLsn(0n), index: 0 },
        };
        const all = [...changes, end];
        await waitUntil(
          () => {
            questions.splice(0).forEach((question) => question.answer());
            control.catalogAnswers.splice(0).forEach((answer) => answer());
            return channels.every(({ channel, isOver }) => isOver || channel.seen.at(-1) === end.text);
          },
          {
            what: `the end everywhere: ${JSON.stringify(channels.map(({ channel: { seen } }) => seen))}`,
            intervalMs: 1,
          },
        );
        await settle();
        for (const { channel, subs, from, places, isOver } of channels) {
          const later = all.filter(({ position }) => from === undefined || comparePositions(position, from) > 0);
          const seenBySome = later.filter(({ id }) => subs.some((one) => mayPolicy(one, id)));
          const seenByAll = later.filter(({ id }) => subs.every((one) => mayPolicy(one, id)));
          const inOrder = channel.positions.every((position, i) => {
            const former = channel.positions[i - 1];
            return former === undefined || comparePositions(former, position) < 0;
          });
          expect(inOrder, `in order and once: ${channel.seen.join(", ")}`).toBe(true);
          const allowed = new Set(seenBySome.map(({ position }) => formatPosition(position)));
          const got = new Set(channel.positions.map((position) => formatPosition(position)));
          expect(
            [...got].filter((position) => !allowed.has(position)),
            "nothing forbidden",
          ).toEqual([]);
          if (isOver) continue;
          expect(channel.membership.place, "the place is the present once everything is decided").toEqual(end.position);
          for (const { place, had } of places) {
            expect(parsePosition(formatPosition(place)), "a place can be come back to").toEqual(place);
            const hadThen = new Set(channel.positions.slice(0, had).map((position) => formatPosition(position)));
            const passed = seenByAll.filter(({ position }) => comparePositions(position, place) <= 0);
            const lost = passed.filter(({ position }) => !hadThen.has(formatPosition(position)));
            expect(
              lost.map(({ text }) => text),
              `nothing up to its place is still to come: ${formatPosition(place)}`,
            ).toEqual([]);
          }
          const missing = seenByAll.filter(({ position }) => !got.has(formatPosition(position)));
          expect(
            missing.map(({ text }) => text),
            `nothing missing: ${channel.seen.join(", ")}`,
          ).toEqual([]);
        }
      }),
      { numRuns: Number(process.env["READERS_RUNS"] ?? 40) },
    );
  }, 600_000);
});
