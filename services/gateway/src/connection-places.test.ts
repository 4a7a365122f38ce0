import { parsePosition, formatPosition, type Position } from "@walcast/model";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ConnectionPlaces, type PlacedChannel } from "./connection-places.ts";
import { MemoryPlaceStore } from "./memory-place-store.ts";
import type { PlaceStore } from "./place-store.ts";

const at = (text: string): Position => {
  const position = parsePosition(text);
  if (position === undefined) throw new Error(`${text} is no position`);
  return position;
};
const from = (text: string) => ({ tag: "from", position: at(text) });
const present = at("1.0/10.0");
const claimsOf = (role: string, sub: string) => ({ role, sub, exp: 0 });

type TestChannel = { -readonly [Name in keyof PlacedChannel]: PlacedChannel[Name] };
const channelOf = (more: Partial<TestChannel> = {}): TestChannel => ({
  topic: "realtime:rows",
  claims: undefined,
  membership: { place: present },
  ended: new AbortController(),
  ...more,
});
const moveTo = (channel: TestChannel, place: string): void => void (channel.membership = { place: at(place) });

const rememberMs = 60_000;
const id = "an id of sixteen or more";
let store: PlaceStore;
const opened: ConnectionPlaces[] = [];
beforeEach(() => {
  vi.useFakeTimers();
  store = new MemoryPlaceStore({ keepMs: rememberMs });
});
afterEach(() => {
  for (const places of opened.splice(0)) places.close();
  vi.useRealTimers();
});

/** A connection whose client answers pings when it is told to. */
function connect(on = store) {
  const pings: string[] = [];
  const places = new ConnectionPlaces({ id, store: on, rememberMs, ping: (payload) => pings.push(payload) });
  opened.push(places);
  return {
    places,
    pings,
    begin: (channel: TestChannel) => places.begin(channel, present),
    tick: () => vi.advanceTimersByTimeAsync(1_000),
    pong: async () => {
      places.ponged(pings.at(-1) ?? "none");
      await vi.advanceTimersByTimeAsync(0);
    },
  };
}

/** Where the next connection of the client would begin. */
const next = (channel = channelOf()) => connect().begin({ ...channel, ended: new AbortController() });

describe("ConnectionPlaces", () => {
  it("goes on from what was sent before a ping, once its pong is there", async () => {
    const { begin, tick, pong, pings } = connect();
    const channel = channelOf();
    expect(await begin(channel)).toEqual({ tag: "present" });
    moveTo(channel, "1.0/18.2");
    await tick();
    moveTo(channel, "1.0/20.0"); // sent behind the ping: nobody knows whether it arrives
    await tick();
    expect(pings).toEqual(["1"]);
    await pong();
    expect(await next()).toEqual(from("1.0/18.2"));
  });

  it("loses nothing of a client that is cut off at once", async () => {
    const { begin, places } = connect();
    const channel = channelOf();
    await begin(channel);
    moveTo(channel, "1.0/18.2");
    places.close();
    expect(await next()).toEqual(from(formatPosition(present)));
  });

  it("does not take another payload, nor the same one twice, for an answer", async () => {
    const { begin, tick, pong, places } = connect();
    const channel = channelOf();
    await begin(channel);
    await tick();
    moveTo(channel, "1.0/18.2");
    places.ponged("2");
    await pong();
    await pong();
    expect(await next()).toEqual(from(formatPosition(present)));
  });

  it("says nothing where nothing is new, and notes again what would be forgotten", async () => {
    const noted: string[] = [];
    const { begin, tick, pong, pings } = connect({
      claim: (claim) => store.claim(claim),
      forget: (placement) => store.forget(placement),
      note(notes) {
        noted.push(...notes.places.map(({ place }) => place));
        return store.note(notes);
      },
    });
    await begin(channelOf());
    await tick();
    await pong();
    for (let i = 0; i < 15; i++) await tick();
    expect([pings, noted]).toEqual([["1"], []]);
    for (let i = 0; i < 10; i++) await tick();
    expect([pings, noted]).toEqual([["1"], [formatPosition(present)]]);
  });

  it("lets a join say where it begins, and remembers that", async () => {
    const { begin } = connect();
    await begin(channelOf());
    expect(await next(channelOf({ resumeFrom: at("1.0/8.1") }))).toEqual(from("1.0/8.1"));
    expect(await next()).toEqual(from("1.0/8.1"));
  });

  it("keeps topics and users apart, and follows a token to another user", async () => {
    const { begin, tick, pong } = connect();
    const channel = channelOf({ claims: claimsOf("authenticated", "ann") });
    await begin(channel);
    moveTo(channel, "1.0/18.2");
    await tick();
    await pong();
    const presently = { tag: "present" };
    expect(await next(channelOf({ claims: claimsOf("authenticated", "bob") }))).toEqual(presently);
    expect(await next(channelOf({ claims: claimsOf("anon", "ann") }))).toEqual(presently);
    expect(await next(channelOf({ topic: "realtime:other", claims: channel.claims }))).toEqual(presently);
    channel.claims = claimsOf("authenticated", "eve");
    await tick();
    await pong();
    expect(await next(channelOf({ claims: claimsOf("authenticated", "eve") }))).toEqual(from("1.0/18.2"));
  });

  it("forgets a channel that was left, but not one whose join the client gave up", async () => {
    const { begin, tick, pong, places } = connect();
    const [left, givenUp] = [channelOf(), channelOf({ topic: "realtime:slow" })];
    await begin(left);
    await tick();
    await pong();
    await begin(givenUp);
    for (const channel of [left, givenUp]) {
      places.left(channel);
      moveTo(channel, "1.0/18.2");
    }
    await tick();
    await pong();
    expect(await next(left)).toEqual({ tag: "present" });
    expect(await next(givenUp)).toEqual(from(formatPosition(present)));
  });

  it("leaves the place to the connection that joined last", async () => {
    const [one, two] = [connect(), connect()];
    const [first, second] = [channelOf(), channelOf()];
    await one.begin(first);
    await two.begin(second);
    moveTo(first, "1.0/99.0");
    await one.tick();
    await one.pong();
    expect(await next()).toEqual(from(formatPosition(present)));
  });

  it("says that it does not know while the store is away, and goes on when it is back", async () => {
    const failing = (): Promise<never> => Promise.reject(new Error("away"));
    let isAway = true;
    const { begin, tick, pong } = connect({
      claim: (claim) => (isAway ? failing() : store.claim(claim)),
      note: (notes) => (isAway ? failing() : store.note(notes)),
      forget: failing,
    });
    const former = connect();
    await former.begin(channelOf());
    const channel = channelOf();
    expect(await begin(channel)).toEqual({ tag: "unknown" });
    moveTo(channel, "1.0/18.2");
    await tick();
    await pong();
    isAway = false;
    await tick();
    await pong();
    expect(await next()).toEqual(from("1.0/18.2"));
  });
});
