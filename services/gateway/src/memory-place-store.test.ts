import { expect, it } from "vitest";
import { MemoryPlaceStore } from "./memory-place-store.ts";
import { describePlaceStore, testPlaces } from "./test-place-store.ts";

const shared = new MemoryPlaceStore(testPlaces);
describePlaceStore("MemoryPlaceStore", () => shared);

it("forgets the id that was noted longest ago when there are too many", async () => {
  const store = new MemoryPlaceStore({ keepMs: 60_000, idsLimit: 2 });
  const claim = (id: string) =>
    store.claim({ id, holder: "A", channel: "c", place: "1.0/10.0", unless: "known" }).then(({ tag }) => tag);
  expect([await claim("1"), await claim("2"), await claim("1"), await claim("3")]).toEqual([
    "noted",
    "noted",
    "known",
    "noted",
  ]);
  expect([await claim("1"), await claim("2")]).toEqual(["known", "noted"]);
});
