/** What the gateway says of the token. */
export interface Session {
  /** null: tokens are not verified. */
  readonly role: string | null;
  readonly mayListChannels: boolean;
}

export interface ChannelList {
  readonly topics: readonly { readonly topic: string; readonly channels: number }[];
  readonly topicCount: number;
  readonly channelCount: number;
}

/** The gateway answered, and does not let the token in. */
export class Refusal extends Error {
  readonly code = "REFUSED";
}

/** Throws Refusal, and TypeError when the gateway does not answer. */
export const fetchSession = (apiUrl: string, token: string): Promise<Session> =>
  ask<Session>(new URL("session", apiUrl), token);

export const fetchChannels = (apiUrl: string, token: string): Promise<ChannelList> =>
  ask<ChannelList>(new URL("channels", apiUrl), token);

async function ask<T>(url: URL, token: string): Promise<T> {
  const response = await fetch(url, { headers: token === "" ? {} : { apikey: token }, cache: "no-store" });
  const body = (await response.json()) as T & { readonly error?: string };
  if (!response.ok) throw new Refusal(`The gateway refuses the token: ${body.error ?? response.statusText}`);
  return body;
}
