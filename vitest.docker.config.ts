import { defineConfig } from "vitest/config";

/** Tests of the images and of docker-compose.yml: they need Docker and minutes, so that `npm test` leaves them out. */
const conditions = ["@walcast/source", "module", "node", "development|production"];

// oxlint-disable-next-line import/no-default-export -- vitest reads nothing else
export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    pool: "forks",
    reporters: ["verbose", "./packages/testkit/src/reporter.ts"],
    include: ["packages/**/*.docker.test.ts"],
    fileParallelism: false,
    testTimeout: 180_000,
    // The first build downloads everything that the images are made of.
    hookTimeout: 900_000,
    // What an outage costs is printed as it is, one JSON line each.
    disableConsoleIntercept: true,
  },
});
