import { sleep, type Service } from "@walcast/lifecycle";
import type { Relation } from "@walcast/model";
import { DatabaseUnavailableError, type Database } from "@walcast/postgres";
import pg from "pg";
import { accessOf, describeQuery, digestQuery, type Described, type Digests } from "./access-queries.ts";
import { Coalescing } from "./coalescing.ts";
import type { AccessAnswer } from "./table-access.ts";

export interface AccessCatalogOptions {
  readonly database: Database;
  readonly pollMs: number;
  /** What is known is not used when it could not be checked for this long. */
  readonly staleMs: number;
  /** Told when the catalog cannot be read, and when it can again (undefined). */
  readonly onTrouble?: (trouble: Error | undefined) => void;
  /** Milliseconds of a clock that does not jump. */
  readonly now?: () => number;
}

/** What is not as it was. */
export interface AccessChange {
  readonly tables: ReadonlySet<number>;
  /** Of these roles everything may have changed; `all` when memberships did. */
  readonly roles: ReadonlySet<string> | "all";
}

interface KnownTable {
  /** `undefined`: there is no such table. */
  readonly digest: string | undefined;
  /** By role. As long as nothing changes it is the same object: what follows from it is kept with it. */
  readonly answers: ReadonlyMap<string, AccessAnswer>;
}

/** Tables that are watched; beyond it the oldest is forgotten, and asked about again when needed. */
const tablesLimit = 10_000;
/** As many are looked at a second time in one check. */
const confirmLimit = 200;
/** A catalog that does not answer within this is away. */
const queryTimeoutMs = 5_000;

/**
 * What roles may do with tables, as PostgreSQL's catalog has it. It is read once for each table and role, and then checked
 * for changes by one query in each interval, over the tables and roles in use. `run` does the checking.
 *
 * What was read is read once more at the next check: a backend tells others of a change a moment after the change is visible,
 * and PostgreSQL may have answered in between from what it had cached.
 */
export class AccessCatalog implements Service {
  readonly name = "access catalog";
  readonly #options: AccessCatalogOptions;
  readonly #now: () => number;
  readonly #pool: pg.Pool;
  readonly #tables = new Map<number, KnownTable>();
  readonly #unconfirmed = new Set<number>();
  /** The digest of each role that was asked about; `undefined`: it does not exist. */
  readonly #roles = new Map<string, string | undefined>();
  #memberships: string | undefined;
  readonly #asking = new Coalescing<void>();
  readonly #listeners = new Set<(change: AccessChange) => void>();
  #checkedMs: number;
  #isTroubled = false;

  constructor(options: AccessCatalogOptions) {
    this.#options = options;
    this.#now = options.now ?? ((): number => performance.now());
    this.#checkedMs = this.#now();
    this.#pool = new pg.Pool({
      ...options.database,
      application_name: "walcast access",
      max: 1,
      query_timeout: queryTimeoutMs,
    });
    this.#pool.on("error", () => undefined); // an idle connection was lost; the next query makes another
    this.#pool.on("connect", (client) => client.on("error", () => undefined)); // one at work: its query is told
  }

  /** Checks in intervals until the signal fires; a catalog that is away is tried again. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.check().catch(() => undefined); // onTrouble heard of it
      await sleep(this.#options.pollMs, signal);
    }
  }

  /** The returned function ends it. */
  onChange(listener: (change: AccessChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Without a promise when it is known, which it nearly always is; `undefined` when it has to be asked for. */
  known(relation: Relation, role: string): AccessAnswer | undefined {
    const answer = this.#tables.get(relation.oid)?.answers.get(role);
    if (answer === undefined || this.#now() - this.#checkedMs > this.#options.staleMs) return undefined;
    // A column that is younger than what is known: it may be granted. One that is gone costs a question per change.
    const isYounger =
      answer.tag === "access" && relation.columns.some(({ name }) => !answer.access.facts.columns.has(name));
    return isYounger ? undefined : answer;
  }

  /** Throws DatabaseUnavailableError when it cannot be told. */
  async access(relation: Relation, role: string): Promise<AccessAnswer> {
    return this.known(relation, role) ?? (await this.refresh(relation.oid, role));
  }

  /** Asks the database, whatever is known. Throws DatabaseUnavailableError. */
  async refresh(oid: number, role: string): Promise<AccessAnswer> {
    await this.#asking.run(`${oid} ${role}`, () => {
      const roles = new Set([...(this.#tables.get(oid)?.answers.keys() ?? []), role]);
      this.#unconfirmed.add(oid);
      return this.#describe([oid], [...roles]);
    });
    // Forgotten again at once, if at all, by a check that found it changed.
    return this.#tables.get(oid)?.answers.get(role) ?? { tag: "unknownTable" };
  }

  /** One look at what is in use; what changed is forgotten, and listeners are told. Throws DatabaseUnavailableError. */
  async check(): Promise<void> {
    const startedMs = this.#now();
    const known = [...this.#tables];
    const digests = await this.#query<Digests>(digestQuery, [known.map(([oid]) => oid), [...this.#roles.keys()]]);
    this.#checkedMs = Math.max(this.#checkedMs, startedMs);
    const tables = new Set(known.filter(([oid, { digest }]) => digests.tables[oid] !== digest).map(([oid]) => oid));
    const roles = this.#changedRoles(digests);
    for (const oid of roles === "all" || roles.size > 0 ? known.map(([oid]) => oid) : tables) this.#tables.delete(oid);
    if (tables.size > 0 || roles === "all" || roles.size > 0) {
      for (const listener of this.#listeners) listener({ tables, roles });
    }
    await this.#confirm();
  }

  async close(): Promise<void> {
    await this.#pool.end();
  }

  #changedRoles({ roles, memberships }: Pick<Digests, "roles" | "memberships">): AccessChange["roles"] {
    const changed = [...this.#roles].filter(([role, digest]) => roles[role] !== digest).map(([role]) => role);
    for (const role of changed) this.#roles.delete(role);
    const hadOther = this.#memberships !== undefined && this.#memberships !== memberships;
    this.#memberships = memberships;
    return hadOther ? "all" : new Set(changed);
  }

  async #confirm(): Promise<void> {
    const oids = [...this.#unconfirmed].slice(0, confirmLimit);
    for (const oid of oids) this.#unconfirmed.delete(oid);
    const roles = new Set(oids.flatMap((oid) => [...(this.#tables.get(oid)?.answers.keys() ?? [])]));
    const inUse = oids.filter((oid) => this.#tables.has(oid));
    if (inUse.length > 0) await this.#describe(inUse, [...roles]);
  }

  /** Digests that are known stay as they are: whether they changed is for `check` to see. */
  async #describe(oids: readonly number[], roles: readonly string[]): Promise<void> {
    const described = await this.#query<Described>(describeQuery, [oids, roles]);
    this.#memberships ??= described.memberships;
    for (const role of roles) if (!this.#roles.has(role)) this.#roles.set(role, described.roles[role]);
    const found = new Map(described.tables.map((table) => [table.oid, table]));
    for (const oid of oids) {
      const table = found.get(oid);
      const answers = new Map<string, AccessAnswer>(
        roles.map((role) => [role, { tag: this.#roles.get(role) === undefined ? "unknownRole" : "unknownTable" }]),
      );
      if (table !== undefined)
        for (const access of accessOf(table)) answers.set(access.role, { tag: "access", access });
      this.#tables.delete(oid);
      this.#tables.set(oid, { digest: table?.digest, answers });
    }
    for (const oid of this.#tables.keys()) {
      if (this.#tables.size <= tablesLimit) break;
      this.#tables.delete(oid);
    }
  }

  async #query<T extends object>(text: string, values: readonly unknown[]): Promise<T> {
    try {
      const { rows } = await this.#pool.query<T>(text, [...values]);
      const [row] = rows;
      if (row === undefined) throw new DatabaseUnavailableError();
      if (this.#isTroubled) this.#options.onTrouble?.(undefined);
      this.#isTroubled = false;
      return row;
    } catch (cause) {
      const trouble = new DatabaseUnavailableError({ cause });
      this.#isTroubled = true;
      this.#options.onTrouble?.(trouble);
      throw trouble;
    }
  }
}
