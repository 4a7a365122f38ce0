import { fileURLToPath } from "node:url";

const inRepository = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url));

export const chartPaths = {
  chart: inRepository("helm/walcast"),
  values: inRepository("helm/walcast/values.yaml"),
  schema: inRepository("helm/walcast/values.schema.json"),
  readme: inRepository("helm/walcast/README.md"),
  /** What the chart and docker-compose.yml share; a chart can only read files of its own. */
  copies: [
    { from: inRepository("deploy/observability/alerts.yaml"), to: inRepository("helm/walcast/files/alerts.yaml") },
    {
      from: inRepository("deploy/observability/dashboard.json"),
      to: inRepository("helm/walcast/files/dashboard.json"),
    },
  ],
} as const;
