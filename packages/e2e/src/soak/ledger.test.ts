import { afterEach, describe, expect, it, vi } from "vitest";
import { Ledger, type Session } from "./ledger.ts";

afterEach(() => void vi.restoreAllMocks());

/** A sender and a receiver in one room, long enough there for everything to count. */
function setUp() {
  let nowMs = 1_000;
  vi.spyOn(performance, "now").mockImplementation(() => nowMs);
  const ledger = new Ledger(5_000);
  const begin = (client: number, connection = 1): Session => ledger.begin({ client, room: 7, connection });
  const [sender, receiver] = [begin(1), begin(2)];
  for (const session of [sender, receiver]) session.liveMs = nowMs;
  const pass = (ms: number): void => void (nowMs += ms);
  const send = (): number => {
    const number = ledger.sent(sender);
    ledger.acknowledged(number);
    return number;
  };
  pass(3_000);
  return { ledger, sender, receiver, begin, pass, send, now: () => nowMs };
}

describe("the ledger", () => {
  it("finds the change that one of two did not get, and nothing else", () => {
    const { ledger, receiver, send, now } = setUp();
    for (const number of [send(), send()]) ledger.receivedBroadcast(receiver, number);
    ledger.committed({ id: 1, room: 7, begunMs: now() });
    ledger.receivedChange(receiver, 1, 7);
    const { broadcasts_compared: broadcasts, changes_compared: changes } = ledger.audit();
    expect([broadcasts, changes]).toEqual([2, 2]);
    expect(ledger.problems).toEqual(["client 1 lost change 1"]); // the sender hears changes, too
  });

  it("finds a broadcast that did not come, unless it was not acknowledged or one of the two went", () => {
    const { ledger, sender, receiver, send, pass, now } = setUp();
    send();
    ledger.sent(sender);
    pass(10_000);
    receiver.endMs = now();
    send();
    ledger.audit();
    expect(ledger.problems).toEqual(["client 2 lost broadcast 0 of client 1"]);
  });

  it("finds what comes twice, in another order, or in another room", () => {
    const { ledger, receiver, send } = setUp();
    const [first, second] = [send(), send()];
    for (const number of [second, first, second]) ledger.receivedBroadcast(receiver, number);
    for (const id of [2, 1, 1]) ledger.receivedChange(receiver, id, 7);
    ledger.receivedChange(receiver, 3, 8);
    expect(ledger.problems).toEqual([
      "client 2 got broadcast 0 of 1 after 1",
      "client 2 got broadcast 1 of 1 after 1",
      "client 2 got change 1 after 2",
      "client 2 got change 1 after 1",
      "client 2 of room 7 got a change of 8",
    ]);
  });

  it("takes another order of two connections for wrong when the first had its acknowledgement, or what comes is known", () => {
    const { ledger, sender, receiver, begin, pass, send } = setUp();
    const [lost, acknowledged] = [ledger.sent(sender), send()];
    pass(1);
    const [rejoined, reconnected] = [ledger.sent(begin(1)), ledger.sent(begin(1, 2))];
    for (const number of [reconnected, lost, acknowledged, rejoined, lost]) ledger.receivedBroadcast(receiver, number);
    expect(ledger.problems).toEqual([
      `client 2 got broadcast ${acknowledged} of 1 after ${reconnected}`,
      `client 2 got broadcast ${lost} of 1 after ${reconnected}`,
    ]);
    const other = begin(3);
    for (const number of [rejoined, lost]) ledger.receivedBroadcast(other, number);
    expect(ledger.problems.at(-1)).toBe(`client 3 got broadcast ${lost} of 1 after ${rejoined}`);
  });
});
