import { isObject } from "./json.ts";

/** Whether a `phx_join` asks for the rows there are before the changes to come; walcast's own addition. */
export type SnapshotRequest =
  | { readonly tag: "none" }
  | {
      readonly tag: "asked";
      /** Rows of each binding; `undefined`: all of them. */
      readonly limit: number | undefined;
      /** `column.desc.nullslast,…` */
      readonly order: string | undefined;
      /** They are kept: the channel is told of rows that leave, in frames that client libraries pass on as they are. */
      readonly isCollection: boolean;
      /** Rows of one frame at most. */
      readonly pageRows: number;
    }
  /** There is one, and it is none that could be served: the join is refused with this. */
  | { readonly tag: "invalid"; readonly problem: string };

const page = { defaultRows: 500, mostRows: 10_000 };

/** Reads `true`, or `{"limit": 100, "order": "created_at.desc", "page_size": 500}`; null and false are nothing. */
export function parseSnapshot(given: unknown): SnapshotRequest {
  if (given === undefined || given === null || given === false) return { tag: "none" };
  if (given === true) return parseSnapshot({});
  if (!isObject(given)) return invalid(given, "it is true, or an object of limit, order and page_size");
  const { limit, order, page_size: pageSize } = given;
  if (limit !== undefined && limit !== null && !isCount(limit)) return invalid(limit, "limit is an integer above 0");
  if (order !== undefined && order !== null && typeof order !== "string" && !isTexts(order))
    return invalid(order, 'order is a text such as "created_at.desc,id"');
  if (pageSize !== undefined && pageSize !== null && !isCount(pageSize))
    return invalid(pageSize, "page_size is an integer above 0");
  const orderText = typeof order === "string" ? order : isTexts(order) ? order.join(",") : "";
  return {
    tag: "asked",
    limit: isCount(limit) ? limit : undefined,
    order: orderText === "" ? undefined : orderText,
    isCollection: given["collection"] === true,
    pageRows: Math.min(isCount(pageSize) ? pageSize : page.defaultRows, page.mostRows),
  };
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) > 0;
const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((one) => typeof one === "string");
const invalid = (given: unknown, rule: string): SnapshotRequest => ({
  tag: "invalid",
  problem: `${JSON.stringify(given)} cannot be a snapshot: ${rule}`,
});
