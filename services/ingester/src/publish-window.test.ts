import { describe, expect, it } from "vitest";
import { PublishWindow } from "./publish-window.ts";

/** The append of one batch, ended by the test. */
const appending = () => Promise.withResolvers<void>();

/** Whether the promise is settled once everything that can go on has gone on. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  promise.then(
    () => (settled = true),
    () => (settled = true),
  );
  await new Promise(setImmediate);
  return settled;
}

describe("PublishWindow", () => {
  it("admits without waiting as long as there is room", async () => {
    const window = new PublishWindow({ limitBytes: 100 });
    await window.admit(40, appending().promise);
    await window.admit(59, appending().promise);
    expect(window.inFlightBytes).toBe(99);
  });

  it("tells how much is on its way, down to nothing", async () => {
    const told: number[] = [];
    const window = new PublishWindow({ limitBytes: 100, onChange: (bytes) => told.push(bytes) });
    await window.admit(40, Promise.resolve());
    await window.admit(50, Promise.reject(new Error("lost"))).catch(() => undefined);
    await new Promise(setImmediate);
    expect(told.at(-1)).toBe(0);
    expect(Math.max(...told)).toBeGreaterThan(0);
  });

  it("lets wait who fills it, until appends are stored, in whatever order", async () => {
    const window = new PublishWindow({ limitBytes: 100 });
    const [first, second, third] = [appending(), appending(), appending()];
    await window.admit(50, first.promise);
    await window.admit(49, second.promise);
    const waiting = window.admit(50, third.promise);
    expect(await isSettled(waiting)).toBe(false);
    third.resolve();
    await waiting;
    expect(window.inFlightBytes).toBe(99);
  });

  it("lets a batch larger than the window pass when it is alone", async () => {
    const window = new PublishWindow({ limitBytes: 100 });
    const large = appending();
    const waiting = window.admit(1000, large.promise);
    expect(await isSettled(waiting)).toBe(false);
    large.resolve();
    await waiting;
    expect(window.inFlightBytes).toBe(0);
  });

  it("is drained when everything is stored", async () => {
    const window = new PublishWindow({ limitBytes: 100 });
    await window.drained();
    const [first, second] = [appending(), appending()];
    await window.admit(1, first.promise);
    await window.admit(1, second.promise);
    const draining = window.drained();
    first.resolve();
    expect(await isSettled(draining)).toBe(false);
    second.resolve();
    await draining;
  });

  it("rejects with the first failure: who waits, who comes later, and who asks", async () => {
    const window = new PublishWindow({ limitBytes: 100 });
    const [first, second] = [appending(), appending()];
    const failed = window.failed();
    await window.admit(60, first.promise);
    const waiting = window.admit(60, second.promise);
    const draining = window.drained();
    first.reject(new Error("refused"));
    second.reject(new Error("refused too"));
    for (const rejected of [failed, waiting, draining, window.drained(), window.admit(1, Promise.resolve())]) {
      await expect(rejected).rejects.toThrow(/^refused$/);
    }
    expect(() => window.throwIfFailed()).toThrow("refused");
  });

  it("has not failed while nothing failed", async () => {
    const window = new PublishWindow({ limitBytes: 100 });
    const failed = window.failed();
    await window.admit(1, Promise.resolve());
    await window.drained();
    expect(await isSettled(failed)).toBe(false);
    window.throwIfFailed();
  });
});
