import { expect, it } from "vitest";
import { ReceivedFrames } from "./received-frames.ts";

const endOfTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Each frame takes 2 ms, if not told otherwise, of a clock that stands still; those that begin with "publish" are published. */
function open(frameMs = 2) {
  const handled: string[] = [];
  let nowMs = 0;
  const frames = new ReceivedFrames<string>({
    handle: (connection, frame) => {
      handled.push(`${connection} ${String(frame)}`);
      nowMs += frameMs;
      if (String(frame).startsWith("publish")) frames.published();
    },
    now: () => nowMs,
  });
  return { frames, handled };
}

it("handles frames in the order in which they came, in the next turn", async () => {
  const { frames, handled } = open();
  frames.add("a", "1");
  frames.add("b", "2");
  expect(handled).toEqual([]);
  await endOfTurn();
  expect(handled).toEqual(["a 1", "b 2"]);
  frames.add("a", "3");
  await endOfTurn();
  expect(handled.at(-1)).toBe("a 3");
});

it("lets others have their turns when there is much to handle", async () => {
  const { frames, handled } = open();
  for (let i = 0; i < 5; i++) frames.add("a", String(i));
  const counts: number[] = [];
  for (let i = 0; i < 3; i++) {
    await endOfTurn();
    counts.push(handled.length);
  }
  expect(counts).toEqual([2, 4, 5]);
});

it("publishes more of them in one turn, but not without end", async () => {
  const { frames, handled } = open();
  frames.add("a", "1");
  for (let i = 0; i < 20; i++) frames.add("a", `publish ${i}`);
  await endOfTurn();
  expect(handled).toHaveLength(13); // 26 ms
  await endOfTurn();
  expect(handled).toHaveLength(21);
});

it("publishes no more in one turn than the library keeps together", async () => {
  const { frames, handled } = open(0.1);
  for (let i = 0; i < 50; i++) frames.add("a", `publish ${i}`);
  await endOfTurn();
  expect(handled).toHaveLength(31);
  await endOfTurn();
  expect(handled).toHaveLength(50);
});

it("handles what one connection sent at once when that is gone, and nothing twice", async () => {
  const { frames, handled } = open();
  for (const frame of ["1", "2"]) for (const connection of ["a", "b"]) frames.add(connection, frame);
  frames.handleAllOf("b");
  expect(handled).toEqual(["b 1", "b 2"]);
  frames.handleAllOf("b");
  await endOfTurn();
  await endOfTurn();
  expect(handled).toEqual(["b 1", "b 2", "a 1", "a 2"]);
});
