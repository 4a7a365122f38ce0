import { MemoryNetwork } from "@walcast/bus";
import { toLsn } from "@walcast/model";
import type { Broadcast, StoredBroadcast } from "@walcast/protocol";
import type { History } from "@walcast/row-security";
import { createLogger, Registry } from "@walcast/telemetry";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createMetrics } from "./metrics.ts";
import { Reach } from "./reach.ts";
import type { Replay } from "./replay.ts";
import { Replays } from "./replays.ts";
import { Rooms, type Room } from "./room.ts";

// A database whose transactions reach the log before others see them, a log that is read later, and a channel that joins
// somewhere in between: the order of it all is the test's.

const address = { topic: "realtime:room", isPrivate: true };
const ends: (() => unknown)[] = [];
afterEach(() => ends.splice(0).forEach((end) => end()));

interface World {
  readonly rooms: Rooms;
  readonly reach: Reach;
  readonly told: string[];
  committed: number;
  visible: number;
  delivered: number;
  replay: Replay | undefined;
  isLive: boolean;
  /** What was asked of the database and waits for an answer. */
  looks: { readonly xids: ReadonlySet<number>; readonly limit: number; answer(history: History): void }[];
  readonly replays: Replays;
}

const stored = (n: number): StoredBroadcast => ({
  id: `m${n}`,
  event: "e",
  encoding: "json",
  payload: Buffer.from(String(n)),
});
const live = (n: number): Broadcast => ({ tag: "event", ...stored(n), metadata: JSON.stringify({ id: `m${n}` }) });

function createWorld(): World {
  const rooms = new Rooms({
    bus: new MemoryNetwork().open(),
    metrics: createMetrics(new Registry()),
    onMessage: () => undefined,
  });
  const reach = new Reach({ nudge: () => Promise.resolve() });
  const world: World = {
    rooms,
    reach,
    told: [],
    committed: 0,
    visible: 0,
    delivered: 0,
    replay: undefined,
    isLive: false,
    looks: [],
    replays: new Replays({
      rooms: () => rooms,
      reach,
      reading: () => Promise.resolve(),
      payloadLimitBytes: 1_000,
      readHistory: ({ xids, limit }) => new Promise((answer) => world.looks.push({ xids, limit, answer })),
      log: createLogger("a test", { level: "silent", format: "json" }),
    }),
  };
  return world;
}

/** Commit `n` lies at 8n in the log; its transaction is number n. */
function deliver(world: World): void {
  if (world.delivered === world.committed) return;
  const n = ++world.delivered;
  world.replays.note(address, n);
  const room: Room | undefined = world.rooms.find(address);
  for (const single of room?.singles ?? []) single.hear(live(n));
  if (world.isLive) world.told.push(`live m${n}`);
  world.reach.arrived({ epoch: 1, commitLsn: toLsn(BigInt(n) * 8n), index: 0 });
}

/** The database looks, and answers if it sees what was asked for. */
function look(world: World): void {
  const [first] = world.looks;
  if (first === undefined || [...first.xids].some((xid) => xid > world.visible)) return;
  world.looks.shift();
  const all = Array.from({ length: world.visible }, (_, i) => stored(i + 1));
  first.answer({ messages: all.slice(-first.limit), upTo: toLsn(BigInt(world.committed) * 8n + 4n) });
}

function begin(world: World): void {
  world.replay?.begin({
    stored: ({ id }) => world.told.push(`replayed ${id}`),
    live: (broadcast) =>
      world.told.push(`live ${(JSON.parse((broadcast as { metadata: string }).metadata) as { id: string }).id}`),
    over: () => (world.isLive = true),
  });
}

async function join(world: World, limit: number): Promise<void> {
  world.replay = await world.replays.prepare({ sinceMs: 0, limit }, { topic: address.topic, claims: undefined });
}

const steps = ["commit", "see", "deliver", "look", "begin"] as const;
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("a replay", () => {
  it("tells every message once, whatever comes when, and those from before the join within its limit", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom(...steps), { maxLength: 40 }),
        fc.nat(10),
        fc.constantFrom(2, 25),
        async (order, joinsAt, limit) => {
          const world = createWorld();
          const run = async (step: (typeof steps)[number]): Promise<void> => {
            if (step === "commit") world.committed++;
            else if (step === "see") world.visible = Math.min(world.visible + 1, world.committed);
            else if (step === "deliver") deliver(world);
            else if (step === "look") look(world);
            else if (world.replay?.hasBegun === false) begin(world);
            await settle();
          };
          let deliveredAtJoin = 0;
          for (const [i, step] of order.entries()) {
            if (i === joinsAt) {
              deliveredAtJoin = world.delivered;
              void join(world, limit);
              await settle();
            }
            await run(step);
          }
          if (order.length <= joinsAt) {
            deliveredAtJoin = world.delivered;
            void join(world, limit);
          }
          await settle();
          world.visible = world.committed;
          for (const step of ["look", "begin", "commit", "see", "deliver"] as const) await run(step);
          while (world.delivered < world.committed) deliver(world);
          const ids = world.told.map((one) => one.split(" ")[1]);
          expect(ids.filter((id, i) => ids.indexOf(id) !== i)).toEqual([]);
          // Whatever had not been delivered when the join came is told, and of the rest the newest.
          for (let n = deliveredAtJoin + 1; n <= world.committed; n++) expect(ids, `m${n}`).toContain(`m${n}`);
          if (world.committed <= limit) expect(ids.length).toBe(world.committed);
          expect(world.isLive).toBe(true);
          expect(world.rooms.find(address)).toBeUndefined();
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe("a replay that is held", () => {
  let world: World;
  beforeEach(() => {
    world = createWorld();
  });
  const prepared = async (): Promise<Replay> => {
    void join(world, 25);
    await settle();
    look(world);
    await settle();
    if (world.replay === undefined) throw new Error("not prepared");
    return world.replay;
  };

  it("holds what another token may have, and tells the rest as it comes", async () => {
    world.committed = world.visible = 2;
    const replay = await prepared();
    const again = world.replays.read(replay, { topic: address.topic, claims: { role: "less", exp: 1 } });
    await settle();
    world.looks.shift()?.answer({ messages: [stored(1)], upTo: toLsn(20n) });
    await again;
    begin(world);
    deliver(world);
    deliver(world);
    expect(world.told).toEqual(["replayed m1", "live m2"]);
  });

  it("tells nothing when more has come than is kept", async () => {
    const replay = await prepared();
    const large: Broadcast = { ...live(1), payload: Buffer.alloc(9 * 2 ** 20) } as Broadcast;
    replay.hear(large);
    replay.hear(large);
    expect(replay.begin({ stored: () => undefined, live: () => undefined, over: () => undefined })).toBe(false);
  });

  it("leaves its room when it is abandoned, once", async () => {
    const replay = await prepared();
    expect(world.rooms.find(address)?.members).toBe(1);
    replay.abandon();
    replay.abandon();
    expect(world.rooms.find(address)).toBeUndefined();
  });
});
