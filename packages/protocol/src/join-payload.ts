import { isObject } from "./json.ts";
import { parseReplay, type ReplayRequest } from "./replay-request.ts";
import { parseResume, type ResumeRequest } from "./resume-request.ts";
import { parseSnapshot, type SnapshotRequest } from "./snapshot-request.ts";

/** One element of `config.postgres_changes`, as the client sent it: it is echoed unchanged (protocol.md 4.3). */
export type BindingRequest = Readonly<Record<string, unknown>>;

/** How a channel wants its own broadcasts treated. */
export interface BroadcastOptions {
  /** Each one is answered. */
  readonly ack: boolean;
  /** The sender gets them too. */
  readonly self: boolean;
  /** Broadcasts from before the join. */
  readonly replay: ReplayRequest;
  /** It wants to be told when broadcasts from the database reach it (protocol.md 5.4). */
  readonly tellsReady: boolean;
}

/** How a channel takes part in presence. */
export interface PresenceRequest {
  /** Whom it stands for; `undefined`: the server makes one up (protocol.md 4.1). */
  readonly key: string | undefined;
  /** It is told who is there from the beginning. */
  readonly isEnabled: boolean;
}

/** A join that is answered when its changes are subscribed to, or after this long (protocol.md 4.12). */
export interface ChangesWait {
  readonly timeoutMs: number;
}

/** What a `phx_join` asks for. */
export type JoinRequest =
  | ({ readonly tag: "legacy"; readonly token: string | undefined } & OwnAdditions)
  | ({
      readonly tag: "current";
      readonly token: string | undefined;
      readonly postgresChanges: readonly BindingRequest[];
      /** `undefined`: the join is answered at once. */
      readonly wait: ChangesWait | undefined;
      readonly broadcast: BroadcastOptions;
      readonly presence: PresenceRequest;
      readonly isPrivate: boolean;
      /** It wants to be told why it gets a change or does not. */
      readonly isExplained: boolean;
    } & OwnAdditions);

/** What other servers do not know, and ignore. */
interface OwnAdditions {
  readonly resume: ResumeRequest;
  /** Changes say when and by which transaction they were committed. */
  readonly hasMeta: boolean;
  /** The rows there are come first. */
  readonly snapshot: SnapshotRequest;
}

/** Reads a join's payload (protocol.md 3.9, 4.1). Values of a wrong kind count as absent, and the join goes on. */
export function parseJoin(payload: unknown): JoinRequest {
  const fields = isObject(payload) ? payload : {};
  const token = chooseToken(fields);
  const isCurrent = "config" in fields;
  const place = isCurrent && isObject(fields["config"]) ? fields["config"] : fields;
  const additions: OwnAdditions = {
    resume: parseResume(fields),
    hasMeta: readBoolean(place["meta"]),
    snapshot: parseSnapshot(place["snapshot"] ?? snapshotOfBindings(place["postgres_changes"])),
  };
  if (!isCurrent) return { tag: "legacy", token, ...additions };
  const config = isObject(fields["config"]) ? fields["config"] : {};
  const bindings = Array.isArray(config["postgres_changes"]) ? (config["postgres_changes"] as unknown[]) : [];
  const broadcast = isObject(config["broadcast"]) ? config["broadcast"] : {};
  const presence = isObject(config["presence"]) ? config["presence"] : {};
  const key = presence["key"];
  return {
    tag: "current",
    token,
    postgresChanges: bindings.filter((binding) => isObject(binding)),
    wait: readWait(config["postgres_changes_options"]),
    broadcast: {
      ack: readBoolean(broadcast["ack"]),
      self: readBoolean(broadcast["self"]),
      replay: parseReplay(broadcast["replay"]),
      tellsReady: readBoolean(broadcast["replication_ready"]),
    },
    presence: {
      key: typeof key === "string" && key !== "" ? key : undefined,
      isEnabled: readBoolean(presence["enabled"]),
    },
    isPrivate: readBoolean(config["private"]),
    isExplained: readBoolean(config["explain"]),
    ...additions,
  };
}

/** Client libraries write a join's `config` themselves, but send what a binding says as it is. */
const snapshotOfBindings = (bindings: unknown): unknown =>
  Array.isArray(bindings)
    ? (bindings as unknown[]).flatMap((binding) => (isObject(binding) ? (binding["snapshot"] ?? []) : [])).at(0)
    : undefined;

/** `undefined` means the connection's token (protocol.md 4.2, "Token choice at join"). */
function chooseToken(fields: Readonly<Record<string, unknown>>): string | undefined {
  const { user_token: userToken, access_token: accessToken } = fields;
  const first = accessToken ?? userToken;
  if (typeof first === "string" && first.startsWith("sb_")) return undefined;
  if (typeof userToken === "string") return userToken;
  return typeof accessToken === "string" ? accessToken : undefined;
}

const wait = { defaultMs: 15_000, longestMs: 20_000 };

function readWait(given: unknown): ChangesWait | undefined {
  if (!isObject(given) || !readBoolean(given["wait"])) return undefined;
  const { timeout } = given;
  const isUsable = typeof timeout === "number" && Number.isInteger(timeout) && timeout > 0;
  return { timeoutMs: Math.min(isUsable ? timeout : wait.defaultMs, wait.longestMs) };
}

const readBoolean = (value: unknown): boolean =>
  value === true || (typeof value === "string" && value.toLowerCase() === "true");
