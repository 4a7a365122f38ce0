import { randomBytes } from "node:crypto";
import { waitUntil } from "@walcast/testkit";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { PlacedEntry, PresenceEntry, PresenceStore } from "./ports.ts";

/** Leases of the suite: long enough for a slow machine to renew them. */
export const testLeaseMs = 600;

export interface TestStores {
  /** One more gateway's view of the same store. */
  open(): PresenceStore;
  close(): Promise<void> | void;
}

let versions = 0;
export const entryOf = (id: string, more: Partial<PresenceEntry> = {}): PresenceEntry => ({
  id,
  gateway: "g",
  key: "user",
  ref: `ref ${id}`,
  version: ++versions,
  meta: '{"n":1.50}',
  ...more,
});

const byId = (a: PlacedEntry["entry"], b: PlacedEntry["entry"]): number => (a.id < b.id ? -1 : 1);

/** What every store does: the suite that all adapters run. */
export function describePresenceStore(name: string, createStores: () => TestStores): void {
  describe(`${name} is a presence store that`, () => {
    let stores: TestStores;
    let one: PresenceStore;
    let two: PresenceStore;
    /** Renews a lease until the end of the test. */
    let standing: (store: PresenceStore, lease: string) => Promise<() => void>;
    const stops: (() => void)[] = [];
    beforeEach(() => {
      stores = createStores();
      [one, two] = [stores.open(), stores.open()];
      standing = async (store, lease) => {
        await store.open(lease);
        await store.renew(lease);
        const timer = setInterval(() => void store.renew(lease).catch(() => undefined), testLeaseMs / 6);
        const stop = (): void => clearInterval(timer);
        stops.push(stop);
        return stop;
      };
    });
    afterEach(async () => {
      for (const stop of stops.splice(0)) stop();
      await Promise.all([one, two].map((store) => store.close()));
      await stores.close();
    });
    const entriesOf = async (topic: string, store = two): Promise<PresenceEntry[]> =>
      (await store.snapshot(topic)).entries.map(({ entry }) => entry).toSorted(byId);
    const topic = `public:room ${randomBytes(4).toString("hex")}`;

    it("shows entries to all once their lease is renewed, their newest version, until they are removed", async () => {
      await one.open("L");
      const [first, second] = [entryOf("1"), entryOf("2", { key: "", meta: '{"ü":"🎈\\u0000"}' })];
      expect(
        await one.put(
          "L",
          [first, second].map((entry) => ({ topic, entry })),
        ),
      ).toBe("stored");
      expect(await two.snapshot(topic)).toEqual({ entries: [], leases: new Set() });
      await standing(one, "L");
      // Opened anew, it has lost what it had.
      await one.put(
        "L",
        [first, second].map((entry) => ({ topic, entry })),
      );
      expect(await entriesOf(topic)).toEqual([first, second]);
      expect((await two.snapshot(topic)).leases).toEqual(new Set(["L"]));
      const updated = entryOf("1", { ref: "new", previousRef: first.ref });
      await one.put("L", [{ topic, entry: updated }]);
      expect(await entriesOf(topic)).toEqual([updated, second]);
      await one.remove("L", { topic, entry: second });
      await one.remove("L", { topic, entry: second });
      expect(await entriesOf(topic)).toEqual([updated]);
      expect(await entriesOf(`${topic} `)).toEqual([]);
    });

    it("keeps topics apart, whatever they hold", async () => {
      await standing(one, "L");
      const topics = ["", " ", "a b", "a", "a:b", "*", "{}", "ünïcode 🎈", "line\r\n", "\u0000", "x".repeat(10_000)];
      await one.put(
        "L",
        topics.map((of, i) => ({ topic: of, entry: entryOf(`${i}`) })),
      );
      for (const [i, of] of topics.entries()) expect((await entriesOf(of)).map(({ id }) => id)).toEqual([`${i}`]);
    });

    it("does what one gateway asks in the order it asks, waited for or not", async () => {
      await standing(one, "L");
      const entry = entryOf("1");
      const many = Array.from({ length: 2_000 }, (_, i) => ({ topic, entry: entryOf(`m${i}`) }));
      const last = many.at(-1);
      if (last === undefined) throw new Error("there are many");
      await Promise.all([
        one.put("L", [{ topic, entry }]),
        one.remove("L", { topic, entry }),
        one.put("L", many),
        one.remove("L", last),
      ]);
      expect(await entriesOf(topic)).toHaveLength(many.length - 1);
    });

    it("hides what a gateway that stopped renewing left behind, and takes nothing more from it", async () => {
      const stop = await standing(one, "dying");
      await standing(two, "living");
      const [dying, living] = [entryOf("1"), entryOf("2")];
      await one.put("dying", [{ topic, entry: dying }]);
      await two.put("living", [{ topic, entry: living }]);
      expect(await entriesOf(topic)).toEqual([dying, living]);
      stop();
      await waitUntil(async () => (await entriesOf(topic)).length === 1, { what: "the lease to end" });
      expect(await two.snapshot(topic)).toEqual({
        entries: [{ lease: "living", entry: living }],
        leases: new Set(["living"]),
      });
      expect(await one.renew("dying")).toBe("lost");
      expect(await one.put("dying", [{ topic, entry: dying }])).toBe("lost");
      await one.remove("dying", { topic, entry: dying });
      await standing(one, "second");
      expect(await one.put("second", [{ topic, entry: dying }])).toBe("stored");
      expect(await entriesOf(topic)).toEqual([dying, living]);
    });

    it("gives each topic of a dead lease to exactly one of those who sweep", async () => {
      const others = Array.from({ length: 4 }, () => stores.open());
      await standing(one, "living");
      const topics = Array.from({ length: 30 }, (_, i) => `${topic} ${i}`);
      const entries = topics.flatMap((of, i) =>
        Array.from({ length: 60 }, (_, n) => ({ topic: of, entry: entryOf(`${i}.${n}`) })),
      );
      await two.open("dead");
      await two.renew("dead");
      await two.put("dead", entries);
      const found: string[] = [];
      await waitUntil(
        async () => {
          const sweeps = await Promise.all(others.map((store) => store.sweep()));
          for (const { swept, nextMs } of sweeps) {
            expect(nextMs).toBeLessThanOrEqual(testLeaseMs);
            for (const { lease, topics: ofLease } of swept) {
              expect(lease).toBe("dead");
              found.push(...ofLease);
            }
          }
          return found.length > 0;
        },
        { what: "the lease to be swept" },
      );
      // A topic of many entries may be told in parts.
      expect(new Set(found)).toEqual(new Set(topics));
      expect((await one.sweep()).swept).toEqual([]);
      for (const of of topics) expect(await entriesOf(of)).toEqual([]);
    });

    it("ends a lease in good order: its entries are gone, and nobody is told", async () => {
      await standing(one, "L");
      await one.put("L", [{ topic, entry: entryOf("1") }]);
      for (const stop of stops.splice(0)) stop();
      await one.end("L");
      await one.end("L");
      expect(await two.snapshot(topic)).toEqual({ entries: [], leases: new Set() });
      expect(await two.sweep()).toEqual({ swept: [], nextMs: undefined });
      expect(await one.renew("L")).toBe("lost");
    });
  });
}
