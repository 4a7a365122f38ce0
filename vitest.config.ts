import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

/** Workspace packages resolve to their sources, so tests need no build; the rest is what vite uses for Node.js. */
const conditions = ["@walcast/source", "module", "node", "development|production"];
const roots = "{packages,services,deploy}";
const minutesLong = ["docker", "chaos", "soak", "torture"].map((kind) => `**/*.${kind}.test.ts`);
const exclude = ["**/node_modules/**", "**/dist/**", "**/.toolchain/**", ...minutesLong];
const servers = ["pg", "nats", "redis"].map((server) => `${roots}/**/*.${server}.test.ts`);
const e2e = [`${roots}/**/*.e2e.test.ts`];
const browser = [`${roots}/**/*.browser.test.ts`];
const globalSetup = ["packages/testkit/src/global-setup.ts"];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    pool: "forks",
    passWithNoTests: false,
    reporters: ["default", "./packages/testkit/src/reporter.ts"],
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: [`${roots}/**/*.test.ts`],
          exclude: [...exclude, ...servers, ...e2e, ...browser],
          maxWorkers: availableParallelism(),
        },
      },
      {
        extends: true,
        test: {
          name: "servers",
          include: servers,
          exclude,
          globalSetup,
          testTimeout: 30_000,
          hookTimeout: 60_000,
          maxWorkers: availableParallelism(),
        },
      },
      {
        extends: true,
        test: {
          name: "e2e",
          include: e2e,
          exclude,
          globalSetup,
          testTimeout: 60_000,
          hookTimeout: 120_000,
          // Alone and last: they measure time limits, and other tests would take the cores away.
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: "browser",
          include: browser,
          exclude,
          globalSetup,
          testTimeout: 60_000,
          hookTimeout: 300_000, // a missing Chromium is installed
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
