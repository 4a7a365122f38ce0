import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";

// What Grafana and Prometheus of docker-compose.yml are given when they start. A wrong name in it fails nothing: Grafana would
// come up without a dashboard.

const root = new URL("../../../", import.meta.url);
const text = (path: string): string => readFileSync(new URL(path, root), "utf8");

interface Compose {
  readonly services: Readonly<Record<string, { readonly volumes?: readonly string[]; readonly profiles?: string[] }>>;
}
const compose = parse(text("docker-compose.yml")) as Compose;

/** What a file of this repository is called inside the container. */
const mountsOf = (service: string): ReadonlyMap<string, string> =>
  new Map(
    (compose.services[service]?.volumes ?? [])
      .filter((volume) => volume.startsWith("./"))
      .map((volume) => volume.split(":") as [string, string]),
  );

interface DashboardPanel {
  readonly id: number;
  readonly type: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly datasource?: { readonly uid: string };
  readonly targets?: readonly { readonly refId: string; readonly datasource?: { readonly uid: string } }[];
}
interface Dashboard {
  readonly uid: string;
  readonly templating: {
    readonly list: readonly { readonly name: string; readonly type: string; readonly query: string }[];
  };
  readonly panels: readonly DashboardPanel[];
}
const dashboard = JSON.parse(text("deploy/observability/dashboard.json")) as Dashboard;

describe("the profile `observability`", () => {
  it("mounts files where Grafana looks for them", () => {
    const mounts = mountsOf("grafana");
    const { providers } = parse(text("deploy/observability/grafana/dashboards.yaml")) as {
      readonly providers: readonly { readonly type: string; readonly options: { readonly path: string } }[];
    };
    // https://grafana.com/docs/grafana/latest/administration/provisioning/
    expect(mounts.get("./deploy/observability/grafana/datasources.yaml")).toMatch(
      /^\/etc\/grafana\/provisioning\/datasources\/[\w-]+\.yaml$/u,
    );
    expect(mounts.get("./deploy/observability/grafana/dashboards.yaml")).toMatch(
      /^\/etc\/grafana\/provisioning\/dashboards\/[\w-]+\.yaml$/u,
    );
    expect(providers).toMatchObject([{ type: "file" }]);
    expect(mounts.get("./deploy/observability/dashboard.json")).toBe(`${providers[0]?.options.path}/walcast.json`);
  });

  it("gives the dashboard a data source that is there", () => {
    const { datasources } = parse(text("deploy/observability/grafana/datasources.yaml")) as {
      readonly datasources: readonly { readonly type: string; readonly url: string; readonly isDefault: boolean }[];
    };
    expect(datasources).toMatchObject([{ type: "prometheus", url: "http://prometheus:9090", isDefault: true }]);
    expect(compose.services["prometheus"]?.profiles).toEqual(["observability"]);
    const [variable] = dashboard.templating.list;
    expect(variable).toMatchObject({ type: "datasource", query: "prometheus" });
    const used = dashboard.panels.flatMap(({ datasource, targets = [] }) => [
      datasource,
      ...targets.map((t) => t.datasource),
    ]);
    expect(new Set(used.flatMap((one) => one?.uid ?? []))).toEqual(new Set([`\${${variable?.name}}`]));
  });

  it("has panels that are apart from each other, each with queries of its own names", () => {
    const { panels } = dashboard;
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    for (const { gridPos: one, id, targets = [] } of panels) {
      expect(one.x + one.w).toBeLessThanOrEqual(24);
      const over = panels.filter(
        ({ gridPos: other, id: otherId }) =>
          otherId !== id &&
          one.x < other.x + other.w &&
          other.x < one.x + one.w &&
          one.y < other.y + other.h &&
          other.y < one.y + one.h,
      );
      expect(over.map(({ id: otherId }) => [id, otherId])).toEqual([]);
      expect(new Set(targets.map(({ refId }) => refId)).size).toBe(targets.length);
    }
  });

  it("mounts the alerts where Prometheus is told to look", () => {
    const { rule_files: ruleFiles } = parse(text("deploy/observability/prometheus.yml")) as { rule_files: string[] };
    expect(ruleFiles).toEqual([mountsOf("prometheus").get("./deploy/observability/alerts.yaml")]);
  });
});
