import { describe, expect, it } from "vitest";
import { describeChangeLog, EntryTaker, insertsAt, makeBatch, position } from "./conformance.ts";
import { MemoryChangeLog } from "./memory.ts";

describeChangeLog("MemoryChangeLog", { create: () => Promise.resolve(new MemoryChangeLog()) });

/** A batch of about 1000 bytes. */
const kilobyte = (lsn: number) => makeBatch([{ at: `1.0/${lsn}.0`, record: JSON.stringify("x".repeat(700)) }]);

describe("MemoryChangeLog", () => {
  it("forgets the oldest batches beyond its limit, and tells readers who come for them", async () => {
    const log = new MemoryChangeLog({ retentionBytes: 3_500 });
    const writer = await log.openWriter();
    for (let lsn = 1; lsn <= 9; lsn++) await writer.append(kilobyte(lsn));
    const { signal } = new AbortController();
    const late = new EntryTaker(await log.read({ from: { after: position("1.0/1.0") }, signal }));
    const [gap, first] = await late.places(2);
    const [, , end = ""] = gap?.split(" ") ?? [];
    const behind = new EntryTaker(await log.read({ from: { after: position(end) }, signal }));
    expect(await behind.places(1)).toEqual([first]);
    const kept = new EntryTaker(await log.read({ from: { after: position("1.0/8.0") }, signal }));
    expect(await kept.places(1)).toEqual(["1.0/9.0"]);
  });

  it("holds the writer back while a reader has half of the history before it", async () => {
    const log = new MemoryChangeLog({ retentionBytes: 4_000 });
    const writer = await log.openWriter();
    const reader = new EntryTaker(await log.read({ from: "now", signal: new AbortController().signal }));
    const stored: number[] = [];
    const append = async (lsn: number): Promise<void> => {
      await writer.append(kilobyte(lsn));
      stored.push(lsn);
    };
    const appends = Promise.all([1, 2, 3, 4, 5].map(append));
    await new Promise(setImmediate);
    expect(stored).toEqual([1, 2]);
    expect(await reader.places(5)).toEqual(["1.0/1.0", "1.0/2.0", "1.0/3.0", "1.0/4.0", "1.0/5.0"]);
    const last = reader.entry(); // asking for more says that the fifth was taken
    await appends;
    expect(stored).toHaveLength(5);
    await writer.append(insertsAt("1.0/6.0"));
    expect(await last).toMatchObject({ tag: "batch" });
  });

  it.each(["before it began", "in the middle"])(
    "lets the writer go on when a reader it waits for ends %s",
    async (when) => {
      const log = new MemoryChangeLog({ retentionBytes: 4_000 });
      const writer = await log.openWriter();
      const stop = new AbortController();
      const reader = new EntryTaker(await log.read({ from: "now", signal: stop.signal }));
      if (when === "in the middle") {
        await writer.append(kilobyte(1));
        await reader.places(1);
      }
      const appends = [2, 3, 4, 5, 6].map((lsn) => writer.append(kilobyte(lsn)));
      await new Promise(setImmediate);
      stop.abort();
      await Promise.all(appends);
      expect((await log.openWriter()).last).toEqual(position("1.0/6.0"));
    },
  );

  it("does not wait for a reader whose signal had fired before it came", async () => {
    const log = new MemoryChangeLog({ retentionBytes: 4_000 });
    const writer = await log.openWriter();
    await log.read({ from: "now", signal: AbortSignal.abort() });
    for (let lsn = 1; lsn <= 9; lsn++) await writer.append(kilobyte(lsn));
    expect((await log.openWriter()).last).toEqual(position("1.0/9.0"));
  });

  it("passes over what a reader has behind it, however far the log begins before", async () => {
    const log = new MemoryChangeLog();
    const writer = await log.openWriter();
    const reader = new EntryTaker(
      await log.read({ from: { after: position("1.0/5.0") }, signal: new AbortController().signal }),
    );
    for (const places of [["1.0/1.0"], ["1.0/2.0", "1.0/5.0"], ["1.0/6.0"]]) await writer.append(insertsAt(...places));
    expect(await reader.places(1)).toEqual(["1.0/6.0"]);
  });
});
