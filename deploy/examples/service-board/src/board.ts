import { isListed, LISTS, type Service, type ServiceChange } from "./service.ts";

/** The newest that changes told about one row: its state, or nothing when it left the board. */
interface Latest {
  readonly revision: number;
  readonly service: Service | undefined;
}

/** A row's last version and its deletion carry the same revision; the deletion is the later of the two. */
const isNewer = (a: Latest, b: Latest): boolean =>
  a.revision > b.revision || (a.revision === b.revision && a.service === undefined);

/**
 * Which service is in which list.
 *
 * A service is held once, under its primary key, and its status says which list shows it. So an UPDATE of the status
 * moves it, whichever topics report that UPDATE and however often, and no two lists can show the same row.
 *
 * Changes and reads of the table race with each other. A change may be older than the rows already read (it waited in
 * a buffer) or newer than the rows still being read. Both are settled by the row's revision: the higher one wins. What
 * arrives between {@link beginRead} and {@link completeRead} is remembered, deleted rows included, because the rows
 * being read may still show them.
 */
export class Board {
  #services = new Map<number, Service>();
  #sinceReadBegan: Map<number, Latest> | undefined;

  /** Says whether the board looks different now. */
  apply(change: ServiceChange): boolean {
    if (change.tag === "written") return this.#write(change.service);
    if (change.tag === "deleted") return this.#remove(change.id, change.revision ?? Number.POSITIVE_INFINITY);
    return this.#clear();
  }

  beginRead(): void {
    this.#sinceReadBegan = new Map();
  }

  /**
   * Takes the table as it was read. Nothing from before {@link beginRead} survives, because rows may have been deleted,
   * or the whole database replaced, while nobody was listening.
   */
  completeRead(rows: Iterable<Service>): void {
    const latest = this.#sinceReadBegan ?? new Map<number, Latest>();
    for (const row of rows) {
      const known = latest.get(row.id);
      const read: Latest = { revision: row.revision, service: row };
      if (known === undefined || isNewer(read, known)) latest.set(row.id, read);
    }
    this.#services = new Map();
    for (const { service } of latest.values()) {
      if (service !== undefined && isListed(service.statusId)) this.#services.set(service.id, service);
    }
    this.#sinceReadBegan = undefined;
  }

  /** The services of one list; the one that waits longest first, but the concluded ones with the latest first. */
  list(statusId: number): Service[] {
    const services = [...this.#services.values()].filter((service) => service.statusId === statusId);
    const isLastList = statusId === LISTS.at(-1)?.statusId;
    return services.sort((a, b) =>
      isLastList
        ? b.updatedAt.localeCompare(a.updatedAt) || b.id - a.id
        : a.createdAt.localeCompare(b.createdAt) || a.id - b.id,
    );
  }

  #write(service: Service): boolean {
    if (!isListed(service.statusId)) return this.#remove(service.id, service.revision);
    this.#record(service.id, { revision: service.revision, service });
    const known = this.#services.get(service.id);
    if (known !== undefined && known.revision >= service.revision) return false;
    this.#services.set(service.id, service);
    return true;
  }

  #remove(id: number, revision: number): boolean {
    this.#record(id, { revision, service: undefined });
    const known = this.#services.get(id);
    if (known === undefined || known.revision > revision) return false;
    return this.#services.delete(id);
  }

  /** A TRUNCATE has no revision to compare with a read in progress, so whoever reports one must read again. */
  #clear(): boolean {
    const looksDifferent = this.#services.size > 0;
    this.#services.clear();
    return looksDifferent;
  }

  #record(id: number, latest: Latest): void {
    const recorded = this.#sinceReadBegan?.get(id);
    if (recorded === undefined || isNewer(latest, recorded)) this.#sinceReadBegan?.set(id, latest);
  }
}
