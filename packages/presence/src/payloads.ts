import type { PresenceEntry } from "./ports.ts";

/** What changed in a topic. An update is in both: the old version leaves and the new one joins (protocol.md 4.5). */
export interface PresenceDiff {
  readonly joins: readonly PresenceEntry[];
  readonly leaves: readonly PresenceEntry[];
}

/** The payload of a `presence_state` frame, as JSON. */
export function stateText(entries: Iterable<PresenceEntry>): string {
  const byKey = new Map<string, string[]>();
  for (const entry of entries) {
    const metas = byKey.get(entry.key);
    if (metas === undefined) byKey.set(entry.key, [metaText(entry)]);
    else metas.push(metaText(entry));
  }
  const members = [...byKey].map(([key, metas]) => `${JSON.stringify(key)}:{"metas":[${metas.join(",")}]}`);
  return `{${members.join(",")}}`;
}

/** The payload of a `presence_diff` frame, as JSON: both parts are always there. */
export const diffText = ({ joins, leaves }: PresenceDiff): string =>
  `{"joins":${stateText(joins)},"leaves":${stateText(leaves)}}`;

/** What the client tracks goes on as it spelled it: a number of many digits would not survive being parsed. */
function metaText({ ref, previousRef, meta }: PresenceEntry): string {
  const previous = previousRef === undefined ? "" : `,"phx_ref_prev":${JSON.stringify(previousRef)}`;
  const members = meta.trim().slice(1, -1).trim();
  return `{"phx_ref":${JSON.stringify(ref)}${previous}${members === "" ? "" : ","}${members}}`;
}
