import { describe, expect, it } from "vitest";
import { dashboardQueries, hasPrometheus, namedMetrics, promtool } from "./observability.ts";

describe("alerts and dashboard", () => {
  it("name metrics, and the dashboard asks for each kind of them", () => {
    expect(namedMetrics().length).toBeGreaterThan(25);
    expect(dashboardQueries().length).toBeGreaterThan(30);
    for (const { query } of dashboardQueries()) expect(query).not.toContain("$__");
  });

  it.skipIf(!hasPrometheus())(
    "are rules and settings that Prometheus takes, and fire when and only when they should",
    () => {
      expect(promtool("check", "rules", "alerts.yaml")).toContain("SUCCESS");
      expect(promtool("test", "rules", "alerts.test.yaml")).toContain("SUCCESS");
      expect(promtool("check", "config", "--syntax-only", "prometheus.yml")).toContain("SUCCESS");
    },
  );
});
