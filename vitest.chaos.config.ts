import { defineConfig } from "vitest/config";

/** Crashes at random for minutes on end (packages/e2e/src/chaos): `npm test` leaves them out. */
const conditions = ["@walcast/source", "module", "node", "development|production"];

// oxlint-disable-next-line import/no-default-export -- vitest reads nothing else
export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    pool: "forks",
    reporters: ["verbose", "./packages/testkit/src/reporter.ts"],
    include: ["packages/**/*.chaos.test.ts"],
    fileParallelism: false,
    testTimeout: 120_000,
    // What a run found is printed as it is, one JSON line each.
    disableConsoleIntercept: true,
  },
});
