import { readFileSync } from "node:fs";

const observability = new URL("../../../../deploy/observability/", import.meta.url);

interface Panel {
  readonly title: string;
  readonly targets?: readonly { readonly expr: string }[];
}

export interface PanelQuery {
  readonly panel: string;
  readonly query: string;
}

/** Every query of the dashboard, with what Grafana fills in. */
export function dashboardQueries(): PanelQuery[] {
  const { panels } = JSON.parse(readFileSync(new URL("dashboard.json", observability), "utf8")) as {
    readonly panels: readonly Panel[];
  };
  return panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => ({ panel: title, query: expr.replaceAll("$__rate_interval", "1m") })),
  );
}

export interface Target {
  readonly labels: { readonly job: string; readonly instance: string };
  readonly health: "up" | "down" | "unknown";
  readonly lastError: string;
}

export interface Rule {
  readonly name: string;
  readonly query: string;
  readonly health: string;
  readonly state: string;
}

/** What Prometheus answers at its HTTP API (https://prometheus.io/docs/prometheus/latest/querying/api/). */
export class PrometheusApi {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  /** How many series the query has now. Throws what Prometheus says of a query that is none. */
  async series(query: string): Promise<number> {
    const { result } = await this.#get<{ readonly result: readonly unknown[] }>(
      `query?query=${encodeURIComponent(query)}`,
    );
    return result.length;
  }

  async targets(): Promise<readonly Target[]> {
    return (await this.#get<{ readonly activeTargets: readonly Target[] }>("targets?state=active")).activeTargets;
  }

  async rules(): Promise<readonly Rule[]> {
    const { groups } = await this.#get<{ readonly groups: readonly { readonly rules: readonly Rule[] }[] }>("rules");
    return groups.flatMap((group) => group.rules);
  }

  async #get<T>(path: string): Promise<T> {
    const response = await fetch(`${this.#url}/api/v1/${path}`);
    const { status, data, error } = (await response.json()) as { status: string; data: T; error?: string };
    if (status !== "success") throw new Error(`Prometheus: ${path}: ${error}`);
    return data;
  }
}
