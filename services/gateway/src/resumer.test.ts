import { MemoryChangeLog, transactionLine, type Batch, type ChangeLogWriter } from "@walcast/change-log";
import { formatPosition, parsePosition, toLsn, type Position } from "@walcast/model";
import { serializerV2 } from "@walcast/protocol";
import { createLogger, Health, Registry } from "@walcast/telemetry";
import { waitUntil } from "@walcast/testkit";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { identify, parseBinding } from "./binding.ts";
import type { Follower } from "./catch-up.ts";
import { Delivery } from "./delivery.ts";
import { Gateway } from "./gateway.ts";
import { Groups, type Audience, type Group } from "./group.ts";
import { createMetrics } from "./metrics.ts";
import { Resumer } from "./resumer.ts";

const stop = new AbortController();
const stops: AbortController[] = [stop];
afterEach(() => stops.forEach((controller) => controller.abort()));

const at = (text: string): Position => {
  const position = parsePosition(text);
  if (position === undefined) throw new Error(`${text} is no position`);
  return position;
};

const items: Batch["relation"] = {
  oid: 1,
  schema: "public",
  table: "items",
  replicaIdentity: "d",
  columns: [{ name: "id", type: "int4", typeOid: 23, typeModifier: -1, isKey: true }],
};

/** Transaction `n`, of that many rows. */
function transaction(n: number, rows: number, epoch = 1): Batch {
  const commitLsn = toLsn(BigInt(n * 8));
  const commit = { commitLsnText: `0/${(n * 8).toString(16)}`, committedAtMicros: 0, xid: n, index: 0 };
  const lines = Array.from({ length: rows }, (_, i) => `I\t{"id":${i % 10}}\n`).join("");
  const first = { epoch, commitLsn, index: 0 };
  return {
    relation: items,
    first,
    last: { ...first, index: rows - 1 },
    lines: Buffer.from(transactionLine(commit) + lines),
  };
}

const audience = (filter?: string): Audience => ({
  topic: "realtime:items",
  serializer: serializerV2,
  dialect: "current",
  bindings: identify([{ schema: "public", table: "items", ...(filter === undefined ? {} : { filter }) }]).map(
    parseBinding,
  ),
});

interface TestFollower extends Follower {
  /** Positions in the order they came, gaps as `gap <next>`. */
  readonly seen: string[];
  isLive: boolean;
  isTooSlow: boolean;
  unsent: number;
  send: Follower["send"];
}

const positionOf = (frame: Buffer): string => /"position":"([^"]*)"/.exec(frame.toString())?.[1] ?? "?";

/** A gateway on a log in memory, whose sockets are lists. */
async function startGateway({ retentionBytes = 2 ** 24, recentBytes = 2 ** 20 } = {}) {
  const changeLog = new MemoryChangeLog({ retentionBytes });
  const writer: ChangeLogWriter = await changeLog.openWriter();
  const groups = new Groups();
  const metrics = createMetrics(new Registry());
  const log = createLogger("a test", { level: "silent", format: "json" });
  const delivery = new Delivery({ metrics, maxRecordBytes: 0 });
  const resumer = new Resumer({ delivery, metrics, log, recentBytes, perSecond: 10_000 });
  const live = new Map<string, TestFollower[]>();
  const gateway = new Gateway({
    openChangeLog: () => Promise.resolve(changeLog),
    groups,
    delivery,
    resumer,
    publish: (name, frame) => live.get(name)?.forEach(({ seen }) => seen.push(positionOf(frame))),
    connections: () => [],
    health: new Health(),
    metrics,
    log,
  });
  const stopGateway = new AbortController();
  stops.push(stopGateway);
  void gateway.run(stopGateway.signal);
  await gateway.reading();
  const follow = (from: string, filter?: string): TestFollower => {
    const wanted = audience(filter);
    const follower: TestFollower = {
      audience: wanted,
      position: at(from),
      signal: new AbortController().signal,
      seen: [],
      isLive: false,
      isTooSlow: false,
      unsent: 0,
      send: (frames) => frames.forEach((frame) => follower.seen.push(positionOf(frame))),
      unsentBytes: () => follower.unsent,
      gap: (end) => follower.seen.push(`gap ${formatPosition(end)}`),
      live: () => {
        const group: Group = groups.enter(wanted);
        live.set(group.name, [...(live.get(group.name) ?? []), follower]);
        follower.isLive = true;
      },
      tooSlow: () => (follower.isTooSlow = true),
      fail: (reason) => follower.seen.push(reason),
    };
    resumer.resume(follower);
    return follower;
  };
  const untilLive = (...followers: readonly TestFollower[]) =>
    waitUntil(() => followers.every(({ isLive }) => isLive), { what: "all to be live" });
  const untilRead = (position: string) =>
    waitUntil(() => resumer.recent.end !== undefined && formatPosition(resumer.recent.end) === position, {
      what: `the gateway to read ${position}`,
    });
  return { writer, follow, untilLive, untilRead, resumer };
}

/** Places of transactions of these sizes. */
const places = (sizes: readonly number[]): string[] =>
  sizes.flatMap((size, n) =>
    Array.from({ length: size }, (_, i) => `1.0/${((n + 1) * 8).toString(16).toUpperCase()}.${i}`),
  );

describe("waiting for a place in the log", () => {
  it("ends with its arrival or by its signal, and costs nothing meanwhile", async () => {
    const { resumer, writer } = await startGateway();
    const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
    const before = timers();
    const leaving = new AbortController();
    const done: string[] = [];
    const wait = (n: number, { signal } = new AbortController()): Promise<void> =>
      resumer.passed(toLsn(BigInt(n * 8)), signal).then(() => void done.push(signal.aborted ? `${n} left` : `${n}`));
    const waiting = [wait(2), wait(1), wait(2, leaving), wait(3)];
    expect(timers()).toBe(before);
    leaving.abort();
    await writer.append(transaction(1, 1));
    await waitUntil(() => done.length === 2, { what: "the first" });
    await writer.append(transaction(2, 1));
    await waitUntil(() => done.length === 3, { what: "the second" });
    expect(done).toEqual(["2 left", "1", "2"]);
    await wait(2);
    await writer.append(transaction(4, 1));
    await Promise.all(waiting);
    expect(done).toEqual(["2 left", "1", "2", "2", "3"]);
  });
});

describe("Resumer", () => {
  it("brings everybody to the present without a gap or a repeat, from wherever they come, while changes go on", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 3, maxLength: 30 }),
        fc.array(fc.nat(), { minLength: 1, maxLength: 12 }),
        fc.constantFrom(300, 2_000, 2 ** 20),
        async (sizes, starts, recentBytes) => {
          const { writer, follow, untilLive, untilRead } = await startGateway({ recentBytes });
          const all = places(sizes);
          const third = Math.ceil(sizes.length / 3);
          const append = async (from: number, to: number): Promise<void> => {
            for (let n = from; n < to; n++) await writer.append(transaction(n + 1, sizes[n] ?? 1));
          };
          await append(0, third);
          const old = places(sizes.slice(0, third));
          await untilRead(old.at(-1) ?? "");
          const followers = starts.map((start) => follow(old[start % old.length] ?? ""));
          const followed = followers.map(({ position }) => formatPosition(position));
          await append(third, 2 * third);
          await untilLive(...followers);
          await append(2 * third, sizes.length);
          await untilRead(all.at(-1) ?? "");
          for (const [i, follower] of followers.entries()) {
            expect(follower.seen).toEqual(all.slice(all.indexOf(followed[i] ?? "") + 1));
          }
        },
      ),
      { numRuns: 40 },
    );
  }, 60_000);

  it("gives each what its filter lets through", async () => {
    const { writer, follow, untilLive, untilRead } = await startGateway();
    for (let n = 1; n <= 3; n++) await writer.append(transaction(n, 20));
    await untilRead("1.0/18.19");
    const [three, none] = [follow("1.0/8.5", "id=eq.3"), follow("1.0/8.5", "id=eq.77")];
    await untilLive(three, none);
    await writer.append(transaction(4, 20));
    await untilRead("1.0/20.19");
    expect(three.seen).toEqual(
      ["8.13", "10.3", "10.13", "18.3", "18.13", "20.3", "20.13"].map((place) => `1.0/${place}`),
    );
    expect(none.seen).toEqual([]);
  });

  it("tells of a gap when the log begins after the position, and goes on from there", async () => {
    const { writer, follow, untilLive, untilRead } = await startGateway({ retentionBytes: 3_000, recentBytes: 500 });
    for (let n = 1; n <= 40; n++) await writer.append(transaction(n, 10));
    await untilRead("1.0/140.9");
    const follower = follow("1.0/8.0");
    await untilLive(follower);
    expect(follower.seen[0]).toMatch(/^gap 1\.0\/[0-9A-F]+\.0$/);
    const again = follow(follower.seen[0]?.slice("gap ".length) ?? "");
    await untilLive(again);
    expect(again.seen).toEqual(follower.seen.slice(1));
    expect(follower.seen.at(-1)).toBe("1.0/140.9");
    expect(follower.seen.filter((place) => place.startsWith("gap"))).toHaveLength(1);
  });

  it("tells of a gap to who comes from an epoch that has ended", async () => {
    const { writer, follow, untilLive, untilRead } = await startGateway();
    await writer.append(transaction(1, 2));
    await writer.raiseEpoch({ origin: "another server", startLsn: toLsn(0x100n) });
    await writer.append(transaction(64, 2, 2));
    await untilRead("2.0/200.1");
    const follower = follow("1.0/8.0");
    await untilLive(follower);
    expect(follower.seen).toEqual(["1.0/8.1", "gap 2.0/FF.0", "2.0/200.0", "2.0/200.1"]);
  });

  it("waits for a position that the log has yet to reach again", async () => {
    const { writer, follow, untilLive, untilRead } = await startGateway();
    await writer.append(transaction(1, 2));
    await untilRead("1.0/8.1");
    const follower = follow("1.0/10.0");
    await writer.append(transaction(2, 2));
    await untilLive(follower);
    expect(follower.seen).toEqual(["1.0/10.1"]);
  });

  it("leaves a reader behind that does not read, and ends it when it never does", async () => {
    const { writer, follow, untilLive, untilRead } = await startGateway();
    for (let n = 1; n <= 3; n++) await writer.append(transaction(n, 5));
    await untilRead("1.0/18.4");
    const [slow, quick] = [follow("1.0/8.0"), follow("1.0/8.0")];
    slow.unsent = 2 ** 30;
    await untilLive(quick);
    expect(quick.seen).toHaveLength(14);
    expect(slow.isLive).toBe(false);
    await waitUntil(() => slow.isTooSlow, { what: "the slow reader to be ended", timeoutMs: 20_000 });
    expect(slow.seen).toEqual([]);
  }, 30_000);

  it("lets others have their turns between followers, and each goes live when it has had everything", async () => {
    const { writer, follow, untilLive, untilRead } = await startGateway();
    for (let n = 1; n <= 3; n++) await writer.append(transaction(n, 5));
    await untilRead("1.0/18.4");
    const followers = Array.from({ length: 5 }, () => follow("1.0/8.0"));
    /** How many had gone live when others had their turn. */
    const turns: number[] = [];
    for (const follower of followers) {
      const send = follower.send.bind(follower);
      follower.send = (frames) => {
        send(frames);
        const untilMs = performance.now() + 10; // longer than a turn
        while (performance.now() < untilMs);
        setImmediate(() => turns.push(followers.filter(({ isLive }) => isLive).length));
      };
    }
    await untilLive(...followers);
    await writer.append(transaction(4, 5));
    await untilRead("1.0/20.4");
    expect(turns.slice(0, 4)).toEqual([1, 2, 3, 4]);
    for (const { seen } of followers) expect(seen).toEqual(followers[0]?.seen);
    expect(followers[0]?.seen).toHaveLength(19);
  });
});
