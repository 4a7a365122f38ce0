import { randomBytes } from "node:crypto";
import { waitUntil } from "@walcast/testkit";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { messageBytesLimit, type Address, type Bus } from "./ports.ts";

export interface TestNetwork {
  /** One more bus of the same network, ready to be used. The suite closes it. */
  open(): Promise<Bus>;
}

const room: Address = { kind: "broadcast", topic: "public:room" };
const bytesOf = (text: string): Uint8Array => Buffer.from(text);
const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

/** Takes down what a bus hears of an address. */
export function listen(bus: Bus, address: Address = room): { readonly heard: string[]; readonly stop: () => void } {
  const heard: string[] = [];
  return { heard, stop: bus.subscribe(address, (bytes) => heard.push(textOf(bytes))) };
}

/** What every bus does: the suite that all adapters run. */
export function describeBus(name: string, createNetwork: () => TestNetwork): void {
  describe(`${name} is a bus that`, () => {
    let buses: Bus[];
    let network: TestNetwork;
    beforeEach(() => {
      [buses, network] = [[], createNetwork()];
    });
    afterEach(() => Promise.all(buses.map((bus) => bus.close())));

    const open = async (): Promise<Bus> => {
      const bus = await network.open();
      buses.push(bus);
      return bus;
    };
    /** Everything published before has arrived where it was going. */
    const settled = async (...listeners: readonly Bus[]): Promise<void> => {
      const [address, mark] = [{ ...room, topic: "settled" }, randomBytes(8).toString("hex")];
      const marks = listeners.map((bus) => listen(bus, address));
      for (const bus of listeners) await bus.flush();
      for (const bus of buses) bus.publish(address, bytesOf(mark));
      // A bus does not hear its own mark.
      await waitUntil(() => marks.every(({ heard }) => heard.length >= buses.length - 1), { what: "the marks" });
      for (const { stop } of marks) stop();
    };

    it("carries a message to all other buses, and not to the one it came from", async () => {
      const [one, two, three] = [await open(), await open(), await open()];
      const listeners = [one, two, three].map((bus) => listen(bus));
      await settled(one, two, three);
      expect(one.publish(room, bytesOf("hello"))).toBe("sent");
      await settled(one, two, three);
      expect(listeners.map(({ heard }) => heard)).toEqual([[], ["hello"], ["hello"]]);
    });

    it("keeps kinds and topics apart, whatever a topic holds", async () => {
      const [sender, receiver] = [await open(), await open()];
      const long = "x".repeat(10_000);
      const topics = [
        "",
        " ",
        "a",
        "a.b",
        "a.*",
        "a.>",
        "*",
        ">",
        "a b",
        "a%20b",
        "%",
        "$",
        "ünïcode 🎈",
        "line\r\nPUB x 0\r\n",
        "\u0000",
        long,
        `${long}y`,
      ];
      const addresses = (["broadcast", "presence"] as const).flatMap((kind) =>
        topics.map((topic): Address => ({ kind, topic })),
      );
      const listeners = addresses.map((address) => listen(receiver, address));
      await settled(receiver);
      addresses.forEach((address, index) => sender.publish(address, bytesOf(String(index))));
      await settled(receiver);
      expect(listeners.map(({ heard }) => heard)).toEqual(addresses.map((_, index) => [String(index)]));
    });

    it("keeps each sender's order, also of messages of very different sizes", async () => {
      const [one, two, receiver] = [await open(), await open(), await open()];
      const heard: Uint8Array[] = [];
      receiver.subscribe(room, (bytes) => heard.push(bytes));
      await settled(receiver);
      const count = 1_000;
      const padding = Buffer.alloc(3_000_000, ".");
      for (let i = 0; i < count; i++) {
        one.publish(room, bytesOf(`one ${i} `));
        two.publish(room, Buffer.concat([bytesOf(`two ${i} `), i % 250 === 7 ? padding : Buffer.alloc(i % 50)]));
      }
      await waitUntil(() => heard.length === 2 * count, { what: "all messages" });
      for (const name of ["one", "two"]) {
        const numbers = heard.map((bytes) => textOf(bytes.subarray(0, 10)).split(" ")).filter(([of]) => of === name);
        expect(numbers.map(([, number]) => Number(number))).toEqual(Array.from({ length: count }, (_, i) => i));
      }
    });

    it("carries any bytes, none and many", async () => {
      const [sender, receiver] = [await open(), await open()];
      const heard: Uint8Array[] = [];
      receiver.subscribe(room, (bytes) => heard.push(bytes));
      await settled(receiver);
      const messages = [0, 1, 100_000, 1_048_576, 5_000_000].map((size) => randomBytes(size));
      for (const message of messages) sender.publish(room, message);
      await waitUntil(() => heard.length === messages.length, { what: "all messages" });
      expect(heard.map((bytes, index) => Buffer.compare(bytes, messages[index] ?? Buffer.alloc(0)))).toEqual(
        messages.map(() => 0),
      );
    });

    it("hands each subscription of an address each message once, until it is stopped", async () => {
      const [sender, receiver] = [await open(), await open()];
      const [first, second] = [listen(receiver), listen(receiver)];
      await settled(receiver);
      sender.publish(room, bytesOf("both"));
      await settled(receiver);
      first.stop();
      first.stop();
      sender.publish(room, bytesOf("second"));
      await settled(receiver);
      second.stop();
      await receiver.flush();
      sender.publish(room, bytesOf("none"));
      await settled(receiver);
      const third = listen(receiver);
      await settled(receiver);
      sender.publish(room, bytesOf("third"));
      await settled(receiver);
      expect([first.heard, second.heard, third.heard]).toEqual([["both"], ["both", "second"], ["third"]]);
    });

    it("refuses what nobody would put together again", async () => {
      const bus = await open();
      expect(() => bus.publish(room, Buffer.alloc(messageBytesLimit + 1))).toThrow("above the 33554432 bytes");
    });

    it("neither sends nor hears after it was closed, which may happen twice", async () => {
      const [sender, closed, other] = [await open(), await open(), await open()];
      const [deaf, hearing] = [listen(closed), listen(other)];
      await settled(closed, other);
      await closed.close();
      await closed.close();
      buses.splice(buses.indexOf(closed), 1);
      expect(closed.publish(room, bytesOf("from the closed one"))).toBe("away");
      await closed.flush();
      sender.publish(room, bytesOf("to the open ones"));
      await settled(other);
      expect([deaf.heard, hearing.heard]).toEqual([[], ["to the open ones"]]);
    });
  });
}
