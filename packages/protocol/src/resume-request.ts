import { parsePosition, type Position } from "@walcast/model";
import { isObject } from "./json.ts";

/** What a `phx_join` says about coming back; walcast's own addition, which other servers ignore. */
export type ResumeRequest =
  | { readonly tag: "none" }
  | { readonly tag: "from"; readonly position: Position }
  /** There is one, and it is no position; the join is refused rather than a gap hidden. */
  | { readonly tag: "invalid"; readonly given: string };

/**
 * `config.resume` of a current join, `resume` of a legacy one: `{"from": "1.0/16B3748.3"}`, or the position alone. Null and
 * the empty string are nothing.
 */
export function parseResume(payload: unknown): ResumeRequest {
  if (!isObject(payload)) return { tag: "none" };
  const place = isObject(payload["config"]) ? payload["config"] : payload;
  const resume = place["resume"];
  const from = isObject(resume) ? resume["from"] : resume;
  if (from === undefined || from === null || from === "") return { tag: "none" };
  const position = typeof from === "string" ? parsePosition(from) : undefined;
  return position === undefined ? { tag: "invalid", given: JSON.stringify(from) } : { tag: "from", position };
}
