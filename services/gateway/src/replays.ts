import type { Claims } from "@walcast/authz";
import { subtopicOf } from "@walcast/protocol";
import { SchemaMissingError, type History, type HistoryQuestion } from "@walcast/row-security";
import { describeError, type Logger } from "@walcast/telemetry";
import type { Reach } from "./reach.ts";
import { Replay, type WantedReplay } from "./replay.ts";
import { roomKey, type RoomAddress, type Rooms } from "./room.ts";

/** Reads the stored broadcasts of a channel; `undefined` claims: nobody is asked who they are. */
export type ReadHistory = (question: HistoryQuestion, options: { readonly signal: AbortSignal }) => Promise<History>;

export interface ReplaysOptions {
  readonly rooms: () => Rooms;
  readonly readHistory: ReadHistory;
  readonly reach: Reach;
  /** Resolves when the gateway has a place in the log: what comes after it is not missed. */
  readonly reading: () => Promise<void>;
  readonly payloadLimitBytes: number;
  readonly log: Logger;
}

/** Who asks. */
export interface ReplayReader {
  readonly topic: string;
  readonly claims: Claims | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** The message is what the join is told (protocol.md 4.2). */
export class ReplayError extends Error {
  readonly code = "REPLAY_FAILED";
}

const unable = "UnableToReplayMessages: Realtime was unable to replay messages";
export const replayRefusals = {
  invalid: "UnableToReplayMessages: Replay params are not valid",
  public: "UnableToReplayMessages: Replay is not allowed for public channels",
} as const;

/** From the join to what is stored, at most. */
const patienceMs = 15_000;
/** Transactions are remembered for as long as they may take to be seen by others, or until there are too many. */
const noted = { longestMs: 60_000, most: 10_000 };

/** Prepares what joins want replayed (protocol.md 5.5). */
export class Replays {
  readonly #options: ReplaysOptions;
  #noted: { readonly key: string; readonly xid: number; readonly atMs: number }[] = [];

  constructor(options: ReplaysOptions) {
    this.#options = options;
  }

  /** A broadcast of this transaction has come from the log. It may be there before others see its row in the table. */
  note(to: RoomAddress, xid: number): void {
    if (!to.isPrivate) return;
    const key = roomKey(to);
    const last = this.#noted.at(-1);
    if (last?.key === key && last.xid === xid) return;
    this.#noted.push({ key, xid, atMs: performance.now() });
    if (this.#noted.length > 2 * noted.most) this.#noted = this.#noted.slice(-noted.most);
  }

  /** Throws ReplayError. What it returns has to be begun or abandoned. */
  async prepare(wanted: WantedReplay, reader: ReplayReader): Promise<Replay> {
    const { reach } = this.#options;
    const rooms = this.#options.rooms();
    const room = rooms.enter({ topic: reader.topic, isPrivate: true });
    const replay = new Replay({ wanted, room, rooms, reach });
    try {
      await this.read(replay, reader);
      return replay;
    } catch (error) {
      replay.abandon();
      throw error;
    }
  }

  /** Has a replay hold what this reader may have. Throws ReplayError. */
  async read(replay: Replay, { topic, claims, headers }: ReplayReader): Promise<void> {
    const { readHistory, reading, payloadLimitBytes, log } = this.#options;
    const signal = AbortSignal.timeout(patienceMs);
    try {
      await orAborted(reading(), signal);
      const { sinceMs, limit } = replay.wanted;
      const subtopic = subtopicOf(topic);
      const xids = this.#xidsOf(replay.room);
      const question = { subtopic, claims, headers, sinceMs, limit, payloadLimitBytes, xids };
      replay.hold(await readHistory(question, { signal }));
    } catch (cause) {
      log.warn({ topic, ...describeError(cause) }, "broadcasts could not be replayed");
      const remedy =
        cause instanceof SchemaMissingError ? ": realtime.messages does not exist, run `walcast migrate`" : "";
      throw new ReplayError(unable + remedy, { cause });
    }
  }

  #xidsOf(room: RoomAddress): ReadonlySet<number> {
    const key = roomKey(room);
    const sinceMs = performance.now() - noted.longestMs;
    return new Set(this.#noted.flatMap((one) => (one.key === key && one.atMs >= sinceMs ? [one.xid] : [])));
  }
}

async function orAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
