import type { ChangeKind } from "@walcast/change-log";
import { subtopicOf, type BindingRequest } from "@walcast/protocol";
import { isNamePattern, parseFilter, type Filter, type Term } from "@walcast/subscriptions";
import { inspectTerm } from "./elixir-inspect.ts";

/** What one element of `postgres_changes`, or a legacy topic, asks for. */
export interface Binding {
  readonly id: number;
  /** As in the peer's messages: INSERT, UPDATE, DELETE or `*`. */
  readonly event: string;
  readonly kinds: ReadonlySet<ChangeKind>;
  readonly schema: string;
  readonly table: string;
  readonly filter: Filter;
  /** The columns it lists; `undefined` for all of them. */
  readonly select: readonly string[] | undefined;
  /** The table's primary key, for those who keep its rows. */
  readonly key?: readonly string[] | undefined;
}

/** A binding with its id, whose parameters may turn out to be wrong only when subscribing (protocol.md 4.7). */
export interface IdentifiedRequest {
  readonly id: number;
  readonly request: BindingRequest;
}

/** Parameters that name nothing to subscribe to; the message is what clients are told. */
export class BindingError extends Error {
  readonly code = "BINDING";
}

const kindsByEvent: Readonly<Record<string, ReadonlySet<ChangeKind>>> = {
  INSERT: new Set(["insert"]),
  UPDATE: new Set(["update"]),
  DELETE: new Set(["delete"]),
};
const currentKinds: ReadonlySet<ChangeKind> = new Set(["insert", "update", "delete"]);
const legacyKinds: ReadonlySet<ChangeKind> = new Set(["insert", "update", "delete", "truncate"]);

/**
 * Gives each request its id: equal requests get equal ids everywhere, so that channels of different clients can share
 * frames; different requests of one channel never do. Ids are integers above 0 (protocol.md 4.3).
 */
export function identify(requests: readonly BindingRequest[]): IdentifiedRequest[] {
  const taken = new Map<number, string>();
  return requests.map((request) => {
    const text = JSON.stringify(request);
    let id = hash(text);
    while ((taken.get(id) ?? text) !== text) id = (id % idLimit) + 1;
    taken.set(id, text);
    return { id, request };
  });
}

const idLimit = 2 ** 27 - 1;

/** FNV-1a over UTF-16 units, folded to 1…2^27-1. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return ((value >>> 0) % idLimit) + 1;
}

/** Reads one request (protocol.md 4.8, "params"). Throws BindingError and FilterSyntaxError. */
export function parseBinding({ id, request }: IdentifiedRequest): Binding {
  const { filter } = request;
  const schema = typeof request["schema"] === "string" ? request["schema"] : undefined;
  const table = typeof request["table"] === "string" ? request["table"] : undefined;
  const isNamed = schema !== undefined && table !== undefined;
  const isFilterUsable = !("filter" in request) || (typeof filter === "string" && isNamed);
  if ((schema === undefined && table === undefined) || !isFilterUsable) {
    throw new BindingError(
      "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: " +
        describe(request),
    );
  }
  const event = eventOf(request);
  return {
    id,
    event,
    kinds: kindsByEvent[event] ?? currentKinds,
    schema: schema ?? "public",
    table: table ?? "*",
    filter: typeof filter === "string" ? parseFilter(filter) : [],
    select: selectOf(request, isNamed && !isNamePattern(schema) && !isNamePattern(table)),
  };
}

/** Items that are no names are passed over, and an empty list is none (protocol.md 4.8). */
function selectOf({ select }: BindingRequest, isOneTable: boolean): string[] | undefined {
  if (select === undefined || select === null) return undefined;
  if (!Array.isArray(select)) {
    throw new BindingError(
      'Error parsing `select` params: expected a list of column name strings, e.g. select: ["col1", "col2"]',
    );
  }
  const names = select.filter((item): item is string => typeof item === "string");
  if (names.length === 0) return undefined;
  if (isOneTable) return names;
  throw new BindingError(
    "Column selection is not supported for wildcard subscriptions. Provide an explicit schema and table name.",
  );
}

function eventOf({ event }: BindingRequest): string {
  const upper = typeof event === "string" ? event.toUpperCase() : "*";
  return upper in kindsByEvent ? upper : "*";
}

/** What the client asked for, unless it put a token there. */
const describe = (request: BindingRequest): string =>
  Object.keys(request).some((key) => key.includes("token")) ? "<redacted>" : inspectTerm(request);

/**
 * A legacy topic is its own parameters: `realtime:<schema>[:<table>[:<filter>]]`, `*` for all schemas (protocol.md 3.1, 3.9).
 * `replyEntry` is what the join's answer lists.
 */
export function legacyRequest(topic: string): { identified: IdentifiedRequest; replyEntry: BindingRequest } {
  const [schema = "*", table, ...rest] = subtopicOf(topic).split(":");
  const filter = rest.length === 0 ? undefined : rest.join(":");
  const request: BindingRequest = {
    schema,
    ...(table === undefined ? {} : { table }),
    ...(filter === undefined ? {} : { filter }),
  };
  const [identified = { id: 1, request }] = identify([request]);
  return { identified, replyEntry: { ...request, id: identified.id } };
}

/** Legacy channels get truncates too. Throws as `parseBinding`. */
export const parseLegacyBinding = (identified: IdentifiedRequest): Binding => ({
  ...parseBinding(identified),
  kinds: legacyKinds,
});

/** The parameters as the peer prints them in its errors (protocol.md 4.7). */
export function describeBinding({ event, schema, table, filter, select }: Binding): string {
  const filters = filter.map((term) => describeTerm(term)).join(", ");
  return `[event: ${event}, schema: ${schema}, table: ${table}, filters: [${filters}], select: ${inspectTerm(select)}]`;
}

/** A group of conditions, which the peer does not know, as if it were a condition on a column of its name. */
function describeTerm(term: Term): string {
  const parts = term.tag === "condition" ? [term.column, term.operator, term.value] : [term.tag, "group", term.text];
  return `{${[...parts, term.isNegated].map((part) => inspectTerm(part)).join(", ")}}`;
}
