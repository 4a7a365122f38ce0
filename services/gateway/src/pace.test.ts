import { expect, it } from "vitest";
import { Pace } from "./pace.ts";

/** A clock that goes on by work and by sleep alone. */
function start(options: { turnMs: number; rest: number }) {
  let nowMs = 0;
  const wakers: (() => void)[] = [];
  const slept: number[] = [];
  const pace = new Pace({
    ...options,
    now: () => nowMs,
    sleep: (ms) => {
      slept.push(ms);
      return new Promise((resolve) => wakers.push(resolve));
    },
  });
  const spend = (ms: number): void => void (nowMs += ms);
  return { pace, slept, spend, wake: () => wakers.shift()?.(), work: (ms: number) => pace.work(() => spend(ms)) };
}

it("rests in proportion when the time of a turn is used up, in one piece or in many", async () => {
  const { slept, wake, work } = start({ turnMs: 2, rest: 3 });
  await work(1);
  expect(slept).toEqual([]);
  await work(1.5);
  expect(slept).toEqual([7.5]);
  wake();
  await work(10);
  expect(slept).toEqual([7.5, 30]);
});

it("lets those who wait work one after the other, and keeps the others waiting once the turn is over", async () => {
  const { wake, work } = start({ turnMs: 2, rest: 1 });
  await work(2);
  const done: number[] = [];
  const waiting = [1, 2, 3].map(async (one) => {
    await work(1);
    done.push(one);
  });
  await new Promise(setImmediate);
  expect(done).toEqual([]);
  wake();
  await new Promise(setImmediate);
  expect(done).toEqual([1, 2]);
  wake();
  await Promise.all(waiting);
  expect(done).toEqual([1, 2, 3]);
});

it("counts what failed too", async () => {
  const { pace, slept, spend } = start({ turnMs: 2, rest: 1 });
  const failing = (): never => {
    spend(2);
    throw new Error("no");
  };
  await expect(pace.work(failing)).rejects.toThrow("no");
  expect(slept).toEqual([2]);
});
