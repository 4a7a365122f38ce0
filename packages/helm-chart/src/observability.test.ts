import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { stringify } from "yaml";
import { pick, render } from "./helm.ts";
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

  it.skipIf(!hasPrometheus())("of the chart miss a release's metrics also while another one has its own", async () => {
    const metrics = { serviceMonitor: { enabled: true }, prometheusRule: { enabled: true } };
    const rules = pick(await render({ metrics }), "PrometheusRule", "demo-walcast")["spec"] as unknown;
    const folder = mkdtempSync(join(tmpdir(), "walcast-alerts-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    writeFileSync(join(folder, "rules.yaml"), stringify(rules));
    const of = (labels: string): unknown[] => [
      { series: `walcast_ingester_is_leader{job="i",${labels}}`, values: "1x20" },
      { series: `walcast_gateway_connections{job="g",${labels}}`, values: "9x20" },
    ];
    const there = of('namespace="default",release="demo-walcast"');
    const others = [...of('namespace="default",release="other"'), ...of('namespace="other",release="demo-walcast"')];
    const test = (series: readonly unknown[], firing: readonly string[]): unknown => ({
      interval: "15s",
      input_series: series,
      promql_expr_test: [
        {
          expr: 'count by (alertname, namespace, release) (ALERTS{alertstate="firing"})',
          eval_time: "4m",
          exp_samples: firing.map((alertname) => ({
            labels: `{alertname="${alertname}", namespace="default", release="demo-walcast"}`,
            value: 1,
          })),
        },
      ],
    });
    const tests = [test([...there, ...others], []), test(others, ["WalcastNoLeader", "WalcastNoGateway"])];
    writeFileSync(
      join(folder, "test.yaml"),
      stringify({ rule_files: ["rules.yaml"], evaluation_interval: "15s", tests }),
    );
    expect(promtool("test", "rules", join(folder, "test.yaml"))).toContain("SUCCESS");
  });
});
