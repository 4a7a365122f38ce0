import type { ClientSpec, RunningClient } from "./client-kind.ts";
import { clientKinds } from "./client-kinds.ts";
import { Recorder, type ClientRecord } from "./record.ts";

// A process with a part of the clients: one event loop is not enough for all. Ends with the process that made it.

export type FleetRequest =
  | { readonly tag: "start"; readonly specs: readonly ClientSpec[] }
  | { readonly tag: "ready" }
  /** Which of these clients (by number) have not had their last row yet. */
  | { readonly tag: "lagging"; readonly wanted: readonly Wanted[] }
  | { readonly tag: "states"; readonly of: readonly number[] }
  | { readonly tag: "rows" }
  | { readonly tag: "rest" }
  | { readonly tag: "records" };

export interface Wanted {
  readonly number: number;
  readonly last: number | undefined;
  /** How many rows there are for it; undefined: it may have lost some. */
  readonly rows: number | undefined;
}

export interface FleetAnswers {
  readonly start: true;
  /** Numbers of those who are not subscribed yet. */
  readonly ready: readonly number[];
  readonly lagging: readonly number[];
  readonly states: readonly string[];
  readonly rows: readonly { readonly number: number; readonly rows: readonly object[] }[];
  readonly rest: true;
  readonly records: readonly { readonly number: number; readonly record: ClientRecord }[];
}

interface Member {
  readonly spec: ClientSpec;
  readonly recorder: Recorder;
  readonly client: RunningClient;
}

const members = new Map<number, Member>();

function start(spec: ClientSpec): void {
  const kind = clientKinds.get(spec.kind);
  if (kind === undefined) throw new Error(`there is no kind of clients called ${spec.kind}`);
  const recorder = new Recorder();
  members.set(spec.number, { spec, recorder, client: kind(spec, recorder) });
}

function isLagging({ number, last, rows }: Wanted): boolean {
  const recorder = members.get(number)?.recorder;
  if (recorder === undefined) return false; // of another process
  return (last !== undefined && !recorder.has(last)) || (rows !== undefined && recorder.distinct < rows);
}

function answer(request: FleetRequest): FleetAnswers[FleetRequest["tag"]] {
  const all = [...members];
  switch (request.tag) {
    case "start":
      for (const spec of request.specs) start(spec);
      return true;
    case "ready":
      return all.filter(([, { client }]) => !client.isReady()).map(([number]) => number);
    case "lagging":
      return request.wanted.filter((wanted) => isLagging(wanted)).map(({ number }) => number);
    case "states":
      return all.flatMap(([number, { spec, client }]) =>
        request.of.includes(number) ? [`client ${number} (${spec.kind}): ${client.state()}`] : [],
      );
    case "rows":
      return all.flatMap(([number, { client }]) =>
        client.rows === undefined ? [] : [{ number, rows: client.rows() }],
      );
    case "rest":
      for (const [, { recorder }] of all) recorder.rest();
      return true;
    case "records":
      return all.map(([number, { recorder }]) => ({ number, record: recorder.record }));
    default:
      throw new Error(`nobody can answer ${JSON.stringify(request satisfies never)}`);
  }
}

process.on("message", (request: FleetRequest) => process.send?.(answer(request)));
process.on("disconnect", () => process.exit());
