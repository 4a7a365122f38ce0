import type { Claims } from "@walcast/authz";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { TokenExpiry } from "./token-expiry.ts";

beforeEach(() => void vi.useFakeTimers({ now: 0 }));
afterEach(() => void vi.useRealTimers());

const claims = (exp: number): Claims => ({ role: "anon", exp });

function watch(): { expiry: TokenExpiry; ends: number[] } {
  const ends: number[] = [];
  return { expiry: new TokenExpiry({ now: Date.now, onExpired: (secondsAgo) => ends.push(secondsAgo) }), ends };
}

it("tells of the end once, however far away it is", () => {
  const { expiry, ends } = watch();
  expiry.watch(claims(3_600));
  vi.advanceTimersByTime(3_599_000);
  expect(ends).toEqual([]);
  vi.advanceTimersByTime(10_000);
  expect(ends).toEqual([0]);
});

it("tells at once of a token that has ended, and not of one that was stopped or replaced", () => {
  const { expiry, ends } = watch();
  vi.setSystemTime(100_000);
  expiry.watch(claims(97));
  vi.advanceTimersByTime(1);
  expect(ends).toEqual([3]);
  expiry.watch(claims(110));
  expiry.watch(claims(120));
  vi.advanceTimersByTime(15_000);
  expect(ends).toEqual([3]);
  expiry.stop();
  vi.advanceTimersByTime(60_000);
  expect(ends).toEqual([3]);
});

it("gives a token as long behind its end as those who verify it", () => {
  const ends: number[] = [];
  const expiry = new TokenExpiry({ now: Date.now, toleranceMs: 60_000, onExpired: (ago) => ends.push(ago) });
  vi.setSystemTime(100_000);
  expiry.watch(claims(80));
  vi.advanceTimersByTime(39_000);
  expect(ends).toEqual([]);
  vi.advanceTimersByTime(2_000);
  expect(ends).toEqual([60]);
});

it("notices when the clock was set on while nobody looked", () => {
  const { expiry, ends } = watch();
  expiry.watch(claims(86_400));
  vi.setSystemTime(90_000_000);
  vi.advanceTimersByTime(5 * 60_000);
  expect(ends).toEqual([3_900]);
});
