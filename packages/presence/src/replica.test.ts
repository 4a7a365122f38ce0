import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { diffText, type PresenceDiff } from "./payloads.ts";
import type { PresenceEntry, PresenceSnapshot } from "./ports.ts";
import { Replica } from "./replica.ts";

const entry = (id: string, version: number, gateway = "other"): PresenceEntry => ({
  id,
  gateway,
  key: id[0] ?? "",
  ref: `${id}.${version}`,
  version,
  meta: `{"v":${version}}`,
});
const stored = (lease: string) => ({ lease, isStored: true });
const told = (lease: string) => ({ lease, isStored: false });
const refs = (diff: PresenceDiff | undefined): unknown =>
  diff === undefined ? undefined : [diff.joins.map(({ ref }) => ref), diff.leaves.map(({ ref }) => ref)];
const snapshot = (
  leases: readonly string[],
  ...entries: readonly [lease: string, entry: PresenceEntry][]
): PresenceSnapshot => ({
  leases: new Set(leases),
  entries: entries.map(([lease, one]) => ({ lease, entry: one })),
});
const graceMs = 100;
const reconcile = (replica: Replica, with_: PresenceSnapshot, nowMs = 0): unknown =>
  refs(replica.reconcile(with_, { gateway: "own", nowMs, graceMs }));

describe("a replica", () => {
  it("tells of each step once: a join, an update as both, a leave", () => {
    const replica = new Replica();
    expect(refs(replica.put(entry("a", 1), stored("L")))).toEqual([["a.1"], []]);
    expect(replica.put(entry("a", 1), stored("L"))).toBeUndefined();
    expect(refs(replica.put(entry("a", 3), stored("L")))).toEqual([["a.3"], ["a.1"]]);
    expect(replica.put(entry("a", 2), stored("L"))).toBeUndefined();
    expect(refs(replica.remove("a"))).toEqual([[], ["a.3"]]);
    expect(replica.remove("a")).toBeUndefined();
    expect(replica.state()).toBe("{}");
  });

  it("groups metas by key, and spells them as the client did", () => {
    const replica = new Replica();
    const update = { ...entry("a2", 3), previousRef: "old", meta: ' { "n": 1.50 } ' };
    const diff = replica.put(update, stored("L"));
    replica.put({ ...entry("a1", 1), meta: "{ }" }, stored("L"));
    replica.put({ ...entry("b", 2), key: '"ü\u0000' }, stored("L"));
    expect(replica.state()).toBe(
      '{"a":{"metas":[{"phx_ref":"a2.3","phx_ref_prev":"old","n": 1.50},{"phx_ref":"a1.1"}]},' +
        '"\\"ü\\u0000":{"metas":[{"phx_ref":"b.2","v":2}]}}',
    );
    expect(diffText(diff ?? { joins: [], leaves: [] })).toBe(
      '{"joins":{"a":{"metas":[{"phx_ref":"a2.3","phx_ref_prev":"old","n": 1.50}]}},"leaves":{}}',
    );
  });

  it("forgets the entries of a dead lease, and not those that were entered again under another one", () => {
    const replica = new Replica();
    for (const id of ["a", "b"]) replica.put(entry(id, 1), stored("L1"));
    expect(replica.put(entry("a", 1), stored("L2"))).toBeUndefined();
    expect(refs(replica.forget("L1"))).toEqual([[], ["b.1"]]);
    expect(replica.forget("L1")).toBeUndefined();
  });

  it("takes all entries of a gateway at once, and touches no other's", () => {
    const replica = new Replica();
    for (const one of [entry("a", 1), entry("b", 2), entry("c", 1, "third")]) replica.put(one, stored("L"));
    expect(refs(replica.replace("other", [entry("b", 3), entry("d", 4)], stored("L2")))).toEqual([
      ["b.3", "d.4"],
      ["a.1", "b.2"],
    ]);
  });

  it("becomes what the store has, but for its own gateway's entries", () => {
    const replica = new Replica();
    replica.put(entry("mine", 1, "own"), stored("own.1"));
    for (const id of ["stays", "goes"]) replica.put(entry(id, 1), stored("L"));
    const found = snapshot(
      ["L"],
      ["L", entry("stays", 1)],
      ["L", entry("new", 2)],
      ["own.1", entry("former", 1, "own")],
    );
    expect(reconcile(replica, found)).toEqual([["new.2"], ["goes.1"]]);
    expect(reconcile(replica, found)).toBeUndefined();
    expect(replica.size).toBe(3);
  });

  it("counts an entry that stands under two leases as the later one's, whatever the order", () => {
    const both: [string, PresenceEntry][] = [
      ["other.10", entry("a", 1)],
      ["other.9", entry("a", 1)],
    ];
    for (const entries of [both, both.toReversed()]) {
      const replica = new Replica();
      reconcile(replica, snapshot(["other.9", "other.10"], ...entries));
      expect(replica.forget("other.9")).toBeUndefined();
      expect(refs(replica.forget("other.10"))).toEqual([[], ["a.1"]]);
    }
  });

  it("keeps entries of a lease that is not to be found for one lease, and what was told without being stored", () => {
    const replica = new Replica();
    replica.put(entry("a", 1), stored("L1"));
    replica.put(entry("b", 2), told("L2"));
    expect(replica.isUnsettled).toBe(true);
    expect(reconcile(replica, snapshot(["L2"]), 0)).toBeUndefined();
    expect(reconcile(replica, snapshot(["L2"]), graceMs - 1)).toBeUndefined();
    // It comes back for a moment, so the time begins anew.
    expect(reconcile(replica, snapshot(["L1", "L2"], ["L1", entry("a", 1)]), graceMs)).toBeUndefined();
    expect(reconcile(replica, snapshot([]), graceMs + 1)).toBeUndefined();
    expect(reconcile(replica, snapshot([]), 2 * graceMs)).toBeUndefined();
    expect(reconcile(replica, snapshot([]), 2 * graceMs + 1)).toEqual([[], ["a.1", "b.2"]]);
    expect(reconcile(replica, snapshot([]), 2 * graceMs + 2)).toBeUndefined();
    expect(replica.isUnsettled).toBe(false);
  });

  it("is what its diffs add up to, whatever comes", () => {
    const ids = fc.constantFrom("a1", "a2", "b1", "b2");
    const gateways = fc.constantFrom("other", "third", "own");
    const leases = fc.constantFrom("L1", "L2", "L3");
    const entries = fc
      .record({ id: ids, version: fc.nat(5), gateway: gateways })
      .map(({ id, version, gateway }) => entry(`${id}${gateway}`, version, gateway));
    const placements = fc.record({ lease: leases, isStored: fc.boolean() });
    const steps = fc.oneof(
      fc.tuple(entries, placements).map(
        ([one, placement]) =>
          (replica: Replica) =>
            replica.put(one, placement),
      ),
      fc.tuple(ids, gateways).map(
        ([id, gateway]) =>
          (replica: Replica) =>
            replica.remove(`${id}${gateway}`),
      ),
      leases.map((lease) => (replica: Replica) => replica.forget(lease)),
      fc.tuple(fc.array(entries), placements).map(
        ([all, placement]) =>
          (replica: Replica) =>
            replica.replace(
              "third",
              all.filter(({ gateway }) => gateway === "third"),
              placement,
            ),
      ),
      fc.tuple(fc.array(fc.tuple(leases, entries)), fc.nat(500)).map(
        ([found, nowMs]) =>
          (replica: Replica) =>
            replica.reconcile(snapshot(["L1"], ...found), { gateway: "own", nowMs, graceMs }),
      ),
    );
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 40 }), (taken) => {
        const replica = new Replica();
        const present = new Set<string>();
        for (const step of taken) {
          const diff = step(replica);
          for (const { ref } of diff?.leaves ?? []) expect(present.delete(ref)).toBe(true);
          for (const { ref } of diff?.joins ?? []) {
            expect(present.has(ref)).toBe(false);
            present.add(ref);
          }
          const state = JSON.parse(replica.state()) as Record<string, { metas: { phx_ref: string }[] }>;
          const held = Object.values(state).flatMap(({ metas }) => metas.map((meta) => meta.phx_ref));
          expect(held.toSorted()).toEqual([...present].toSorted());
        }
      }),
    );
  });
});
