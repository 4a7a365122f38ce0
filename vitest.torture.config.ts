import { defineConfig } from "vitest/config";

/** Real clients while everything breaks (packages/e2e/src/torture): `npm test` leaves them out. */
const conditions = ["@walcast/source", "module", "node", "development|production"];

// oxlint-disable-next-line import/no-default-export -- vitest reads nothing else
export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    pool: "forks",
    reporters: ["verbose", "./packages/testkit/src/reporter.ts"],
    include: ["packages/**/*.torture.test.ts"],
    fileParallelism: false,
    // What a run found is printed as it is, one JSON line each.
    disableConsoleIntercept: true,
  },
});
