import { integer, names } from "@walcast/config";

/** How much PostgreSQL is asked for who may see what. */
export const rowSecuritySettings = {
  DB_POOL_SIZE: integer("Connections on which policies are asked; one more reads the catalog.", {
    default: 5,
    min: 1,
    max: 1_000,
  }),
  POLICY_TIMEOUT_MS: integer("A policy that takes longer is cancelled, and who depends on it is told.", {
    default: 5_000,
    min: 10,
    unit: "ms",
  }),
  POLICY_QUEUE_LIMIT: integer("Questions that may wait for a connection.", { default: 10_000, min: 1 }),
  POLICY_CACHE_MS: integer("How long an answer about the rights in a private channel serves equal tokens.", {
    default: 5_000,
    unit: "ms",
  }),
  RLS_HEADERS: names(
    "Headers of a client's request that policies of tables may read from `request.headers`, separated by commas. Clients " +
      "share questions and frames only where these are equal, so none that proxies make up, such as `x-request-id`.",
    { refused: ["authorization", "apikey", "cookie", "x-api-key"] },
  ),
  ACCESS_POLL_MS: integer("How often it is looked whether grants, policies or tables changed.", {
    default: 500,
    min: 50,
    unit: "ms",
  }),
  ACCESS_STALE_MS: integer(
    "What is known of grants and tables is not used when it could not be checked for this long.",
    {
      default: 5_000,
      min: 1_000,
      unit: "ms",
    },
  ),
};
