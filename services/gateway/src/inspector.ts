import type { TokenVerifier } from "@walcast/authz";
import type { Page } from "@walcast/inspector";

export interface InspectorOptions {
  /** Called once; what it takes is waited for by the first who asks. */
  readonly openPage: () => Promise<Page>;
  /** `undefined`: anyone is let in. */
  readonly verifyToken: TokenVerifier | undefined;
  /** Whose tokens may list topics. */
  readonly roles: readonly string[];
  /** The joined topics of each connection. */
  readonly topics: () => Iterable<Iterable<string>>;
  /** Milliseconds, monotonic. */
  readonly now?: () => number;
}

/** What the page learns of its token before it connects. */
export interface Session {
  /** null: tokens are not verified. */
  readonly role: string | null;
  readonly mayListChannels: boolean;
}

export interface ChannelList {
  /** Those with the most channels first. */
  readonly topics: readonly { readonly topic: string; readonly channels: number }[];
  /** Of all topics, also those that are not listed. */
  readonly topicCount: number;
  readonly channelCount: number;
}

const listedTopics = 200;
/** Counting looks at every connection, so it is done this often at most, whoever asks. */
const countEveryMs = 1_000;

/** What the inspector's page asks of its gateway beside what every client gets. */
export class Inspector {
  readonly page: Promise<Page>;
  readonly #options: InspectorOptions;
  #counted: { readonly atMs: number; readonly list: ChannelList } | undefined;

  constructor(options: InspectorOptions) {
    this.#options = options;
    this.page = options.openPage();
    this.page.catch(() => undefined); // told to those who ask for it
  }

  /** Of a token that would be let in. */
  async session(token: string): Promise<Session> {
    const { verifyToken, roles } = this.#options;
    if (verifyToken === undefined) return { role: null, mayListChannels: true };
    const verdict = await verifyToken(token);
    if (verdict.tag !== "valid") return { role: null, mayListChannels: false };
    const { role } = verdict.claims;
    return { role, mayListChannels: roles.includes(role) };
  }

  /** This gateway's topics. */
  channels(): ChannelList {
    const nowMs = (this.#options.now ?? (() => performance.now()))();
    if (this.#counted === undefined || nowMs - this.#counted.atMs >= countEveryMs)
      this.#counted = { atMs: nowMs, list: countTopics(this.#options.topics()) };
    return this.#counted.list;
  }
}

function countTopics(connections: Iterable<Iterable<string>>): ChannelList {
  const counts = new Map<string, number>();
  let channelCount = 0;
  for (const topics of connections) {
    for (const topic of topics) {
      counts.set(topic, (counts.get(topic) ?? 0) + 1);
      channelCount++;
    }
  }
  const all = [...counts].map(([topic, channels]) => ({ topic, channels }));
  const topics = all.toSorted((a, b) => b.channels - a.channels || (a.topic < b.topic ? -1 : 1)).slice(0, listedTopics);
  return { topics, topicCount: counts.size, channelCount };
}
