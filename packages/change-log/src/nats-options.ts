import type { NodeConnectionOptions } from "@nats-io/transport-node";

/**
 * What NATS_URL says, as the client library wants it: that takes servers from a URL, but neither user nor password, nor that
 * `tls://` is meant. One URL or several, separated by commas; the first that has credentials gives them for all.
 * `nats://user:password@host`, `nats://token@host`.
 */
export function natsOptions(
  url: string,
): Pick<NodeConnectionOptions, "servers" | "user" | "pass" | "token" | "tls" | "noAsyncTraces"> {
  const urls = url
    .split(",")
    .map((server) => new URL(server.includes("://") ? server.trim() : `nats://${server.trim()}`));
  const { username = "", password = "" } = urls.find((server) => server.username !== "") ?? {};
  const credentials =
    password === ""
      ? { token: decodeURIComponent(username) }
      : { user: decodeURIComponent(username), pass: decodeURIComponent(password) };
  return {
    servers: urls.map(({ host }) => host),
    // Otherwise the library makes two errors for each request, in case it fails: half of what a publish costs.
    noAsyncTraces: true,
    ...(username === "" ? {} : credentials),
    ...(urls.some(({ protocol }) => protocol === "tls:") ? { tls: {} } : {}),
  };
}
