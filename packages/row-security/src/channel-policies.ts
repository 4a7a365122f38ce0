import { randomUUID } from "node:crypto";
import type { Claims } from "@walcast/authz";
import { sqlStateOf } from "@walcast/postgres";
import type pg from "pg";
import { checkRoleName, explainRole, inOneFlight, roleStatement, settingsStatement } from "./as-role.ts";
import { Coalescing } from "./coalescing.ts";
import {
  AccessDeniedError,
  explainServer,
  PartitionMissingError,
  PolicyFailedError,
  ProbeRefusedError,
  RoleNotGrantedError,
  RoleUnknownError,
  SchemaMissingError,
  type RowSecurityError,
} from "./errors.ts";
import { askPatiently, patienceOfJoins, type Patience } from "./patience.ts";
import { principalOf, type Principal } from "./principal.ts";
import type { QuestionPool } from "./question-pool.ts";

export interface ChannelAccess {
  readonly read: boolean;
  readonly write: boolean;
}

/** What a token may do in a private channel (protocol.md 5.6). */
export interface ChannelGrants {
  readonly broadcast: ChannelAccess;
  readonly presence: ChannelAccess;
}

export interface ChannelQuestion {
  /** Without `realtime:`. */
  readonly subtopic: string;
  readonly claims: Claims;
  /** Those that policies may look at: the connection's `x-*`, or a request's own. */
  readonly headers?: Readonly<Record<string, string>>;
}

export interface ChannelPoliciesOptions {
  readonly pool: QuestionPool;
  /** How long an answer serves the same question. */
  readonly cacheMs: number;
  readonly cacheLimit?: number;
  readonly patience?: Patience;
  /** Told why somebody was denied when it is not for the policies' own verdict: they failed, or the role is not there. */
  readonly onDenied?: (error: RowSecurityError, question: ChannelQuestion) => void;
  /** Milliseconds of a clock that does not jump. */
  readonly now?: () => number;
}

const none: ChannelAccess = { read: false, write: false };
const nothing: ChannelGrants = { broadcast: none, presence: none };

interface Answer {
  readonly atMs: number;
  readonly grants: ChannelGrants;
}

/**
 * Who may read and write in private channels: the policies on `realtime.messages` say it about probe rows that are never
 * committed (protocol.md 5.6). Equal questions share one evaluation, and its answer for a short time.
 */
export class ChannelPolicies {
  readonly #options: ChannelPoliciesOptions;
  readonly #now: () => number;
  readonly #asking = new Coalescing<ChannelGrants>();
  readonly #answers = new Map<string, Answer>();
  #generation = 0;

  constructor(options: ChannelPoliciesOptions) {
    this.#options = options;
    this.#now = options.now ?? ((): number => performance.now());
  }

  /** Throws RowSecurityError when it cannot be told; who is not known to PostgreSQL, or whose policy fails, has no rights. */
  async grants(question: ChannelQuestion, { signal }: { readonly signal?: AbortSignal } = {}): Promise<ChannelGrants> {
    const { cacheMs, cacheLimit = 10_000 } = this.#options;
    const principal = principalOf(question.claims, question.headers);
    const key = JSON.stringify([question.subtopic, principal.key]);
    const known = this.#answers.get(key);
    if (known !== undefined && this.#now() - known.atMs < cacheMs) return known.grants;
    const generation = this.#generation;
    const grants = await this.#asking.run(
      `${generation} ${key}`,
      (parts) => this.#evaluate(question, principal, parts.signal),
      signal,
    );
    if (generation !== this.#generation) return grants; // the policies changed meanwhile: it serves nobody else
    const [oldest] = this.#answers.size >= cacheLimit ? this.#answers.keys() : [];
    if (oldest !== undefined) this.#answers.delete(oldest);
    this.#answers.delete(key);
    this.#answers.set(key, { atMs: this.#now(), grants });
    return grants;
  }

  /** For when policies or grants changed. */
  forget(): void {
    this.#generation++;
    this.#answers.clear();
  }

  async #evaluate(question: ChannelQuestion, principal: Principal, signal: AbortSignal): Promise<ChannelGrants> {
    const { pool, onDenied, patience = patienceOfJoins } = this.#options;
    const deny = (error: RowSecurityError): void => onDenied?.(error, question);
    try {
      checkRoleName(principal);
      const probe = { principal, topic: question.subtopic, timeoutMs: pool.timeoutMs, deny };
      const ask = (): Promise<ChannelGrants> => pool.ask("channels", (client) => evaluate(client, probe), { signal });
      return await askPatiently(ask, patience, signal);
    } catch (error) {
      if (!(error instanceof RoleUnknownError) && !(error instanceof RoleNotGrantedError)) throw error;
      deny(error);
      return nothing;
    }
  }
}

interface Probe {
  readonly principal: Principal;
  readonly topic: string;
  readonly timeoutMs: number;
  readonly deny: (error: RowSecurityError) => void;
}

const extensions = ["broadcast", "presence"] as const;
const insertProbes =
  "INSERT INTO realtime.messages (id, topic, extension) VALUES ($1, $3, 'broadcast'), ($2, $3, 'presence')";
const insertProbe = "INSERT INTO realtime.messages (id, topic, extension) VALUES ($1, $2, $3)";

/**
 * In one round trip: a row of each kind as ourselves, then as the role what it sees of them, and whether it may insert the
 * like. Each look is undone, so that one that fails leaves the others as they are; in the end everything is.
 */
async function evaluate(client: pg.ClientBase, { principal, topic, timeoutMs, deny }: Probe): Promise<ChannelGrants> {
  const ids = [randomUUID(), randomUUID()];
  const [begin, set, insert, role, , select, , broadcast, , presence] = await inOneFlight(client, [
    "BEGIN",
    settingsStatement(principal, { topic, timeoutMs }),
    { text: insertProbes, values: [...ids, topic] },
    roleStatement(principal),
    "SAVEPOINT probe",
    { text: "SELECT id FROM realtime.messages WHERE id = ANY($1::uuid[])", values: [ids] },
    "ROLLBACK TO SAVEPOINT probe",
    { text: insertProbe, values: [randomUUID(), topic, "broadcast"] },
    "ROLLBACK TO SAVEPOINT probe",
    { text: insertProbe, values: [randomUUID(), topic, "presence"] },
    "ROLLBACK",
  ]);
  for (const step of [begin, set]) if (step?.status === "rejected") throw explainServer(step.reason);
  if (insert?.status === "rejected") throw explainProbe(insert.reason);
  if (role?.status === "rejected") throw explainRole(role.reason, principal);
  const visible = select === undefined ? [] : seen(select, deny);
  const [mayBroadcast, mayTrack] = [broadcast, presence].map((step) => step !== undefined && isGranted(step, deny));
  const [readsBroadcast, readsPresence] = extensions.map((_, index) => visible.includes(ids[index] ?? ""));
  return {
    broadcast: { read: readsBroadcast === true, write: mayBroadcast === true },
    presence: { read: readsPresence === true, write: mayTrack === true },
  };
}

type Step = PromiseSettledResult<pg.QueryResult<Record<string, unknown>>>;

function seen(step: Step, deny: Probe["deny"]): readonly unknown[] {
  if (step.status === "fulfilled") return step.value.rows.map(({ id }) => id);
  denyOrThrow(step.reason, deny);
  return [];
}

/** Row security and privileges say no by the same SQLSTATE. */
function isGranted(step: Step, deny: Probe["deny"]): boolean {
  if (step.status === "fulfilled") return true;
  if (sqlStateOf(step.reason) !== "42501") denyOrThrow(step.reason, deny);
  return false;
}

/** A policy that raises denies (protocol.md 5.6); one that takes too long, or a database that is away, cannot be asked. */
function denyOrThrow(cause: unknown, deny: Probe["deny"]): void {
  const error = sqlStateOf(cause) === "42501" ? new AccessDeniedError({ cause }) : explainServer(cause);
  if (!(error instanceof PolicyFailedError) && !(error instanceof AccessDeniedError)) throw error;
  deny(error);
}

/** What keeps us from inserting probe rows as ourselves. */
function explainProbe(cause: unknown): RowSecurityError {
  switch (sqlStateOf(cause)) {
    case "42501":
      return new ProbeRefusedError({ cause });
    case "23514": // check_violation: no partition of relation found for row
      return new PartitionMissingError({ cause });
    case "3F000": // invalid_schema_name
    case "42P01": // undefined_table
      return new SchemaMissingError({ cause });
    default:
      return explainServer(cause);
  }
}
