/** What went over the socket. */
export interface Frame {
  readonly direction: "in" | "out";
  readonly atMs: number;
  readonly bytes: number;
  readonly topic: string;
  readonly event: string;
  readonly payload: Fields;
  /** As it was sent, tokens left out; of a binary frame its size alone. */
  readonly text: string;
}

export type Fields = Readonly<Record<string, unknown>>;

export const fieldsOf = (value: unknown): Fields =>
  typeof value === "object" && value !== null ? (value as Fields) : {};

type Seen = Pick<Frame, "direction" | "atMs">;

/** Of both wire formats: arrays in version 2, objects in version 1. */
export function readFrame(data: unknown, seen: Seen): Frame {
  if (typeof data !== "string") {
    const bytes = data instanceof ArrayBuffer || ArrayBuffer.isView(data) ? data.byteLength : 0;
    return { ...seen, bytes, topic: "", event: "binary", payload: {}, text: `${bytes} bytes` };
  }
  const bytes = new TextEncoder().encode(data).length;
  let parsed: unknown;
  try {
    parsed = JSON.parse(data);
  } catch {
    return { ...seen, bytes, topic: "", event: "unreadable", payload: {}, text: data };
  }
  const fields = fieldsOf(parsed);
  const [topic, event, payload] = Array.isArray(parsed)
    ? [parsed[2], parsed[3], parsed[4] as unknown]
    : [fields["topic"], fields["event"], fields["payload"]];
  return {
    ...seen,
    bytes,
    topic: String(topic),
    event: String(event),
    payload: fieldsOf(payload),
    text: withoutTokens(data),
  };
}

/** What is on the screen is easily shared. */
const withoutTokens = (text: string): string => text.replaceAll(/("(?:access|user)_token":")[^"]+/gu, "$1…");

/** A join that also asks why. */
export function withExplain(text: string): string {
  if (!text.includes('"phx_join"')) return text;
  const frame = JSON.parse(text) as unknown;
  if (!Array.isArray(frame) || frame[3] !== "phx_join") return text;
  const payload = fieldsOf(frame[4]);
  const config = { ...fieldsOf(payload["config"]), explain: true };
  return JSON.stringify(frame.with(4, { ...payload, config }));
}
