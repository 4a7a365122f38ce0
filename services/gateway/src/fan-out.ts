import type { LoggedChange } from "@walcast/change-log";
import type { Relation } from "@walcast/model";
import { ChangeData, type ChangeDataOptions } from "./change-data.ts";
import { eventNames, type Group, type View } from "./group.ts";

/** Publishes a frame to every socket subscribed to a name; the server's own code does it, once for all members. */
export type Publish = (name: string, frame: Buffer) => void;

/**
 * Turns the changes of one relation into frames: the data of a change is built once for each dialect and column selection, a
 * frame once for each group and selection. Frames published in one turn of the event loop leave in one write per socket, which the server sees to.
 */
export class FanOut {
  readonly #publish: Publish;
  readonly #data: ChangeData;

  constructor(relation: Relation, publish: Publish, options: ChangeDataOptions) {
    this.#data = new ChangeData(relation, options);
    this.#publish = publish;
  }

  /** `matches`: the views that want the change, with the ids of their bindings that do. */
  change(change: LoggedChange, matches: ReadonlyMap<View, readonly number[]>): void {
    const datas = new Map<string, Buffer>();
    for (const [{ group, select, dataKey }, ids] of matches) {
      let data = datas.get(dataKey);
      if (data === undefined) {
        data = this.#data.encode(change, { dialect: group.dialect, select });
        datas.set(dataKey, data);
      }
      const head = group.dialect === "current" ? currentHead(group, ids) : legacyHead(group, eventNames[change.kind]);
      this.#publish(group.name, Buffer.concat([head, data, tailOf(group)]));
    }
  }
}

/** Around the data of a `postgres_changes` frame: its ids. */
function currentHead(group: Group, ids: readonly number[]): Buffer {
  const key = ids.join(",");
  return remember(group, key, () => {
    const { head } = group.serializer.fanOut(group.topic, "postgres_changes");
    return `${head}{"ids":[${key}],"data":`;
  });
}

/** A legacy frame's event is the kind of change, its payload the data itself. */
const legacyHead = (group: Group, event: string): Buffer =>
  remember(group, event, () => group.serializer.fanOut(group.topic, event).head);

/** A channel with many bindings has very many sets of ids that may match. */
const headsLimit = 1_000;

function remember(group: Group, key: string, make: () => string): Buffer {
  const known = group.heads.get(key);
  if (known !== undefined) return known;
  const head = Buffer.from(make());
  if (group.heads.size >= headsLimit) group.heads.clear();
  group.heads.set(key, head);
  return head;
}

const tailOf = (group: Group): Buffer =>
  remember(group, "tail", () => {
    const { tail } = group.serializer.fanOut(group.topic, "");
    return group.dialect === "current" ? `}${tail}` : tail;
  });
