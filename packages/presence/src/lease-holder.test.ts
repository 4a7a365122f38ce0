import { setTimeout as delay } from "node:timers/promises";
import { waitUntil } from "@walcast/testkit";
import { afterEach, describe, expect, it } from "vitest";
import { entryOf } from "./conformance.ts";
import { LeaseHolder } from "./lease-holder.ts";
import { MemoryPresenceStore } from "./memory.ts";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

const leaseMs = 150;

function hold(store: MemoryPresenceStore, gateway: string) {
  const stopping = new AbortController();
  const [codes, swept]: [string[], string[]] = [[], []];
  let entered = 0;
  const holder = new LeaseHolder({
    store,
    gateway,
    leaseMs,
    onEntered: () => entered++,
    onSwept: (lease, topics) => swept.push(...topics.map((topic) => `${lease} ${topic}`)),
    onTrouble: (trouble) => codes.push((trouble as { code?: string } | undefined)?.code ?? "none"),
    backoff: (_, signal) => delay(5, undefined, { signal }).catch(() => undefined),
  });
  const running = holder.run(stopping.signal);
  const stop = async (): Promise<void> => {
    stopping.abort();
    await running;
  };
  ends.push(stop);
  return { holder, codes, swept, stop, entered: () => entered };
}

const idsOf = async (store: MemoryPresenceStore): Promise<string[]> =>
  (await store.snapshot("t")).entries.map(({ entry }) => entry.id).toSorted();
const placed = (id: string) => ({ topic: "t", entry: entryOf(id) });

describe("LeaseHolder", () => {
  it("enters what it was given before it had a lease, and what it is given then", async () => {
    const store = new MemoryPresenceStore({ leaseMs });
    const { holder, entered } = hold(store, "g");
    const early = holder.put(placed("early"));
    expect(await early).toEqual({ lease: "g.0", isStored: false });
    await waitUntil(() => entered() === 1, { what: "it to enter" });
    const late = placed("late");
    expect(await holder.put(late)).toEqual({ lease: "g.1", isStored: true });
    expect(await idsOf(store)).toEqual(["early", "late"]);
    await holder.remove(late);
    expect(await idsOf(store)).toEqual(["early"]);
  });

  it("takes another lease when it lost one, and enters again what it has by then", async () => {
    const store = new MemoryPresenceStore({ leaseMs });
    const { holder, codes, entered } = hold(store, "g");
    await waitUntil(() => entered() === 1, { what: "it to enter" });
    await holder.put(placed("a"));
    await store.end("g.1");
    expect(await holder.put(placed("b"))).toEqual({ lease: "g.1", isStored: false });
    await waitUntil(() => entered() === 2, { what: "it to enter again" });
    expect(await idsOf(store)).toEqual(["a", "b"]);
    expect(codes).toEqual(["none", "PRESENCE_LEASE_LOST", "none"]);
  });

  it("notices by itself that the lease is gone", async () => {
    const store = new MemoryPresenceStore({ leaseMs });
    const { holder, entered } = hold(store, "g");
    await waitUntil(() => entered() === 1, { what: "it to enter" });
    await holder.put(placed("a"));
    await store.end("g.1");
    expect(await idsOf(store)).toEqual([]);
    await waitUntil(() => entered() === 2, { what: "it to enter again" });
    expect(await idsOf(store)).toEqual(["a"]);
  });

  it("removes what a dead one left, and tells of it once", async () => {
    const store = new MemoryPresenceStore({ leaseMs });
    const [one, two] = [hold(store, "one"), hold(store, "two")];
    await store.open("dead");
    await store.renew("dead");
    await store.put("dead", [placed("a")]);
    await waitUntil(() => one.swept.length + two.swept.length > 0, { what: "the sweep" });
    expect([...one.swept, ...two.swept]).toEqual(["dead t"]);
  });

  it("gives its lease back in the end", async () => {
    const store = new MemoryPresenceStore({ leaseMs });
    const { holder, stop, entered } = hold(store, "g");
    await waitUntil(() => entered() === 1, { what: "it to enter" });
    await holder.put(placed("a"));
    await stop();
    expect(await store.snapshot("t")).toEqual({ entries: [], leases: new Set() });
    expect(await holder.put(placed("b"))).toMatchObject({ isStored: false });
  });
});
