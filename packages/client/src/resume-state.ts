import { comparePositions } from "./position.ts";

/** Where positions are kept between runs: `localStorage` is one. */
export interface PositionStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/** Changes that are gone for good: read the rows again, and go on. */
export interface Gap {
  /** The channel's topic, as it is on the wire: `realtime:<name>`. */
  readonly topic: string;
  /** Where the channel goes on. */
  readonly position: string;
  readonly message: string;
}

export interface ResumeStateOptions {
  readonly storage?: PositionStorage | undefined;
  readonly onGap?: ((gap: Gap) => void) | undefined;
}

interface Place {
  /** Of the newest change. */
  last: string;
  /** Of the newest change before that: resuming asks for what follows it, as a change may come in several frames. */
  before: string;
  /** The frames that came of the newest change, by what tells them apart. */
  seen: Set<string>;
}

type Fields = Readonly<Record<string, unknown>>;
const fieldsOf = (value: unknown): Fields => (typeof value === "object" && value !== null ? (value as Fields) : {});
const keyPrefix = "walcast:";
/** Of the frames that carry changes to clients of version 1. */
const legacyEvents = new Set<unknown>(["INSERT", "UPDATE", "DELETE", "TRUNCATE"]);

/**
 * What each channel has received, learned from the frames on the wire, of both wire formats (vsn 1.0.0: objects, 2.0.0:
 * arrays). Pure: sockets are the caller's.
 */
export class ResumeState {
  readonly #options: ResumeStateOptions;
  readonly #places = new Map<string, Place>();
  /**
   * Joins that were not answered, by topic, with their reference; `undefined` when the client has given up waiting. It takes
   * no changes until its next join is answered, and leaves by itself before it tries again.
   */
  readonly #unanswered = new Map<string, unknown>();
  /** Topics whose rows are coming: until all of them and what belongs to them is there, a join begins with rows again. */
  readonly #readingRows = new Set<string>();

  constructor(options: ResumeStateOptions) {
    this.#options = options;
  }

  /** Position after which the topic would continue. */
  position(topic: string): string | undefined {
    return this.#places.get(topic)?.before ?? this.#options.storage?.getItem(keyPrefix + topic) ?? undefined;
  }

  /** The next join of the topic begins anew. */
  forget(topic: string): void {
    this.#places.delete(topic);
    this.#options.storage?.removeItem(keyPrefix + topic);
  }

  /** A frame of the client on its way out: joins get their position. */
  outgoing(text: string): string {
    if (!text.includes('"phx_join"') && !text.includes('"phx_leave"')) return text;
    const { frame, ref, topic, event, payload } = parseFrame(text);
    if (event === "phx_leave") {
      if (this.#unanswered.has(topic)) this.#unanswered.set(topic, undefined);
      else this.forget(topic);
    }
    if (event !== "phx_join") return text;
    this.#unanswered.set(topic, ref);
    this.#readingRows.delete(topic);
    const from = this.position(topic);
    if (from === undefined) return text;
    if (Array.isArray(frame)) return JSON.stringify(frame.with(4, withResume(payload, from)));
    return JSON.stringify({ ...fieldsOf(frame), payload: withResume(payload, from) });
  }

  /** A frame of the server. False: the client has had it already and must not see it. */
  incoming(text: string): boolean {
    if (!text.includes('"position"') && !text.includes('"phx_reply"')) return true; // pages have one, too
    const { ref, topic, event, payload } = parseFrame(text);
    if (event === "phx_reply" && ref !== undefined && this.#unanswered.get(topic) === ref && payload["status"] === "ok")
      this.#unanswered.delete(topic);
    if (event === "snapshot") {
      this.forget(topic);
      this.#readingRows.add(topic);
      return true;
    }
    if (event === "system") return this.#unanswered.has(topic) || this.#system(topic, payload);
    // Nobody else's word counts: what others broadcast goes by as they wrote it.
    if (event !== "postgres_changes" && !legacyEvents.has(event)) return true;
    const data = event === "postgres_changes" ? fieldsOf(payload["data"]) : payload;
    const { position } = data as { position?: unknown };
    if (typeof position !== "string" || typeof data["type"] !== "string") return true;
    if (this.#unanswered.has(topic)) return false;
    return this.#readingRows.has(topic) || this.#isNew(topic, position, JSON.stringify([event, payload["ids"]]));
  }

  /** The subscription began, caught up, or has a hole. False: the hole is of no matter to the client. */
  #system(topic: string, { position, extension, status, message }: Fields): boolean {
    if (typeof position !== "string") return true;
    if (this.#readingRows.has(topic)) {
      // What comes from here on is neither in the rows nor was it sent with them.
      if (extension === "resume" && status === "ok" && this.#readingRows.delete(topic))
        this.#store(topic, { last: position, before: position, seen: new Set() });
    } else if (extension === "postgres_changes") {
      if (this.position(topic) === undefined) this.#store(topic, { last: position, before: position, seen: new Set() });
    } else if (extension === "resume" && status === "error") {
      // It asked for what follows the change before the newest, and has the newest: what is missing between is not for it.
      const place = this.#places.get(topic);
      const isHad = place !== undefined && comparePositions(position, place.last) <= 0;
      if (isHad && comparePositions(place.before, position) < 0) return false;
      this.#store(topic, { last: position, before: position, seen: new Set() });
      this.#options.onGap?.({ topic, position, message: String(message) });
    }
    return true;
  }

  #isNew(topic: string, position: string, frame: string): boolean {
    const place = this.#places.get(topic);
    const order = place === undefined ? 1 : comparePositions(position, place.last);
    if (place === undefined) {
      // Of a former run only `before` is known, and what follows it was not kept.
      const before = this.position(topic) ?? position;
      this.#store(topic, { last: position, before, seen: new Set([frame]) });
    } else if (order > 0) {
      this.#store(topic, { last: position, before: place.last, seen: new Set([frame]) });
    } else if (order < 0 || place.seen.has(frame)) {
      return false;
    } else {
      place.seen.add(frame);
    }
    return true;
  }

  #store(topic: string, place: Place): void {
    this.#places.set(topic, place);
    this.#options.storage?.setItem(keyPrefix + topic, place.before);
  }
}

interface Frame {
  readonly frame: unknown;
  readonly ref: unknown;
  readonly topic: string;
  readonly event: unknown;
  readonly payload: Fields;
}

function parseFrame(text: string): Frame {
  const frame = JSON.parse(text) as unknown;
  if (Array.isArray(frame)) {
    return { frame, ref: frame[1], topic: String(frame[2]), event: frame[3], payload: fieldsOf(frame[4]) };
  }
  const { ref, topic, event, payload } = fieldsOf(frame);
  return { frame, ref, topic: String(topic), event, payload: fieldsOf(payload) };
}

/** Current joins have a `config`, legacy ones have none. */
function withResume(fields: Fields, from: string): Fields {
  if (fields["config"] === undefined) return { ...fields, resume: { from } };
  return { ...fields, config: { ...fieldsOf(fields["config"]), resume: { from } } };
}
