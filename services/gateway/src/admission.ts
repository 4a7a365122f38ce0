import { joinRefusal, shutdownReason, type Claims, type TokenVerdict, type TokenVerifier } from "@walcast/authz";
import { subtopicOf, topicPrefix, type ReplayRequest } from "@walcast/protocol";
import { describeError, type Logger } from "@walcast/telemetry";
import { allRights, ChannelRightsError, type ChannelRights, type Rights } from "./channel-rights.ts";
import type { Replay } from "./replay.ts";
import { ReplayError, replayRefusals, type Replays } from "./replays.ts";

export interface AdmissionOptions {
  /** `undefined`: channels are open to anyone. */
  readonly verifyToken: TokenVerifier | undefined;
  readonly channelRights: ChannelRights;
  readonly replays: Pick<Replays, "prepare" | "read">;
  readonly log: Logger;
}

/** `reason` is what the client is told. */
export type Decision =
  | {
      readonly tag: "granted";
      readonly claims: Claims | undefined;
      readonly rights: Rights;
      /** Has to be begun or abandoned. */
      readonly replay?: Replay;
    }
  | { readonly tag: "refused"; readonly reason: string };

export interface AdmissionRequest {
  readonly topic: string;
  readonly isPrivate: boolean;
  readonly token: string;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** The peer's words where policies cannot be asked (protocol.md 4.2, 4.10). */
const unavailable = "Realtime was unable to connect to the project database";

/** Decides who may be in a channel: the token first, then the policies of private ones (protocol.md 4.2). */
export class Admission {
  readonly #options: AdmissionOptions;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** A promise only where something has to be asked: an open public channel is joined at once. */
  join(request: AdmissionRequest & { readonly replay?: ReplayRequest }): Decision | Promise<Decision> {
    const { topic, isPrivate, token, replay = { tag: "none" } } = request;
    if (topic === topicPrefix) {
      return { tag: "refused", reason: "TopicNameRequired: You must provide a topic name" };
    }
    const { verifyToken } = this.#options;
    const decide = (verdict: TokenVerdict | undefined): Decision | Promise<Decision> => {
      if (verdict !== undefined && verdict.tag !== "valid") return { tag: "refused", reason: joinRefusal(verdict) };
      const claims = verdict?.claims;
      if (!isPrivate && replay.tag !== "none") return { tag: "refused", reason: replayRefusals.public };
      if (!isPrivate) return { tag: "granted", claims, rights: allRights };
      const asked = this.#askRights({ ...request, claims }, (sentence) => `Unauthorized: ${sentence}`);
      return replay.tag === "none" ? asked : asked.then((decision) => this.#prepareReplay(decision, replay, request));
    };
    return verifyToken === undefined ? decide(undefined) : verifyToken(token).then(decide);
  }

  /** A new token for a channel that has `former` rights; `undefined` when tokens are not verified. */
  async refresh(
    request: AdmissionRequest & { readonly former: Rights; readonly replay?: Replay | undefined },
  ): Promise<Decision | undefined> {
    const { topic, isPrivate, token, former, replay } = request;
    const verdict = await this.#options.verifyToken?.(token);
    // A key server that does not answer is no reason to end a channel: the former token is looked at until it expires.
    if (verdict === undefined || verdict.tag === "keysUnavailable") return undefined;
    if (verdict.tag !== "valid") return { tag: "refused", reason: shutdownReason(verdict) };
    if (!isPrivate) return { tag: "granted", claims: verdict.claims, rights: allRights };
    const decision = await this.#askRights({ ...request, claims: verdict.claims }, (sentence) => sentence);
    if (decision.tag === "refused") return decision;
    const { broadcast, presence } = decision.rights;
    const hasLost = (former.broadcast.read && !broadcast.read) || (former.presence.read && !presence.read);
    if (!hasLost) return replay === undefined ? decision : await this.#readAgain(decision, replay, request);
    const reason = `You no longer have permission to read from this Channel topic: ${subtopicOf(topic)}`;
    return { tag: "refused", reason };
  }

  /** After the policies, as the peer does it (protocol.md 4.2). Who may not read broadcasts is replayed none. */
  async #prepareReplay(
    decision: Decision,
    replay: Exclude<ReplayRequest, { readonly tag: "none" }>,
    { topic, headers }: AdmissionRequest,
  ): Promise<Decision> {
    if (decision.tag === "refused") return decision;
    if (replay.tag === "invalid") return { tag: "refused", reason: replayRefusals.invalid };
    if (!decision.rights.broadcast.read) return decision;
    try {
      const { claims } = decision;
      return { ...decision, replay: await this.#options.replays.prepare(replay, { topic, claims, headers }) };
    } catch (error) {
      return refusedReplay(error);
    }
  }

  /** What was read by the former token and has not been sent: this one may not see all of it. */
  async #readAgain(
    decision: Decision & { readonly tag: "granted" },
    replay: Replay,
    { topic, headers }: AdmissionRequest,
  ): Promise<Decision> {
    try {
      await this.#options.replays.read(replay, { topic, claims: decision.claims, headers });
      return decision;
    } catch (error) {
      return refusedReplay(error);
    }
  }

  async #askRights(
    { topic, claims, headers }: AdmissionRequest & { readonly claims: Claims | undefined },
    refusal: (sentence: string) => string,
  ): Promise<Decision> {
    const { channelRights, log } = this.#options;
    const subtopic = subtopicOf(topic);
    try {
      const rights = await channelRights({ subtopic, claims, headers });
      if (rights.broadcast.read || rights.presence.read) return { tag: "granted", claims, rights };
      const sentence = `You do not have permissions to read from this Channel topic: ${subtopic}`;
      return { tag: "refused", reason: refusal(sentence) };
    } catch (error) {
      log.error({ topic, ...describeError(error) }, "asking for the rights in a private channel failed");
      return { tag: "refused", reason: error instanceof ChannelRightsError ? error.message : unavailable };
    }
  }
}

function refusedReplay(error: unknown): Decision {
  if (!(error instanceof ReplayError)) throw error;
  return { tag: "refused", reason: error.message };
}
