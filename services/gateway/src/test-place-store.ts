// For tests: the suite that all place stores pass.

import { randomUUID } from "node:crypto";
import { waitUntil } from "@walcast/testkit";
import { beforeEach, describe, expect, it } from "vitest";
import type { Claim, PlaceStore } from "./place-store.ts";

/** The suite's stores forget after this long, and take three channels of an id. */
export const testPlaces = { keepMs: 1_500, channelsLimit: 3 } as const;

/** What every store does: the suite that all adapters run. `open`: one more gateway's view of the same store. */
export function describePlaceStore(name: string, open: () => PlaceStore): void {
  describe(`${name} is a place store that`, () => {
    let [one, two] = [open(), open()];
    let id: string;
    beforeEach(() => {
      [one, two] = [open(), open()];
      id = randomUUID();
    });
    const claim = (store: PlaceStore, holder: string, more: Partial<Claim> = {}) =>
      store.claim({ id, holder, channel: "c", place: "1.0/10.0", unless: "known", ...more });
    const note = (store: PlaceStore, holder: string, place: string, as: "held" | "taken" = "held") =>
      store.note({ id, holder, places: [{ channel: "c", place, as }] });
    const known = (place: string) => ({ tag: "known", place });
    const noted = { tag: "noted" };

    it("finds for another connection what was noted at last, for each channel of each id apart", async () => {
      expect(await claim(one, "A")).toEqual(noted);
      await note(one, "A", "1.0/18.0");
      await note(one, "A", "1.0/20.5");
      expect(await claim(two, "B", { channel: "other" })).toEqual(noted);
      expect(await claim(two, "B", { id: randomUUID() })).toEqual(noted);
      expect(await claim(two, "B")).toEqual(known("1.0/20.5"));
      expect(await claim(one, "C")).toEqual(known("1.0/20.5"));
    });

    it("notes where a channel begins at once, and takes a place that was chosen", async () => {
      await claim(one, "A");
      expect(await claim(two, "B", { place: "1.0/30.0" })).toEqual(known("1.0/10.0"));
      expect(await claim(two, "B", { place: "1.0/8.0", unless: "never" })).toEqual(noted);
      expect(await claim(one, "C")).toEqual(known("1.0/8.0"));
    });

    it("lets only the last one who claimed a channel move it or forget it", async () => {
      await claim(one, "A");
      await claim(two, "B");
      await note(one, "A", "1.0/99.0");
      await one.forget({ id, holder: "A", channel: "c" });
      await note(two, "B", "1.0/11.0");
      expect(await claim(one, "C")).toEqual(known("1.0/11.0"));
      await note(two, "B", "1.0/12.0", "taken"); // its claim did not get through
      expect(await claim(one, "C")).toEqual(known("1.0/12.0"));
    });

    it("notes what it has lost anew", async () => {
      await note(one, "A", "1.0/18.0");
      expect(await claim(two, "B")).toEqual(known("1.0/18.0"));
    });

    it("forgets on demand", async () => {
      await claim(one, "A");
      await one.forget({ id, holder: "A", channel: "c" });
      await one.forget({ id, holder: "A", channel: "c" });
      expect(await claim(two, "B", { place: "1.0/40.0" })).toEqual(noted);
    });

    it("takes so many channels of an id, and forgets for others those that nobody notes", async () => {
      for (const channel of ["1", "2", "3"]) expect(await claim(one, "A", { channel })).toEqual(noted);
      expect(await claim(two, "A", { channel: "4" })).toEqual({ tag: "full" });
      expect(await claim(two, "A", { channel: "2" })).toEqual(known("1.0/10.0"));
      const renew = () => one.note({ id, holder: "A", places: [{ channel: "2", place: "1.0/18.0", as: "held" }] });
      await waitUntil(
        async () => {
          await renew();
          return (await claim(two, "A", { channel: "4" })).tag !== "full";
        },
        { what: "a channel that nobody notes to be forgotten" },
      );
      await renew();
      expect(await claim(two, "B", { channel: "1", place: "1.0/50.0" })).toEqual(noted);
      expect(await claim(two, "B", { channel: "2" })).toEqual(known("1.0/18.0"));
    });
  });
}
