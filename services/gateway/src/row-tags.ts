import { createHmac, randomBytes } from "node:crypto";
import type { Relation } from "@walcast/model";
import { RecordReader, shapeOf } from "@walcast/subscriptions";

/**
 * Names of rows that say nothing about them. Who keeps rows has to be told of one that it may not see any more, and nobody
 * can say whether it ever could: a key would tell of rows that are none of its business, a name only those who had it before
 * can place. They hold for this process.
 */
export class RowTags {
  readonly #secret = randomBytes(32);

  /** `undefined` when the record lacks a column of the key. */
  tag(
    { schema, table, columns }: Pick<Relation, "schema" | "table" | "columns">,
    key: readonly string[],
    record: Buffer,
  ): string | undefined {
    const shape = shapeOf(columns);
    const reader = new RecordReader(record, shape);
    const indexes = key.flatMap((name) => shape.byName.get(name)?.index ?? []);
    const isWhole = indexes.length === key.length && indexes.every((index) => reader.raw(index) !== undefined);
    if (key.length === 0 || !isWhole) return undefined;
    return createHmac("sha256", this.#secret)
      .update(`${schema}\0${table}\0`)
      .update(reader.project(indexes))
      .digest("base64url")
      .slice(0, tagLength);
  }
}

/** 96 bits: nobody meets another row's by chance. */
const tagLength = 16;
