import { Socket } from "node:net";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { divertCopyData, MessageCutter } from "./copy-data.ts";

const message = (tag: string, content: Uint8Array): Buffer => {
  const header = Buffer.alloc(5);
  header.write(tag, "latin1");
  header.writeUInt32BE(content.length + 4, 1);
  return Buffer.concat([header, content]);
};

/** What a cutter makes of these chunks. */
function cut(chunks: readonly Buffer[]): string[] {
  const seen: string[] = [];
  const cutter = new MessageCutter({
    copyData: (bytes, start, end) => seen.push(`d${bytes.toString("hex", start, end)}`),
    other: (bytes) => seen.push(bytes.toString("hex")),
  });
  for (const chunk of chunks) cutter.take(chunk);
  return seen;
}

const messages = fc.array(
  fc.record({ tag: fc.constantFrom("d", "d", "d", "c", "E"), content: fc.uint8Array({ maxLength: 60 }) }),
  { maxLength: 8 },
);

describe("MessageCutter", () => {
  it("gives every message whole, however the stream is cut", () => {
    fc.assert(
      fc.property(messages, fc.array(fc.nat(300)), (script, cuts) => {
        const stream = Buffer.concat(script.map(({ tag, content }) => message(tag, content)));
        const edges = [0, ...cuts.map((at) => Math.min(at, stream.length)).toSorted((a, b) => a - b), stream.length];
        const chunks = edges.slice(1).map((end, i) => stream.subarray(edges[i], end));
        expect(cut(chunks)).toEqual(
          script.map(({ tag, content }) =>
            tag === "d" ? `d${Buffer.from(content).toString("hex")}` : message(tag, content).toString("hex"),
          ),
        );
      }),
    );
  });

  it("gives every message whole when each byte comes alone", () => {
    const stream = Buffer.concat([
      message("d", Buffer.from("one")),
      message("c", Buffer.alloc(0)),
      message("d", stream10),
    ]);
    const bytes = [...stream].map((byte) => Buffer.from([byte]));
    expect(cut(bytes)).toEqual(cut([stream]));
    expect(cut(bytes)).toHaveLength(3);
  });

  it("keeps nothing of a message that is not complete", () => {
    expect(cut([message("d", stream10).subarray(0, 14)])).toEqual([]);
  });
});

describe("divertCopyData", () => {
  it("leaves all but CopyData to who listened before", () => {
    const socket = new Socket();
    const before: string[] = [];
    const diverted: string[] = [];
    let chunks = 0;
    socket.on("data", (bytes: Buffer) => before.push(bytes.toString("latin1", 0, 1)));
    divertCopyData(socket, {
      copyData: (bytes, start, end) => diverted.push(bytes.toString("latin1", start, end)),
      chunkEnd: () => chunks++,
    });
    socket.emit("data", Buffer.concat([message("W", stream10), message("d", Buffer.from("row"))]));
    socket.emit("data", message("E", stream10));
    expect({ before, diverted, chunks }).toEqual({ before: ["W", "E"], diverted: ["row"], chunks: 2 });
    socket.destroy();
  });
});

const stream10 = Buffer.from("0123456789");
