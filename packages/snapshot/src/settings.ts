import { integer } from "@walcast/config";

/** How much PostgreSQL is read for channels that begin with the rows there are. */
export const snapshotSettings = {
  SNAPSHOT_CONNECTIONS: integer("Connections on which rows are read for `config.snapshot`; others wait for one.", {
    default: 3,
    min: 1,
    max: 100,
  }),
  SNAPSHOT_QUEUE_LIMIT: integer("Channels that may wait for such a connection.", { default: 10_000, min: 1 }),
  SNAPSHOT_MAX_ROWS: integer(
    "Rows that one binding's snapshot may have; beyond it a join needs a `limit` or a filter.",
    {
      default: 100_000,
      min: 1,
    },
  ),
  SNAPSHOT_TIMEOUT_MS: integer("A snapshot that takes longer, also for a client that reads slowly, is given up.", {
    default: 60_000,
    min: 100,
    unit: "ms",
  }),
};
