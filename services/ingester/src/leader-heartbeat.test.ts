import { describe, expect, it } from "vitest";
import { SilenceWatch } from "./leader-heartbeat.ts";

describe("SilenceWatch", () => {
  const watch = () => new SilenceWatch({ limitMs: 3_000, nowMs: 10_000 });
  const hearing = (nowMs: number) => ({ nowMs, canHear: true });

  it("counts from its own beginning, so that a standby which just came does not judge", () => {
    const silence = watch();
    expect(silence.isSilent(hearing(12_999))).toBe(false);
    expect(silence.isSilent(hearing(13_000))).toBe(true);
  });

  it("counts anew from every heartbeat", () => {
    const silence = watch();
    silence.heard(12_900);
    expect(silence.isSilent(hearing(15_899))).toBe(false);
    expect(silence.isSilent(hearing(15_900))).toBe(true);
  });

  it("counts nothing while it cannot hear, and begins anew when it can", () => {
    const silence = watch();
    expect(silence.isSilent({ nowMs: 20_000, canHear: false })).toBe(false);
    expect(silence.isSilent(hearing(22_999))).toBe(false);
    expect(silence.isSilent(hearing(23_000))).toBe(true);
  });
});
