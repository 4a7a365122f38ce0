import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { findServerBinary, freePort, LineProcess, seekServerBinary, waitUntil } from "@walcast/testkit";
import { stringify } from "yaml";
import { chartPaths } from "./chart-paths.ts";

const [alerts, dashboard] = chartPaths.copies.map(({ from }) => from) as [string, string];
export const alertsPath = alerts;

/** False only where Prometheus is missing and cannot be installed by us: what needs it says then that it was skipped. */
export const hasPrometheus = (): boolean => seekServerBinary("prometheus") !== undefined;

/** `promtool` (which comes with Prometheus) on a file beside the alerts. Returns what it printed; fails when it failed. */
export function promtool(...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(join(dirname(findServerBinary("prometheus")), "promtool"), args, {
    cwd: dirname(alerts),
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`promtool ${args.join(" ")}: ${stdout}${stderr}`);
  return stdout;
}

interface Panel {
  readonly title: string;
  readonly targets?: readonly { readonly expr: string }[];
}

/** Every query of the dashboard, with what Grafana fills in. */
export function dashboardQueries(): { readonly panel: string; readonly query: string }[] {
  const { panels } = JSON.parse(readFileSync(dashboard, "utf8")) as { readonly panels: readonly Panel[] };
  return panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => ({ panel: title, query: expr.replaceAll("$__rate_interval", "1m") })),
  );
}

/** Every metric of ours that the alerts and the dashboard name. */
export function namedMetrics(): string[] {
  const text = readFileSync(alerts, "utf8") + readFileSync(dashboard, "utf8");
  return [...new Set([...text.matchAll(/walcast_\w+/gu)].map(([name]) => name))].toSorted();
}

export interface Prometheus {
  /** The answer of its HTTP API. */
  get<T>(path: string): Promise<T>;
  stop(): Promise<void>;
}

/** Starts Prometheus on these targets, with our alerts; resolves when it has scraped all of them. */
export async function startPrometheus(targets: readonly string[]): Promise<Prometheus> {
  const folder = mkdtempSync(join(tmpdir(), "walcast-prometheus-"));
  const port = await freePort();
  const config = {
    global: { scrape_interval: "1s", evaluation_interval: "1s" },
    rule_files: [alerts],
    scrape_configs: [{ job_name: "walcast", static_configs: [{ targets }] }],
  };
  writeFileSync(join(folder, "prometheus.yml"), stringify(config));
  const process_ = new LineProcess({
    name: "Prometheus",
    command: findServerBinary("prometheus"),
    args: [
      `--config.file=${join(folder, "prometheus.yml")}`,
      `--storage.tsdb.path=${join(folder, "data")}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    env: { PATH: process.env["PATH"] },
  });
  const get = async <T>(path: string): Promise<T> => {
    const response = await fetch(`http://127.0.0.1:${port}/api/v1/${path}`);
    const { status, data, error } = (await response.json()) as { status: string; data: T; error?: string };
    if (status !== "success") throw new Error(`Prometheus: ${path}: ${error}`);
    return data;
  };
  const stop = async (): Promise<void> => {
    await process_.stop();
    rmSync(folder, { recursive: true });
  };
  try {
    const count = async (): Promise<boolean> => {
      const { result } = await get<QueryResult>("query?query=count(up==1)");
      return Number(result[0]?.value[1]) === targets.length;
    };
    await waitUntil(count, { what: "Prometheus to have scraped all targets", timeoutMs: 30_000, intervalMs: 200 });
  } catch (error) {
    await stop();
    throw error;
  }
  return { get, stop };
}

export interface QueryResult {
  readonly result: readonly { readonly metric: Readonly<Record<string, string>>; readonly value: [number, string] }[];
}
