import { wasDelivered, type BindingReport, type Change, type TermReport } from "./change-list.ts";

export type Tone = "yes" | "no" | "hidden" | "trouble";

export interface Reason {
  readonly tone: Tone;
  /** A few words. */
  readonly short: string;
  readonly long: string;
}

/** A gateway's verdict in words. */
export function reasonOf({ verdict, wants, terms = [], columns = [], message = "" }: BindingReport): Reason {
  switch (verdict) {
    case "matched":
      return { tone: "yes", short: "matched", long: "Everything it asks for holds." };
    case "table":
      return { tone: "no", short: "other table", long: "The binding names another table." };
    case "event":
      return { tone: "no", short: "other event", long: `The binding asks for ${wants ?? "other"} events only.` };
    case "rowless":
      return { tone: "no", short: "no row", long: "The binding has a filter, and a truncate has no row to look at." };
    case "filter":
      return {
        tone: "no",
        short: terms.length === 0 ? "filter not met" : `${terms.map(({ text }) => text).join(", ")} not met`,
        long:
          terms.length === 0
            ? "The filter does not hold. Which part is not told: of the row only its key may be read."
            : "The filter does not hold:",
      };
    case "hidden":
      return {
        tone: "hidden",
        short: "row not visible",
        long: "Row security hides the row from this token, or it is gone by now. Nothing else is told of it.",
      };
    case "column":
      return {
        tone: "hidden",
        short: `${columns.join(", ")} not readable`,
        long: `The filter looks at ${columns.join(", ")}, which the token's role may not read.`,
      };
    case "refused":
      return { tone: "hidden", short: "not readable", long: `The role may not read the table: ${message}` };
    case "unfit":
      return { tone: "trouble", short: "filter does not fit", long: `The filter does not fit the table: ${message}` };
    default:
      return { tone: "trouble", short: "not known", long: `It could not be found out: ${message}` };
  }
}

/** Whether a term is false, or unknown as SQL has it. */
export const truthText = ({ holds }: TermReport): string =>
  holds === null ? "unknown (null, or not in the row)" : holds ? "true" : "false";

/** The one reason that says most about a change. */
export function mainReason(change: Change): Reason {
  if (change.errors.length > 0)
    return { tone: "hidden", short: change.errors.join(", "), long: "It was delivered without its values." };
  if (wasDelivered(change)) return { tone: "yes", short: "matched", long: "It was delivered." };
  const reasons = (change.reports ?? []).map(reasonOf);
  const rank: readonly Tone[] = ["yes", "hidden", "trouble"];
  for (const tone of rank) {
    const found = reasons.find((reason) => reason.tone === tone);
    if (found !== undefined) return found;
  }
  const told =
    (change.reports ?? []).find(({ verdict }) => verdict === "filter") ??
    change.reports?.find(({ verdict }) => verdict !== "table");
  return told === undefined ? { tone: "no", short: "not matched", long: "" } : reasonOf(told);
}
