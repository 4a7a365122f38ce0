import { backoff, sleep } from "@walcast/lifecycle";
import { formatPosition } from "@walcast/model";
import {
  snapshotInterrupted,
  snapshotRefused,
  snapshotSent,
  type Serializer,
  type SnapshotRequest,
} from "@walcast/protocol";
import { DatabaseUnavailableError } from "@walcast/postgres";
import { QueueFullError, TooManyConnectionsError, type Principal } from "@walcast/row-security";
import { parseOrder, SnapshotInterruptedError, SnapshotRefusedError, type TableRequest } from "@walcast/snapshot";
import { RecordReader, shapeOf } from "@walcast/subscriptions";
import type { Channel } from "./channel.ts";
import type { MemberConnection } from "./membership.ts";
import { isShort } from "./change-data.ts";
import type { RowTags } from "./row-tags.ts";
import type { AfterSnapshot, SnapshotPage, Snapshots } from "./snapshots.ts";

export type AskedSnapshot = SnapshotRequest & { readonly tag: "asked" };

/** The rows of one binding. */
export interface BindingTable {
  readonly id: number;
  readonly table: TableRequest;
  readonly primaryKey: readonly string[];
}

export interface ChannelRowsOptions {
  readonly snapshots: Snapshots;
  readonly connection: MemberConnection & { readonly serializer: Serializer };
  readonly channel: Channel;
  readonly asked: AskedSnapshot;
  /** Looked up for each try, and not as they were known before `notBeforeMs`. Throws SnapshotRefusedError. */
  readonly tables: (principal: Principal | undefined, notBeforeMs?: number) => Promise<readonly BindingTable[]>;
  /** Of a row that is larger only short values are sent; 0: rows of any size are sent. */
  readonly maxRecordBytes: number;
  readonly tags: RowTags;
}

/** A client with so much unread gets the next page when it has read some of it. */
const unsentLimit = 1024 * 1024;

/** The rows a channel begins with: it is sent those that there are, and goes on with the changes that are not in them. */
export class ChannelRows {
  readonly #options: ChannelRowsOptions;
  /** Rows were sent that do not hold any more: the next page says so. */
  #isRestart = false;
  #hasSent = false;
  /** Of this try. */
  #pages = 0;

  constructor(options: ChannelRowsOptions) {
    this.#options = options;
  }

  /** Sends the rows that the principal sees; `undefined` when they are refused, or nobody waits for them any more. */
  async read(principal: Principal | undefined, signal: AbortSignal): Promise<AfterSnapshot | undefined> {
    const { snapshots, connection, channel, asked } = this.#options;
    let notBeforeMs: number | undefined;
    for (let failures = 0; !signal.aborted;) {
      this.#isRestart = this.#hasSent;
      this.#pages = 0;
      try {
        const bindings = await this.#options.tables(principal, notBeforeMs);
        const tables = bindings.map(({ table }) => table);
        const send = (page: SnapshotPage, stop: AbortSignal): Promise<void> => this.#send(bindings, page, stop);
        const after = await snapshots.take({ tables, principal, pageRows: asked.pageRows, signal, send });
        if (signal.aborted) return undefined;
        connection.system(channel, snapshotSent(channel.topic, formatPosition(after.after)));
        return after;
      } catch (error) {
        if (signal.aborted) return undefined;
        const message = error instanceof Error ? error.message : String(error);
        if (!isPassing(error)) {
          if (!(error instanceof SnapshotRefusedError)) throw error;
          connection.system(channel, snapshotRefused(channel.topic, message));
          return undefined;
        }
        connection.system(channel, snapshotInterrupted(channel.topic, message));
        notBeforeMs = performance.now(); // a table that was altered is known otherwise by then
        await backoff(++failures, signal, { maxMs: 5_000 });
      }
    }
    return undefined;
  }

  async #send(bindings: readonly BindingTable[], page: SnapshotPage, signal: AbortSignal): Promise<void> {
    const { connection, channel } = this.#options;
    const binding = bindings[page.table];
    if (binding === undefined || signal.aborted) return;
    const { topic, joinRef } = channel;
    const { head, tail } = connection.serializer.pushAround({ topic, joinRef, event: "snapshot" });
    connection.sendAll([Buffer.concat([Buffer.from(head), this.#payload(binding, page), Buffer.from(tail)])]);
    this.#hasSent = true;
    this.#isRestart = false;
    while (connection.unsentBytes() > unsentLimit && !signal.aborted) await sleep(5, signal);
    signal.throwIfAborted();
  }

  #payload({ id, table, primaryKey }: BindingTable, { rows, position, isLast }: SnapshotPage): Buffer {
    const { channel, asked, maxRecordBytes, tags } = this.#options;
    const about = {
      // Not `ids`: client libraries take what has them for a change.
      bindings: [id],
      page: this.#pages++,
      schema: table.schema,
      table: table.table,
      key: primaryKey,
      columns: table.sent.map(({ name, type, typeModifier }) =>
        channel.dialect === "current"
          ? { name, type }
          : { flags: primaryKey.includes(name) ? ["key"] : [], name, type, type_modifier: typeModifier >>> 0 },
      ),
      position: formatPosition(position),
      done: isLast,
      ...(this.#isRestart ? { restart: true } : {}),
    };
    const tooLarge = rows.flatMap((row, i) => (maxRecordBytes > 0 && row.length > maxRecordBytes ? [i] : []));
    const sent = tooLarge.length === 0 ? rows : rows.map((row, i) => (tooLarge.includes(i) ? cut(row, table) : row));
    const parts: Buffer[] = [Buffer.from(`${JSON.stringify(about).slice(0, -1)},"rows":[`)];
    for (const [i, row] of sent.entries()) {
      if (i > 0) parts.push(comma);
      parts.push(row);
    }
    const relation = { schema: table.schema, table: table.table, columns: table.sent };
    const more = {
      ...(tooLarge.length === 0 ? {} : { too_large: tooLarge }),
      ...(asked.isCollection ? { tags: rows.map((row) => tags.tag(relation, primaryKey, row) ?? null) } : {}),
    };
    const rest = JSON.stringify(more).slice(1);
    parts.push(Buffer.from(rest === "}" ? "]}" : `],${rest}`));
    return Buffer.concat(parts);
  }
}

/** As changes of such rows are cut (protocol.md 4.6). */
function cut(row: Buffer, { sent }: TableRequest): Buffer {
  const shape = shapeOf(sent);
  const reader = new RecordReader(row, shape);
  return reader.project(shape.columns.map(({ index }) => index).filter((index) => isShort(reader, index)));
}

const comma = Buffer.from(",");

/** Goes away by itself: it is tried again. */
const isPassing = (error: unknown): boolean =>
  error instanceof SnapshotInterruptedError ||
  error instanceof DatabaseUnavailableError ||
  error instanceof QueueFullError ||
  error instanceof TooManyConnectionsError;

/** How much of what was asked for can be had. Throws SnapshotRefusedError. */
export function checkAsked({ limit, order }: AskedSnapshot, maxRows: number): ReturnType<typeof parseOrder> {
  if (limit !== undefined && limit > maxRows) {
    throw new SnapshotRefusedError(`limit ${limit} is above SNAPSHOT_MAX_ROWS, which is ${maxRows}`);
  }
  return order === undefined ? [] : parseOrder(order);
}
