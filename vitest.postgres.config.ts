import { defineConfig } from "vitest/config";

/** What speaks to PostgreSQL, for one of its versions; packages/testkit/src/postgres-matrix.ts runs it for each. */
const conditions = ["@walcast/source", "module", "node", "development|production"];

// oxlint-disable-next-line import/no-default-export -- vitest reads nothing else
export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    pool: "forks",
    reporters: ["default", "./packages/testkit/src/reporter.ts"],
    include: ["{packages,services,deploy}/**/*.pg.test.ts", "packages/e2e/src/clients.e2e.test.ts"],
    exclude: ["**/node_modules/**", "**/dist/**", "**/.toolchain/**"],
    globalSetup: ["packages/testkit/src/global-setup.ts"],
    fileParallelism: false,
    testTimeout: 60_000,
    // A server that is not there yet is fetched first.
    hookTimeout: 300_000,
  },
});
