import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { headers } from "@nats-io/nats-core";
import { connect } from "@nats-io/transport-node";
import { freePort, startNats, startProxy, waitUntil } from "@walcast/testkit";
import { afterEach, describe, expect, inject, it } from "vitest";
import { describeBus, listen } from "./conformance.ts";
import { BusMisfitError, BusUnavailableError } from "./errors.ts";
import { NatsBus } from "./nats.ts";
import type { Address } from "./ports.ts";
import { addressSubject } from "./subjects.ts";

const room: Address = { kind: "broadcast", topic: "public:room" };
const uniqueSource = (): string => `test ${randomBytes(6).toString("hex")}`;

interface OpenBus {
  readonly bus: NatsBus;
  /** What the bus told of itself, in order. */
  readonly troubles: (Error | undefined)[];
  readonly untilUp: () => Promise<unknown>;
  readonly untilAway: () => Promise<unknown>;
}

function openBus({ source, url = inject("natsUrl") }: { source: string; url?: string }): OpenBus {
  const troubles: (Error | undefined)[] = [];
  const bus = NatsBus.open({
    source,
    url,
    name: "a test",
    onTrouble: (trouble) => troubles.push(trouble),
    backoff: (_, signal) => delay(10, undefined, { signal }).catch(() => undefined),
  });
  const told = (): boolean => troubles.length > 0;
  return {
    bus,
    troubles,
    untilUp: () => waitUntil(() => told() && troubles.at(-1) === undefined, { what: "the bus to be up" }),
    untilAway: () => waitUntil(() => troubles.at(-1) !== undefined, { what: "the bus to be away", timeoutMs: 20_000 }),
  };
}

describeBus("NatsBus", () => {
  const source = uniqueSource();
  return {
    async open() {
      const { bus, untilUp } = openBus({ source });
      await untilUp();
      return bus;
    },
  };
});

describe("NatsBus", () => {
  const ends: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const end of ends.splice(0).toReversed()) await end();
  });
  function open(options: { source: string; url?: string }): OpenBus {
    const opened = openBus(options);
    ends.push(() => opened.bus.close());
    return opened;
  }
  /** Publishes until somebody hears it: a subscription takes its time to be known everywhere. */
  const untilHeard = (from: NatsBus, heard: readonly string[], text: string): Promise<unknown> =>
    waitUntil(
      () => {
        from.publish(room, Buffer.from(text));
        return heard.includes(text);
      },
      { what: `"${text}" to be heard`, timeoutMs: 20_000 },
    );

  it("is heard by buses of the same source only", async () => {
    const [source, other] = [uniqueSource(), uniqueSource()];
    const [sender, receiver, stranger] = [open({ source }), open({ source }), open({ source: other })];
    await Promise.all([sender, receiver, stranger].map(({ untilUp }) => untilUp()));
    const [heard, strange] = [listen(receiver.bus).heard, listen(stranger.bus).heard];
    await untilHeard(sender.bus, heard, "hello");
    await stranger.bus.flush();
    expect(strange).toEqual([]);
  });

  it("can be used before its server is there, says so, and connects when it comes", async () => {
    const port = await freePort();
    const source = uniqueSource();
    const [one, two] = [
      open({ source, url: `nats://127.0.0.1:${port}` }),
      open({ source, url: `nats://127.0.0.1:${port}` }),
    ];
    const { heard } = listen(two.bus);
    expect(one.bus.publish(room, Buffer.from("early"))).toBe("away");
    await one.untilAway();
    expect(one.troubles[0]).toBeInstanceOf(BusUnavailableError);
    expect(one.troubles[0]).toMatchObject({ code: "BUS_UNAVAILABLE", cause: expect.any(Error) as Error });
    const server = await startNats({ port });
    ends.unshift(() => server.stop());
    await Promise.all([one.untilUp(), two.untilUp()]);
    await untilHeard(one.bus, heard, "late");
    expect(heard).not.toContain("early");
  });

  it("tells of a cut, keeps nothing for later, and hears again when it is healed", async () => {
    const source = uniqueSource();
    const proxy = await startProxy({ target: inject("natsUrl") });
    ends.push(() => proxy.stop());
    const [near, far] = [open({ source, url: proxy.url }), open({ source })];
    await Promise.all([near.untilUp(), far.untilUp()]);
    const [{ heard }, { heard: heardFar }] = [listen(near.bus), listen(far.bus)];
    await untilHeard(far.bus, heard, "before");
    proxy.cut();
    await near.untilAway();
    expect(near.troubles.at(-1)?.message).toContain("broadcasts do not reach clients of other gateways");
    expect(near.bus.publish(room, Buffer.from("meanwhile"))).toBe("away");
    const late: Address = { kind: "presence", topic: "subscribed meanwhile" };
    const { heard: heardLate } = listen(near.bus, late);
    proxy.heal();
    await near.untilUp();
    await untilHeard(far.bus, heard, "after");
    await untilHeard(near.bus, heardFar, "back");
    await waitUntil(
      () => {
        far.bus.publish(late, Buffer.from("too"));
        return heardLate.includes("too");
      },
      { what: "the subscription made during the cut" },
    );
    expect(heardFar).not.toContain("meanwhile");
  });

  it("drops what a server that stopped reading leaves beyond a limit, and goes on when it reads again", async () => {
    const source = uniqueSource();
    const proxy = await startProxy({ target: inject("natsUrl") });
    ends.push(() => proxy.stop());
    const [near, far] = [open({ source, url: proxy.url }), open({ source })];
    await Promise.all([near.untilUp(), far.untilUp()]);
    const { heard } = listen(far.bus);
    await untilHeard(near.bus, heard, "before");
    proxy.stall();
    const megabyte = Buffer.alloc(1_000_000);
    const outcomes = Array.from({ length: 80 }, () => near.bus.publish({ ...room, topic: "other" }, megabyte));
    expect(outcomes.filter((outcome) => outcome === "sent").length).toBeLessThan(70);
    expect(outcomes.at(-1)).toBe("away");
    proxy.heal();
    await untilHeard(near.bus, heard, "after");
  });

  it("carries messages above the server's max_payload in parts, and refuses a server that takes next to nothing", async () => {
    const server = await startNats({ extraConfig: "max_payload: 8192" });
    ends.push(() => server.stop());
    const source = uniqueSource();
    const [sender, receiver] = [open({ source, url: server.url }), open({ source, url: server.url })];
    await Promise.all([sender.untilUp(), receiver.untilUp()]);
    const heard: Uint8Array[] = [];
    receiver.bus.subscribe(room, (bytes) => heard.push(bytes));
    await receiver.bus.flush();
    const message = randomBytes(1_000_000);
    expect(sender.bus.publish(room, message)).toBe("sent");
    await waitUntil(() => heard.length === 1, { what: "the message" });
    expect(message.equals(heard[0] ?? Buffer.alloc(0))).toBe(true);

    const tiny = await startNats({ extraConfig: "max_payload: 600" });
    ends.push(() => tiny.stop());
    const refusing = open({ source, url: tiny.url });
    await refusing.untilAway();
    expect(refusing.troubles[0]).toBeInstanceOf(BusMisfitError);
  });

  it("passes over a stranger's parts and hears what comes between them", async () => {
    const source = uniqueSource();
    const [sender, receiver] = [open({ source }), open({ source })];
    await Promise.all([sender.untilUp(), receiver.untilUp()]);
    const { heard } = listen(receiver.bus);
    await receiver.bus.flush();
    const stranger = await connect({ servers: inject("natsUrl") });
    ends.push(() => stranger.close());
    for (const text of ["garbage", "x 1 2/2", "x 1 1/2", "x 2 2/2"]) {
      const part = headers();
      part.set("Walcast-Part", text);
      stranger.publish(addressSubject(source, room), Buffer.from(text), { headers: part });
    }
    await stranger.flush();
    await untilHeard(sender.bus, heard, "ours");
    expect(new Set(heard)).toEqual(new Set(["ours"]));
  });

  it("can be closed while it is away", async () => {
    const { bus, untilAway } = openBus({ source: "s", url: `nats://127.0.0.1:${await freePort()}` });
    await untilAway();
    await bus.close();
    expect(bus.publish(room, Buffer.from("x"))).toBe("away");
  });
});
