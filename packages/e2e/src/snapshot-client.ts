import { waitUntil } from "@walcast/testkit";
import { openRaw, type RawSocket } from "./raw-socket.ts";

type Frame = readonly [unknown, unknown, string, string, Record<string, unknown>];
type Row = Readonly<Record<string, unknown>>;

interface Page {
  readonly bindings: readonly number[];
  readonly page: number;
  readonly rows: readonly Row[];
  readonly position: string;
  readonly done: boolean;
  readonly restart?: boolean;
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  readonly key: readonly string[];
  readonly too_large?: readonly number[];
}

interface Change {
  readonly type: "INSERT" | "UPDATE" | "DELETE" | "TRUNCATE";
  readonly position: string;
  readonly record?: Row;
  readonly old_record?: Row;
}

/** A channel that begins with rows, by hand: what it was sent, and the rows that this makes. */
export interface SnapshotClient {
  readonly socket: RawSocket;
  readonly pages: Page[];
  readonly changes: Change[];
  readonly system: {
    readonly extension: string;
    readonly status: string;
    readonly message: string;
    position?: string;
  }[];
  /** What did not fit to what came before. */
  readonly misfits: string[];
  /** By `id`. */
  readonly rows: Map<number, Row>;
  /** Its rows have been sent, and changes follow. */
  live(): Promise<void>;
}

export const topic = "realtime:rows";

export interface SnapshotWish {
  readonly binding?: object;
  readonly config?: object;
  readonly token?: string;
}

export async function openSnapshot(
  url: string,
  { binding, config, token }: SnapshotWish = {},
): Promise<SnapshotClient> {
  const socket = await openRaw(url, { vsn: "2.0.0", ...(token === undefined ? {} : { apikey: token }) });
  const bindings = [{ event: "*", schema: "public", table: "rows", ...binding }];
  socket.send(["1", "1", topic, "phx_join", { config: { postgres_changes: bindings, snapshot: true, ...config } }]);
  const of = (event: string): Record<string, unknown>[] =>
    (socket.frames as Frame[]).filter(([, , , its]) => its === event).map((frame) => frame[4]);
  const client: SnapshotClient = {
    socket,
    get pages() {
      return of("snapshot") as unknown as Page[];
    },
    get changes() {
      return of("postgres_changes").map(({ data }) => data as Change);
    },
    get system() {
      return of("system") as unknown as SnapshotClient["system"];
    },
    get rows() {
      return replay(socket.frames as Frame[]).rows;
    },
    get misfits() {
      return replay(socket.frames as Frame[]).misfits;
    },
    async live() {
      const isLive = ({ extension, status }: SnapshotClient["system"][number]): boolean =>
        status === "error" || extension === "resume";
      await waitUntil(() => client.system.some(isLive), { what: "the changes after the rows", timeoutMs: 30_000 });
    },
  };
  return client;
}

/**
 * Each row counts its updates in `n`: a change that is missing, or comes twice, or was in the rows already, does not fit.
 */
function replay(frames: readonly Frame[]): { rows: Map<number, Row>; misfits: string[] } {
  const rows = new Map<number, Row>();
  const misfits: string[] = [];
  for (const [, , , event, payload] of frames) {
    if (event === "snapshot") {
      if (payload["restart"] === true) rows.clear();
      for (const row of payload["rows"] as Row[]) {
        if (rows.has(Number(row["id"]))) misfits.push(`row ${String(row["id"])} twice`);
        rows.set(Number(row["id"]), row);
      }
    }
    if (event !== "postgres_changes") continue;
    const { type, record, old_record: old } = payload["data"] as Change;
    if (type === "TRUNCATE") {
      rows.clear();
      continue;
    }
    const id = Number((record ?? old)?.["id"]);
    const known = rows.get(id);
    if (type === "INSERT" && known !== undefined) misfits.push(`insert of ${id}, which is there`);
    if (type === "DELETE" && known === undefined) misfits.push(`delete of ${id}, which is not there`);
    if (type === "UPDATE" && Number(known?.["n"]) + 1 !== record?.["n"]) {
      misfits.push(`update of ${id} to ${String(record?.["n"])} after ${String(known?.["n"])}`);
    }
    if (record === undefined) rows.delete(id);
    else rows.set(id, record);
  }
  return { rows, misfits };
}
