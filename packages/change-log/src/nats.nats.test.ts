// Over 400 lines: what happens to one stream in trouble; the cases share the helpers that bring it there.

import { randomBytes } from "node:crypto";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { jetstreamManager, StorageType, type JetStreamManager } from "@nats-io/jetstream";
import { headers } from "@nats-io/nats-core";
import { startNats, startNatsCluster, waitUntil, type ServerProcess } from "@walcast/testkit";
import { afterEach, describe, expect, inject, it } from "vitest";
import { encodeBatch, markBatch, type Batch } from "./batch.ts";
import { describeChangeLog, EntryTaker, insertsAt, makeBatch, position } from "./conformance.ts";
import { ChangeLogMisfitError, ChangeLogUnavailableError } from "./errors.ts";
import { splitParts } from "./nats-parts.ts";
import { NatsChangeLog } from "./nats.ts";
import type { ReadOptions } from "./ports.ts";
import { changeSubject, streamName } from "./subjects.ts";

const uniqueSource = (): string => `test ${randomBytes(6).toString("hex")}`;

interface Parts {
  readonly url?: string;
  readonly source?: string;
  readonly batchBytes?: number;
  readonly replicas?: number;
}

const connectLog = ({
  url = inject("natsUrl"),
  source = uniqueSource(),
  batchBytes = 262_144,
  replicas = 1,
}: Parts = {}) =>
  NatsChangeLog.connect({
    url,
    source,
    name: "a test",
    backoff: (_, signal) => delay(10, undefined, { signal }).catch(() => undefined),
    writing: {
      retentionMs: 3_600_000,
      retentionBytes: 256 * 1024 * 1024,
      replicas,
      batchBytes,
      syncIntervalMs: 120_000,
      ackTimeoutMs: 10_000,
      firstEpoch: () => 1,
    },
  });

describeChangeLog("NatsChangeLog", { create: () => connectLog() });

describe("NatsChangeLog", () => {
  const ends: (() => Promise<void> | void)[] = [];
  afterEach(async () => {
    for (const end of ends.splice(0).toReversed()) await end();
  });

  async function open(parts: Parts = {}) {
    const source = parts.source ?? uniqueSource();
    const log = await connectLog({ ...parts, source });
    ends.push(() => log.close());
    const jsm = await jetstreamManager(log.connection, { checkAPI: false });
    const own = new AbortController();
    ends.push(() => own.abort());
    const read = async (from: ReadOptions["from"]): Promise<EntryTaker> =>
      new EntryTaker(await log.read({ from, signal: own.signal }));
    const readAfter = (place: string): Promise<EntryTaker> => read({ after: position(place) });
    return { source, log, jsm, stream: streamName(source), read, readAfter };
  }

  /** What a stranger, or a writer that dies on the way, leaves in the stream. */
  async function publish(
    { jsm, source }: { readonly jsm: JetStreamManager; readonly source: string },
    data: Uint8Array | string,
    part?: string,
  ): Promise<void> {
    const partHeaders = headers();
    if (part !== undefined) partHeaders.set("Walcast-Part", part);
    await jsm
      .jetstream()
      .publish(changeSubject(source, { relation: { oid: 1, schema: "public", table: "todos" } }), data, {
        headers: partHeaders,
      });
  }

  const record = JSON.stringify({ id: 1, body: "0123456789".repeat(300_000) });
  const large = (place: string): Batch => makeBatch([{ at: place, record }]);

  it("leaves nothing behind on the connection when a reading ends", async () => {
    const { log } = await open();
    await (await log.openWriter()).append(insertsAt("1.0/1.0", "1.0/2.0"));
    const { listeners } = (log.connection as unknown as { protocol: { listeners: unknown[] } }).protocol;
    const before = listeners.length;
    for (let i = 0; i < 5; i++) {
      const stop = new AbortController();
      const reading = await log.read({ from: { after: position("1.0/1.0") }, signal: stop.signal });
      for await (const entry of reading) {
        expect(listeners.length).toBeGreaterThan(before);
        expect(entry.tag).toBe("batch");
        break;
      }
      stop.abort();
    }
    await waitUntil(() => listeners.length === before, { what: "the readings to have let go" });
  });

  it("waits with a reading for the stream to be there", async () => {
    const { log, readAfter } = await open();
    const reading = readAfter("1.0/1.0");
    const writer = await log.openWriter();
    const reader = await reading;
    await writer.append(insertsAt("1.0/1.0", "1.0/2.0"));
    expect(await reader.places(1)).toEqual(["1.0/2.0"]);
  });

  it("stops waiting for a stream when the signal fires", async () => {
    const { log } = await open();
    const troubles: unknown[] = [];
    const own = new AbortController();
    const reading = log.read({
      from: "now",
      signal: own.signal,
      onTrouble: (trouble) => {
        troubles.push(trouble);
        own.abort();
      },
    });
    await expect(reading).rejects.toMatchObject({ name: "AbortError" });
    expect(troubles).toEqual([expect.any(ChangeLogUnavailableError)]);
  });

  it("keeps sources apart whose names look alike", async () => {
    const name = randomBytes(6).toString("hex");
    const [one, other] = [await open({ source: `${name}.a` }), await open({ source: `${name} a` })];
    await (await one.log.openWriter()).append(insertsAt("1.0/1.0"));
    const writer = await other.log.openWriter();
    expect(writer.last).toBeUndefined();
    const reading = await one.readAfter("1.0/1.0");
    await writer.append(insertsAt("1.0/2.0"));
    await (await one.log.openWriter()).append(insertsAt("1.0/3.0"));
    expect(await reading.places(1)).toEqual(["1.0/3.0"]);
  });

  it("asks for batches that one message of the server can carry, and splits larger ones", async () => {
    const { log, jsm, stream } = await open({ batchBytes: 32 * 1024 * 1024 });
    const writer = await log.openWriter();
    expect(writer.batchBytesLimit).toBeLessThan(log.connection.info?.max_payload ?? 0);
    const before = await jsm.streams.info(stream);
    await writer.append(large("1.0/1.0"));
    const after = await jsm.streams.info(stream);
    expect(after.state.last_seq - before.state.last_seq).toBe(Math.ceil(record.length / writer.batchBytesLimit));
  });

  it("refuses a stream of that name that cannot be a change log", async () => {
    const { log, jsm, stream } = await open();
    await jsm.streams.add({ name: stream, subjects: [`elsewhere.${stream}`], storage: StorageType.Memory });
    await expect(log.openWriter()).rejects.toThrow(ChangeLogMisfitError);
    await expect(log.openWriter()).rejects.toThrow(/storage is memory, must be file; subjects are elsewhere/);
  });

  it("says so when no server answers", async () => {
    await expect(connectLog({ url: "nats://127.0.0.1:1" })).rejects.toMatchObject({ code: "CHANGE_LOG_UNAVAILABLE" });
  });

  describe("with a torso in it, the first parts of a batch whose writer died", () => {
    it("lets the next writer go on at once, and gives readers its batch", async () => {
      const { log, jsm, stream, read, readAfter } = await open();
      const reader = await openThenRead({ log, read });
      const former = await log.openWriter();
      await former.append(insertsAt("1.0/1.0"));
      await former.append(large("1.0/2.0"));
      const { state } = await jsm.streams.info(stream);
      await jsm.streams.deleteMessage(stream, state.last_seq);

      const next = await log.openWriter();
      expect(next.last).toEqual(position("1.0/1.0"));
      await next.append(large("1.0/2.0"));
      await next.append(insertsAt("1.0/3.0"));
      const expected = ["1.0/1.0", "1.0/2.0", "1.0/3.0"];
      expect(await reader.places(3)).toEqual(expected);
      expect(await (await readAfter("1.0/1.0")).places(2)).toEqual(expected.slice(1));
      expect((await log.openWriter()).last).toEqual(position("1.0/3.0"));
    });

    it("gives a reader that began behind it what follows in the batch that was written again", async () => {
      const { log, jsm, source, read } = await open();
      await (await log.openWriter()).append(insertsAt("1.0/1.0"));
      const [part] = splitParts(encodeBatch(large("1.0/2.0"), position("1.0/1.0")), 900_000);
      await publish({ jsm, source }, part?.data ?? "", "1/4");
      const reader = await read("now");
      const next = await log.openWriter();
      await next.append(makeBatch([{ at: "1.0/2.0", record }, { at: "1.0/2.1" }]));
      await next.append(insertsAt("1.0/3.0"));
      expect(await reader.places(2)).toEqual(["1.0/2.1", "1.0/3.0"]);
    });

    /** The stream must be there to begin now. */
    async function openThenRead({ log, read }: Pick<Awaited<ReturnType<typeof open>>, "log" | "read">) {
      await log.openWriter();
      return await read("now");
    }
  });

  describe("with a stranger's message on its subjects", () => {
    it.each([
      ["no text", Buffer.from([0xff, 0, 10, 13, 10])],
      ["empty", ""],
      ["JSON but no header", "null\n"],
      ["a header of another format", '{"walcast":2}\n{}\n'],
      ["a last part of nothing", "{}", "3/3"],
      ["a first part that never goes on", "{}", "1/9"],
      ["a part with an impossible number", "{}", "7/3"],
    ])("passes over one that is %s", async (_, data, part?: string) => {
      const { log, jsm, source, read, readAfter } = await open();
      const former = await log.openWriter();
      await former.append(insertsAt("1.0/1.0"));
      await former.append(insertsAt("1.0/2.0"));
      const reader = await readAfter("1.0/2.0");
      await publish({ jsm, source }, data, part);
      const later = await read("now");
      const next = await log.openWriter();
      expect(next.last).toEqual(position("1.0/2.0"));
      await next.append(insertsAt("1.0/3.0"));
      expect(await reader.places(1)).toEqual(["1.0/3.0"]);
      expect(await later.places(1)).toEqual(["1.0/3.0"]);
      expect(await (await readAfter("1.0/1.0")).places(2)).toEqual(["1.0/2.0", "1.0/3.0"]);
    });

    it("tells of the trouble, and that it is over", async () => {
      const { log, jsm, source } = await open();
      const writer = await log.openWriter();
      const troubles: (Error | undefined)[] = [];
      const own = new AbortController();
      ends.push(() => own.abort());
      const reading = await log.read({
        from: "now",
        signal: own.signal,
        onTrouble: (trouble) => troubles.push(trouble),
      });
      await writer.append(insertsAt("1.0/1.0"));
      await publish({ jsm, source }, "hello");
      await (await log.openWriter()).append(insertsAt("1.0/2.0"));
      expect(await new EntryTaker(reading).places(2)).toEqual(["1.0/1.0", "1.0/2.0"]);
      expect(troubles.find((trouble) => trouble !== undefined)).toMatchObject({ code: "BATCH_FORMAT" });
      expect(troubles.at(-1)).toBeUndefined();
    });

    it("refuses the writer, who does not know where the log ends any more", async () => {
      const { log, jsm, source } = await open();
      const writer = await log.openWriter();
      await publish({ jsm, source }, "hello");
      await expect(writer.append(insertsAt("1.0/1.0"))).rejects.toMatchObject({ code: "APPEND_REFUSED" });
    });
  });

  describe("with a hole in it", () => {
    async function openWithHistory() {
      const parts = await open();
      const writer = await parts.log.openWriter();
      const { state } = await parts.jsm.streams.info(parts.stream);
      for (const place of ["1.0/1.0", "1.0/2.0", "1.0/3.0", "1.0/4.0", "1.0/5.0"])
        await writer.append(insertsAt(place));
      const deleteBatch = (number: number) => parts.jsm.streams.deleteMessage(parts.stream, state.last_seq + number);
      const purgeBefore = (number: number) => parts.jsm.streams.purge(parts.stream, { seq: state.last_seq + number });
      return { ...parts, writer, deleteBatch, purgeBefore };
    }

    it("tells a reader that comes to it, and reads on behind it", async () => {
      const { deleteBatch, readAfter } = await openWithHistory();
      const reader = await readAfter("1.0/1.0");
      await deleteBatch(3);
      expect(await reader.places(4)).toEqual(["1.0/2.0", "gap 1.0/2.0 1.0/3.0", "1.0/4.0", "1.0/5.0"]);
    });

    it("tells a reader who looks for a place in it, and not one who has what follows", async () => {
      const { deleteBatch, readAfter } = await openWithHistory();
      await deleteBatch(2);
      await deleteBatch(3);
      const expected = ["1.0/4.0", "1.0/5.0"];
      expect(await (await readAfter("1.0/1.0")).places(3)).toEqual(["gap 1.0/1.0 1.0/3.0", ...expected]);
      expect(await (await readAfter("1.0/2.0")).places(3)).toEqual(["gap 1.0/2.0 1.0/3.0", ...expected]);
      expect(await (await readAfter("1.0/3.0")).places(2)).toEqual(expected);
    });

    it("tells a reader before whom the history falls off", async () => {
      const { purgeBefore, readAfter } = await openWithHistory();
      const reader = await readAfter("1.0/1.0");
      await purgeBefore(4);
      const expected = ["gap 1.0/1.0 1.0/3.0", "1.0/4.0", "1.0/5.0"];
      expect(await reader.places(3)).toEqual(expected);
      expect(await (await readAfter("1.0/1.0")).places(3)).toEqual(expected);
    });

    it("tells of a hole at the end of the log as soon as the log goes on", async () => {
      const { jsm, stream, writer, readAfter } = await openWithHistory();
      const [behind, atEnd] = [await readAfter("1.0/1.0"), await readAfter("1.0/5.0")];
      await jsm.streams.purge(stream);
      await writer.append(insertsAt("1.0/6.0"));
      expect(await behind.places(2)).toEqual(["gap 1.0/1.0 1.0/5.0", "1.0/6.0"]);
      expect(await atEnd.places(1)).toEqual(["1.0/6.0"]);
    });

    it("finds the log's end before deleted messages", async () => {
      const { jsm, stream, log, deleteBatch } = await openWithHistory();
      await deleteBatch(5);
      expect((await log.openWriter()).last).toEqual(position("1.0/4.0"));
      await jsm.streams.purge(stream);
      expect((await log.openWriter()).last).toBeUndefined();
    });

    it("is known by a mark when retention has taken everything else", async () => {
      const { log, writer, purgeBefore, readAfter } = await openWithHistory();
      await writer.append(markBatch(position("1.0/5.0")));
      await purgeBefore(6);
      const now = await log.read({ from: "now", signal: new AbortController().signal });
      expect(now.start).toEqual(position("1.0/5.0"));
      expect(await (await readAfter("1.0/2.0")).places(1)).toEqual(["gap 1.0/2.0 1.0/5.0"]);
      const next = await log.openWriter();
      expect(next.last).toEqual(position("1.0/5.0"));
      await next.append(insertsAt("1.0/6.0"));
      expect(await (await readAfter("1.0/5.0")).places(1)).toEqual(["1.0/6.0"]);
    });

    it("is not where a writer believed it to end", async () => {
      const { log, jsm, stream, writer, readAfter } = await openWithHistory();
      const reader = await readAfter("1.0/4.0");
      const { state } = await jsm.streams.info(stream);
      // The tail is lost in a crash; a writer that had looked before comes after it with its marks.
      await writer.append(markBatch(position("1.0/9.0")));
      await jsm.streams.deleteMessage(stream, state.last_seq);
      const next = await log.openWriter();
      expect(next.last).toEqual(position("1.0/4.0"));
      await next.append(insertsAt("1.0/5.0"));
      await next.append(insertsAt("1.0/6.0"));
      expect(await reader.places(2)).toEqual(["1.0/5.0", "1.0/6.0"]);
      expect(await (await readAfter("1.0/4.0")).places(2)).toEqual(["1.0/5.0", "1.0/6.0"]);
    });

    it("tells a reader when the stream was deleted and made anew", async () => {
      const { jsm, stream, log, readAfter } = await openWithHistory();
      const reader = await readAfter("1.0/4.0");
      expect(await reader.places(1)).toEqual(["1.0/5.0"]);
      const following = reader.places(2);
      await jsm.streams.delete(stream);
      const writer = await log.openWriter();
      expect(writer.last).toBeUndefined();
      await writer.append(insertsAt("1.0/6.0"));
      expect(await following).toEqual(["gap 1.0/5.0 1.0/5.0", "1.0/6.0"]);
    });
  });

  it("tells a reader when the stream was made anew by a clock that was behind", async () => {
    const { jsm, stream, log, source, readAfter } = await open();
    const former = await log.openWriter();
    await former.raiseEpoch({ origin: "7/1", startLsn: position("2.0/5.0").commitLsn });
    await former.append(insertsAt("2.0/5.0"));
    const reader = await readAfter("2.0/4.0");
    expect(await reader.places(1)).toEqual(["2.0/5.0"]);
    const following = reader.places(2);
    await jsm.streams.delete(stream);
    const writer = await (await open({ source })).log.openWriter();
    expect(writer.epoch).toBe(1);
    await writer.append(insertsAt("1.0/6.0"));
    const expected = ["gap 0.0/0.0 1.0/0.0", "1.0/6.0"];
    expect(await following).toEqual(expected);
    expect(await (await readAfter("2.0/5.0")).places(2)).toEqual(expected);
  });

  // Once, refused messages that were chained by id left such a stream unusable.
  it("keeps a former writer's messages out of a cluster's stream, which goes on to serve", async () => {
    const cluster = await startNatsCluster();
    ends.push(() => cluster.stop());
    const { log } = await open({ url: cluster.url, replicas: 3 });
    const openWriter = () =>
      waitUntil(() => log.openWriter(), { what: "the cluster to keep a stream", timeoutMs: 20_000 });
    const former = await openWriter();
    await former.append(insertsAt("1.0/1.0"));
    const next = await openWriter();
    await next.append(insertsAt("1.0/2.0"));
    const places = Array.from({ length: 300 }, (_, index) => `1.0/${(index + 2).toString(16).toUpperCase()}.0`);
    const refused = await Promise.allSettled(places.map((place) => former.append(insertsAt(place))));
    for (const result of refused) expect(result).toMatchObject({ reason: { code: "APPEND_REFUSED" } });
    await Promise.all(places.slice(1).map((place) => next.append(insertsAt(place))));
    expect((await openWriter()).last).toEqual(position("1.0/12D.0"));
  });

  describe("when its server restarts", () => {
    async function startOwnNats(): Promise<{ server: ServerProcess; dataDir: string }> {
      const dataDir = mkdtempSync(join(tmpdir(), "walcast-change-log-test-"));
      const server = await startNats({ dataDir });
      ends.push(async () => {
        await server.stop();
        rmSync(dataDir, { recursive: true });
      });
      return { server, dataDir };
    }
    const openWriter = (log: NatsChangeLog) =>
      waitUntil(() => log.openWriter(), { what: "the change log to be writable again" });

    it.each(["stopped", "killed"])("reads on without loss or repeat: %s", async (how) => {
      const { server } = await startOwnNats();
      const { log, readAfter } = await open({ url: server.url });
      await (await log.openWriter()).append(insertsAt("1.0/1.0", "1.0/2.0"));
      const reader = await readAfter("1.0/1.0");
      expect(await reader.places(1)).toEqual(["1.0/2.0"]);
      const following = reader.places(3);
      await (how === "killed" ? server.kill9() : server.stop({ keepData: true }));
      await server.restart();
      const writer = await openWriter(log);
      expect(writer.last).toEqual(position("1.0/2.0"));
      await writer.append(insertsAt("1.0/3.0"));
      await writer.append(insertsAt("1.0/4.0", "1.0/5.0"));
      expect(await following).toEqual(["1.0/3.0", "1.0/4.0", "1.0/5.0"]);
    });

    it("reads on without repeat when the server comes back without the log's tail", async () => {
      const { server, dataDir } = await startOwnNats();
      const { log, readAfter } = await open({ url: server.url });
      await (await log.openWriter()).append(insertsAt("1.0/1.0", "1.0/2.0"));
      await server.stop({ keepData: true });
      const copy = `${dataDir}-copy`;
      ends.push(() => rmSync(copy, { recursive: true }));
      cpSync(dataDir, copy, { recursive: true });
      await server.restart();

      const reader = await readAfter("1.0/1.0");
      const former = await openWriter(log);
      for (const place of ["1.0/3.0", "1.0/4.0", "1.0/5.0"]) await former.append(insertsAt(place));
      expect(await reader.places(4)).toEqual(["1.0/2.0", "1.0/3.0", "1.0/4.0", "1.0/5.0"]);

      const following = reader.places(2);
      await server.stop({ keepData: true });
      rmSync(dataDir, { recursive: true });
      cpSync(copy, dataDir, { recursive: true });
      await server.restart();
      const next = await openWriter(log);
      expect(next.last).toEqual(position("1.0/2.0"));
      await next.append(insertsAt("1.0/3.0", "1.0/4.0"));
      await next.append(insertsAt("1.0/5.0", "1.0/6.0"));
      await next.append(insertsAt("1.0/7.0"));
      expect(await following).toEqual(["1.0/6.0", "1.0/7.0"]);
      expect(await (await readAfter("1.0/2.0")).places(5)).toEqual([
        "1.0/3.0",
        "1.0/4.0",
        "1.0/5.0",
        "1.0/6.0",
        "1.0/7.0",
      ]);
    });
  });
});
