import { comparePositions } from "@walcast/client";
import { fieldsOf, type Fields, type Frame } from "./frame.ts";

/** What one binding made of a change, as the gateway says it (`explanation.ts` there). */
export interface BindingReport {
  readonly id: number;
  readonly verdict: string;
  readonly wants?: string;
  readonly terms?: readonly TermReport[];
  readonly columns?: readonly string[];
  readonly message?: string;
}

export interface TermReport {
  readonly text: string;
  readonly holds: boolean | null;
  readonly terms?: readonly TermReport[];
}

/** A change, put together from its own frames and from the one that explains it. */
export interface Change {
  readonly position: string;
  readonly schema: string;
  readonly table: string;
  readonly kind: string;
  readonly committedAtMs: number | undefined;
  /** When its first frame came. */
  readonly receivedAtMs: number;
  /** Ids of the bindings that it came for; none: it did not come. */
  readonly ids: readonly number[];
  readonly record: Fields | undefined;
  readonly oldRecord: Fields | undefined;
  readonly errors: readonly string[];
  readonly reports: readonly BindingReport[] | undefined;
}

export const wasDelivered = ({ ids }: Change): boolean => ids.length > 0;

/** Commit to received, in milliseconds: by two clocks, the database's and this machine's. */
export const lagOf = ({ committedAtMs, receivedAtMs }: Change): number | undefined =>
  committedAtMs === undefined ? undefined : receivedAtMs - committedAtMs;

/** The newest first, at most so many. */
export const keptChanges = 300;

/** The list with what the frame says; the same list when it says nothing of a change. */
export function withFrame(changes: readonly Change[], frame: Frame): readonly Change[] {
  const news =
    frame.event === "postgres_changes" ? ofDelivery(frame) : frame.event === "explain" ? ofReport(frame) : undefined;
  if (news === undefined) return changes;
  const at = changes.findIndex(({ position }) => position === news.position);
  const known = changes[at];
  if (known === undefined) {
    // By position: the gateway delivers a batch before it explains it.
    const place = changes.findIndex(({ position }) => comparePositions(position, news.position) < 0);
    return changes.toSpliced(place === -1 ? changes.length : place, 0, news).slice(0, keptChanges);
  }
  return changes.with(at, {
    ...known,
    committedAtMs: known.committedAtMs ?? news.committedAtMs,
    ids: [...new Set([...known.ids, ...news.ids])],
    record: known.record ?? news.record,
    oldRecord: known.oldRecord ?? news.oldRecord,
    errors: [...new Set([...known.errors, ...news.errors])],
    reports: known.reports ?? news.reports,
  });
}

function ofDelivery({ payload, atMs }: Frame): Change | undefined {
  const data = fieldsOf(payload["data"]);
  const ids = payload["ids"];
  if (typeof data["position"] !== "string" || !Array.isArray(ids)) return undefined;
  return {
    ...aboutOf(data, atMs),
    kind: String(data["type"]),
    ids: ids.map(Number),
    record: data["record"] === undefined ? undefined : fieldsOf(data["record"]),
    oldRecord: data["old_record"] === undefined ? undefined : fieldsOf(data["old_record"]),
    errors: Array.isArray(data["errors"]) ? data["errors"].map(String) : [],
    reports: undefined,
  };
}

function ofReport({ payload, atMs }: Frame): Change | undefined {
  if (typeof payload["position"] !== "string" || !Array.isArray(payload["bindings"])) return undefined;
  return {
    ...aboutOf(payload, atMs),
    kind: String(payload["kind"]),
    ids: [],
    record: undefined,
    oldRecord: undefined,
    errors: [],
    reports: payload["bindings"] as readonly BindingReport[],
  };
}

function aboutOf(fields: Fields, atMs: number) {
  const timestamp = fields["commit_timestamp"];
  return {
    position: String(fields["position"]),
    schema: String(fields["schema"]),
    table: String(fields["table"]),
    committedAtMs: typeof timestamp === "string" ? Date.parse(timestamp) : undefined,
    receivedAtMs: atMs,
  };
}
