import { defineConfig } from "vitest/config";

// Suites with commands of their own: `npm test` leaves them out.

const conditions = ["@walcast/source", "module", "node", "development|production"];
const suite = (name: string, timeouts: { readonly testTimeout?: number; readonly hookTimeout?: number } = {}) => ({
  extends: true as const,
  test: { name, include: [`packages/**/*.${name}.test.ts`], ...timeouts },
});

// oxlint-disable-next-line import/no-default-export -- vitest reads nothing else
export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    pool: "forks",
    reporters: ["verbose", "./packages/testkit/src/reporter.ts"],
    fileParallelism: false,
    // What a run found is printed as it is, one JSON line each.
    disableConsoleIntercept: true,
    projects: [
      // Crashes of what ingests, at random, for minutes on end.
      suite("chaos", { testTimeout: 120_000 }),
      // Thousands of clients for twenty minutes.
      suite("soak"),
      // Real clients while everything breaks.
      suite("torture"),
      // The images and docker-compose.yml; the first build downloads everything that the images are made of.
      suite("docker", { testTimeout: 180_000, hookTimeout: 900_000 }),
    ],
  },
});
