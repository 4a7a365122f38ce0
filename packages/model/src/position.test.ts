import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { comparePositions, formatLsn, formatPosition, parseLsn, parsePosition, toLsn, type Position } from "./index.ts";

const lsns = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }).map(toLsn);
const positions: fc.Arbitrary<Position> = fc.record({
  epoch: fc.nat(999_999_999),
  commitLsn: lsns,
  index: fc.nat(),
});

describe("lsn", () => {
  it("prints and reads PostgreSQL's text form", () => {
    expect(formatLsn(toLsn(0x16_b374_d848n))).toBe("16/B374D848");
    fc.assert(fc.property(lsns, (lsn) => parseLsn(formatLsn(lsn)) === lsn));
  });

  it.each(["", "/", "1/", "/1", "1/2/3", "g/1", "123456789/0", "0/123456789", " 0/1"])("refuses %j", (text) => {
    expect(parseLsn(text)).toBeUndefined();
  });

  it("orders by value, where text would not", () => {
    const [low, high] = [parseLsn("0/FFFFFFFF"), parseLsn("1/0")];
    expect(low !== undefined && high !== undefined && low < high).toBe(true);
  });
});

describe("position", () => {
  it("survives its text form", () => {
    fc.assert(
      fc.property(positions, (position) => {
        expect(parsePosition(formatPosition(position))).toEqual(position);
      }),
    );
  });

  it("is totally ordered", () => {
    fc.assert(
      fc.property(positions, positions, positions, (a, b, c) => {
        expect(Math.sign(comparePositions(a, b))).toBe(-Math.sign(comparePositions(b, a)) + 0);
        if (comparePositions(a, b) <= 0 && comparePositions(b, c) <= 0) {
          expect(comparePositions(a, c)).toBeLessThanOrEqual(0);
        }
      }),
    );
  });

  it("compares epoch first, then commit, then index", () => {
    const at = (text: string) => parsePosition(text) ?? expect.fail(text);
    const ordered = ["1.0/2.9", "1.0/10.0", "1.0/10.1", "1.1/0.0", "2.0/1.0"].map(at);
    expect(ordered.toSorted(comparePositions)).toEqual(ordered);
  });

  it.each(["", "1", "1.0/1", "1.0/1.x", "x.0/1.1", "1.0/1.1.1", "-1.0/1.0"])("refuses %j", (text) => {
    expect(parsePosition(text)).toBeUndefined();
  });
});
