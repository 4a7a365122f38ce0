import type { ChangeKind, LoggedBatch, LoggedChange, LoggedRelation } from "@walcast/change-log";
import { toLsn, type Relation } from "@walcast/model";
import { parseJoin } from "@walcast/protocol";
import type { AccessAnswer, Visibility } from "@walcast/row-security";
import { waitUntil } from "@walcast/testkit";
import { afterEach, describe, expect, it } from "vitest";
import { identify, parseBinding } from "./binding.ts";
import type { Channel } from "./channel.ts";
import { explanationLimits, Explanations } from "./explanations.ts";
import type { Explanation } from "./explanation.ts";
import { Sights } from "./sights.ts";
import { TokenExpiry } from "./token-expiry.ts";

// Only what PostgreSQL would say is the test's own.

const ends: AbortController[] = [];
afterEach(() => ends.splice(0).forEach((end) => end.abort()));

const column = (name: string, type = "int4") => ({ name, type, typeOid: 23, typeModifier: -1, isKey: name === "id" });
const relation = (schema: string, table: string): Relation => ({
  oid: 1,
  schema,
  table,
  replicaIdentity: "f",
  columns: [column("id"), column("owner", "text"), column("secret", "text")],
});
const logged = (schema: string, table: string): LoggedRelation => {
  const text = JSON.stringify(relation(schema, table));
  return { text, parse: () => JSON.parse(text) as Relation };
};
const [notes, others] = [logged("public", "notes"), logged("public", "others")];

let lsn = 0n;
const change = (kind: ChangeKind, row: object, of = notes): LoggedChange => {
  const json = Buffer.from(JSON.stringify(row));
  return {
    kind,
    relation: of,
    position: { epoch: 1, commitLsn: toLsn(++lsn), index: 0 },
    committedAtMicros: 1_700_000_000_000_000,
    xid: 1,
    record: kind === "insert" || kind === "update" ? json : undefined,
    oldRecord: kind === "delete" ? json : undefined,
    unchanged: undefined,
  };
};
const batchOf = (...changes: readonly LoggedChange[]): LoggedBatch => {
  const [first, last] = [changes[0]?.position, changes.at(-1)?.position];
  if (first === undefined || last === undefined) throw new Error("no changes");
  return {
    header: { first, last, previous: undefined, isMark: false },
    bytes: 0,
    relation: notes,
    changes: () => changes,
    transactions: () => [],
  };
};

interface Asking {
  readonly bindings?: readonly Record<string, unknown>[];
  readonly isExplained?: boolean;
  readonly sub?: string;
}

function begin(explanations: Explanations, { bindings = [{}], isExplained = true, sub = "ann" }: Asking = {}) {
  const told: Partial<Explanation & { skipped: number; error: string }>[] = [];
  const ended = new AbortController();
  ends.push(ended);
  const channel: Channel = {
    topic: "realtime:notes",
    joinRef: "1",
    dialect: "current",
    isExplained,
    claims: { role: "user", sub, exp: 0 },
    membership: undefined,
    ended,
    expiry: new TokenExpiry({ now: () => 0, onExpired: () => undefined }),
  };
  const requests = identify(bindings.map((one) => ({ event: "*", schema: "public", table: "notes", ...one })));
  explanations.begin(channel, requests.map(parseBinding), { headers: {}, tell: (payload) => told.push(payload) });
  return { told, channel, end: () => ended.abort() };
}

/** Ann's rows are hers; `secret` is nobody's to read. */
function policies(more: { fail?: Error; rows?: "all" | "policies"; onAsked?: () => void } = {}): Sights {
  const answer: AccessAnswer = {
    tag: "access",
    access: {
      facts: {
        oid: 1,
        schema: "public",
        table: "notes",
        isPartitioned: false,
        isRowSecured: true,
        columns: new Set(["id", "owner", "secret"]),
        primaryKey: [{ name: "id", type: "int4", operator: "pg_catalog.=", wire: "text" }],
      },
      role: "user",
      selectable: new Set(["id", "owner"]),
      rows: more.rows ?? "policies",
    },
  };
  const visibility: Pick<Visibility, "visible"> = {
    visible: ({ principal, keys }) => {
      more.onAsked?.();
      return more.fail === undefined
        ? Promise.resolve(keys.map((key) => principal.sub === "ann" && (JSON.parse(key) as { id: number }).id < 10))
        : Promise.reject(more.fail);
    },
  };
  return new Sights({ catalog: { access: () => Promise.resolve(answer) }, visibility });
}

const open = (): Explanations => new Explanations({ isEnabled: true, sights: undefined, now: () => 0 });

describe("Explanations", () => {
  it("is by the rights of the token that the channel has when it is told", async () => {
    const asked: (() => void)[] = [];
    const explanations = new Explanations({
      isEnabled: true,
      sights: policies({ onAsked: () => asked.splice(0).forEach((act) => act()) }),
    });
    const { told, channel } = begin(explanations);
    asked.push(() => (channel.claims = { role: "user", sub: "bob", exp: 0 }));
    explanations.take(batchOf(change("insert", { id: 1, owner: "ann" })), undefined);
    await waitUntil(() => told.length > 0, { what: "the explanation" });
    expect(told.map(({ bindings }) => bindings?.[0]?.verdict)).toEqual(["hidden"]);
  });

  it("says of each binding why", () => {
    const explanations = open();
    const { told } = begin(explanations, {
      bindings: [{}, { event: "DELETE" }, { filter: "id=eq.2,owner=eq.ann" }, { table: "others" }],
    });
    explanations.take(batchOf(change("insert", { id: 1, owner: "ann" })), undefined);
    expect(told).toEqual([
      {
        position: `1.0/${lsn.toString(16).toUpperCase()}.0`,
        schema: "public",
        table: "notes",
        kind: "INSERT",
        commit_timestamp: "2023-11-14T22:13:20.000Z",
        bindings: [
          { id: expect.any(Number) as unknown, verdict: "matched" },
          { id: expect.any(Number) as unknown, verdict: "event", wants: "DELETE" },
          { id: expect.any(Number) as unknown, verdict: "filter", terms: [{ text: "id=eq.2", holds: false }] },
          { id: expect.any(Number) as unknown, verdict: "table" },
        ],
      },
    ]);
  });

  it("is silent about tables that no binding names, messages, and to those who did not ask", () => {
    const explanations = open();
    const asking = begin(explanations);
    const everything = begin(explanations, { bindings: [{ schema: "*", table: "*" }] });
    const others_ = begin(explanations, { isExplained: false });
    const row = change("insert", { id: 1 }, others);
    const broadcast = change("insert", { id: 1 }, logged("realtime", "messages"));
    const message = {
      ...change("message", {}, { text: "m", parse: () => ({ ...relation("$message", "$message"), oid: 0 }) }),
    };
    explanations.take(batchOf(row, broadcast, message), undefined);
    expect(asking.told).toEqual([]);
    expect(others_.told).toEqual([]);
    expect(everything.told.map(({ table }) => table)).toEqual(["others"]);
    asking.end();
    explanations.take(batchOf(change("insert", { id: 1 })), undefined);
    expect(asking.told).toEqual([]);
  });

  it("explains so many in a second, and counts the rest", async () => {
    let nowMs = 0;
    const explanations = new Explanations({ isEnabled: true, sights: undefined, now: () => nowMs });
    const { told } = begin(explanations);
    const many = Array.from({ length: explanationLimits.perSecond + 7 }, (_, id) => change("insert", { id }));
    explanations.take(batchOf(...many), undefined);
    expect(told).toHaveLength(explanationLimits.perSecond);
    await waitUntil(() => told.at(-1)?.skipped === 7, { what: "the count of the rest" });
    nowMs = 1_000;
    explanations.take(batchOf(change("insert", { id: 1 })), undefined);
    expect(told.at(-1)?.kind).toBe("INSERT");
  });

  it("tells nothing of a row that the token may not read but that there was a change", async () => {
    const explanations = new Explanations({ isEnabled: true, sights: policies(), now: () => 0 });
    const { told } = begin(explanations, { bindings: [{ filter: "owner=eq.ann" }, { filter: "secret=eq.x" }] });
    explanations.take(
      batchOf(
        change("insert", { id: 11, owner: "bob", secret: "x" }),
        change("insert", { id: 12, owner: "ann", secret: "y" }),
        change("insert", { id: 1, owner: "ann", secret: "x" }),
        change("insert", { id: 2, owner: "bob", secret: "x" }),
        change("delete", { id: 3, owner: "bob", secret: "x" }),
      ),
      undefined,
    );
    await waitUntil(() => told.length === 5, { what: "all to be explained" });
    const [hiddenBob, hiddenAnn, mine, notMine, deleted] = told.map(({ bindings, commit_timestamp: at }) => ({
      at,
      bindings: bindings?.map(({ id: _id, ...rest }) => rest),
    }));
    expect(hiddenBob).toEqual({ at: null, bindings: [{ verdict: "hidden" }, { verdict: "hidden" }] });
    expect(hiddenAnn).toEqual(hiddenBob);
    const unreadable = { verdict: "column", columns: ["secret"] };
    expect(mine?.bindings).toEqual([{ verdict: "matched" }, unreadable]);
    expect(notMine?.bindings).toEqual([
      { verdict: "filter", terms: [{ text: "owner=eq.ann", holds: false }] },
      unreadable,
    ]);
    // Of a deleted row everybody gets the key alone: which term failed would tell of the rest.
    expect(deleted?.bindings).toEqual([{ verdict: "filter", terms: [] }, unreadable]);
  });

  it("says so when PostgreSQL cannot be asked, in the order of the changes", async () => {
    const fail = new Error("cannot be reached");
    const explanations = new Explanations({ isEnabled: true, sights: policies({ fail }), now: () => 0 });
    const { told } = begin(explanations);
    explanations.take(batchOf(change("insert", { id: 1 }), change("delete", { id: 2 })), undefined);
    await waitUntil(() => told.length === 2, { what: "both to be explained" });
    expect(told.map(({ kind, bindings }) => [kind, bindings?.[0]])).toMatchObject([
      ["INSERT", { verdict: "unknown", message: "cannot be reached" }],
      ["DELETE", { verdict: "unknown", message: "cannot be reached" }],
    ]);
  });

  it("has room for so many channels", () => {
    const explanations = open();
    const all = Array.from({ length: explanationLimits.channels }, () => begin(explanations));
    expect(begin(explanations).told).toMatchObject([{ error: expect.stringContaining("try again later") as unknown }]);
    all[0]?.end();
    expect(begin(explanations).told).toEqual([]);
  });

  it("refuses joins that ask for it where it is off, and for too much", () => {
    const join = (count: number) =>
      parseJoin({ config: { explain: true, postgres_changes: Array.from({ length: count }, () => ({ table: "t" })) } });
    const off = new Explanations({ isEnabled: false, sights: undefined });
    expect(off.refusal(join(1))?.reason).toMatch(/^ExplainNotAvailable: .*INSPECTOR=true/u);
    expect(off.refusal(parseJoin({ config: {} }))).toBeUndefined();
    expect(open().refusal(join(explanationLimits.bindings))).toBeUndefined();
    expect(open().refusal(join(explanationLimits.bindings + 1))?.reason).toContain("at most 100 bindings");
  });
});
