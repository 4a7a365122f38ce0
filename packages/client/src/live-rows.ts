import { isTooLarge, RowSet, type Row, type RowChange, type RowData, type RowsPage } from "./row-set.ts";

export type { Row, RowChange } from "./row-set.ts";

export interface LiveRowsOptions {
  readonly table: string;
  /** `public` unless given. */
  readonly schema?: string | undefined;
  /** As in `postgres_changes`. */
  readonly filter?: string | undefined;
  /** Columns; the primary key always comes along. Clients of version 1 get all. */
  readonly select?: readonly string[] | undefined;
  /** The first so many, in this order (`created_at.desc,id`): read again whenever a row that matches changes. */
  readonly limit?: number | undefined;
  readonly order?: string | undefined;
  /** Columns that tell rows apart, where the table has no primary key. Rows that leave the filter are then not noticed. */
  readonly key?: readonly string[] | undefined;
  /** Told of what is different, all of it at once. */
  readonly onChange?: ((changes: readonly RowChange[]) => void) | undefined;
  /** The server refused, and says what to do. */
  readonly onError?: ((message: string) => void) | undefined;
}

/** The rows of a table that the token may see and the filter matches, as they are now. */
export interface LiveRows {
  /** By key, as `RowChange` has it. */
  readonly rows: ReadonlyMap<string, Row>;
  /** Resolves when the rows are there for the first time. */
  readonly ready: Promise<void>;
  /** Reads the rows again: for what no change tells, such as a policy that looks at other tables. */
  refresh(): void;
  close(): void;
}

/** A `RealtimeClient` of version 1 or 2, or a supabase-js client. */
export interface LiveRowsClient {
  channel(topic: string, params?: never): unknown;
}

interface AnyChannel {
  on(...args: unknown[]): unknown;
  subscribe(onStatus?: (status: string, error?: unknown) => void): unknown;
  unsubscribe(): unknown;
}

/** Rows are read again when changes that do not tell enough have been quiet for so long. */
const quietMs = 50;
/** Where they are never quiet, after this long. */
const staleMs = 1_000;
/** Of channels, by client. */
const numbers = new WeakMap<object, number>();

/**
 * Keeps the rows of a table: those there are, then their changes, and those there are again after each reconnect, of which
 * only the difference is told.
 *
 *     const todos = liveRows(client, { table: "todos", filter: "list=eq.7", onChange: (changes) => render(changes) });
 *     await todos.ready;
 *     for (const [key, row] of todos.rows) …
 */
export function liveRows(client: LiveRowsClient, options: LiveRowsOptions): LiveRows {
  const { schema = "public", table, filter, select, limit, order, key, onChange, onError } = options;
  const set = new RowSet(key);
  const isCurrent = "getChannels" in client;
  const snapshot = { collection: true, limit, order };
  const ready = Promise.withResolvers<void>();
  let channel: AnyChannel | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  /** Since when there is a change that is not in the rows. */
  let staleSince: number | undefined;

  const tell = (changes: readonly RowChange[]): void => {
    if (changes.length > 0) onChange?.(changes);
  };
  /** With a limit, one row that goes lets another in, which only the server knows. */
  const take = (change: () => readonly RowChange[] | undefined): void => {
    const changes = limit === undefined ? change() : undefined;
    if (changes !== undefined) return tell(changes);
    const now = Date.now();
    staleSince ??= now;
    clearTimeout(timer);
    timer = setTimeout(refresh, Math.min(quietMs, Math.max(0, staleSince + staleMs - now)));
  };
  const refused = (reason: unknown): void => {
    const { message = reason } = (reason ?? {}) as { message?: unknown };
    if (typeof message === "string") onError?.(message);
  };
  const handlers: Readonly<Record<string, (payload: never) => void>> = {
    snapshot(page: RowsPage) {
      if (page.too_large !== undefined) onError?.("Rows above MAX_RECORD_BYTES came without their long values");
      const changes = set.page(page);
      if (changes === undefined) return;
      tell(changes);
      ready.resolve();
    },
    row_change({ data }: { readonly data: RowData }) {
      for (const error of data.errors ?? []) if (!isTooLarge(error)) onError?.(error);
      take(() => set.change(data));
    },
    row_left: ({ row, unknown }: { readonly row: string | null; readonly unknown?: boolean }) =>
      take(() => (unknown === true || row === null ? undefined : set.left(row))),
    system({ status, message }: { readonly status: string; readonly message: string }) {
      if (status === "error" && !message.startsWith("SnapshotInterrupted")) onError?.(message);
    },
  };

  function open(): void {
    const number = (numbers.get(client) ?? 0) + 1;
    numbers.set(client, number);
    // One topic, one channel: those of one client are told apart, and those of other clients share what is sent.
    const topic = isCurrent
      ? `rows:${schema}:${table}:${number}`
      : ["realtime", schema, table, ...(filter === undefined ? [] : [filter])].join(":");
    const opened = client.channel(topic, (isCurrent ? undefined : { snapshot }) as never) as AnyChannel;
    channel = opened;
    const wanted = { event: "*", schema, table, filter, select, snapshot };
    if (isCurrent) opened.on("postgres_changes", wanted, () => undefined);
    for (const [event, handler] of Object.entries(handlers)) {
      const receive = (payload: unknown): void => {
        if (channel === opened) handler(payload as never);
      };
      opened.on(event, ...(isCurrent ? [{}, receive] : [receive]));
    }
    if (isCurrent) return void opened.subscribe((_, error) => channel === opened && refused(error));
    const join = opened.subscribe() as {
      receive?: (status: string, hear: (answer: { reason: unknown }) => void) => void;
    };
    join?.receive?.("error", ({ reason }) => refused(reason));
  }

  /** The former rows stay until the new ones are there. */
  function refresh(): void {
    clearTimeout(timer);
    staleSince = undefined;
    const former = channel;
    if (former === undefined) return;
    if (isCurrent) open();
    former.unsubscribe();
    if (!isCurrent) open(); // its topic is what it asks for: two cannot be there at once
  }

  open();
  return {
    rows: set.rows,
    ready: ready.promise,
    refresh,
    close() {
      clearTimeout(timer);
      const former = channel;
      channel = undefined;
      former?.unsubscribe();
    },
  };
}
