import { execFile } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { parse, parseAllDocuments } from "yaml";
import { chartPaths } from "./chart-paths.ts";

const execute = promisify(execFile);

/** From the npm registry for the one platform that it has, else what is on the PATH. */
const bundled = fileURLToPath(new URL("../node_modules/.bin/helm", import.meta.url));
const isBundled = process.platform === "linux" && process.arch === "x64" && existsSync(bundled);
const binary = isBundled ? bundled : "helm";

/** `helm` refused something. The message is what it printed. */
export class HelmError extends Error {
  readonly code = "HELM";
  constructor(args: readonly string[], cause: unknown) {
    const { stdout = "", stderr = "" } = cause as { stdout?: string; stderr?: string };
    super(`helm ${args.join(" ")}: ${stderr}${stdout}${stderr + stdout === "" ? String(cause) : ""}`, { cause });
  }
}

/** Runs helm with values on its standard input. Throws HelmError. */
export async function helm(args: readonly string[], values: ChartValues = {}): Promise<string> {
  const running = execute(binary, [...args, "--values", "-"], { maxBuffer: 64 * 1024 * 1024 });
  running.child.stdin?.end(JSON.stringify(values)); // which is YAML, too
  try {
    return (await running).stdout;
  } catch (cause) {
    throw new HelmError(args, cause);
  }
}

export type ChartValues = Readonly<Record<string, unknown>>;

/** Any Kubernetes object. What a test looks at in it, it says by its type. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  // oxlint-disable-next-line typescript/no-explicit-any -- every kind has another shape, and the schemas check it
  readonly [part: string]: any;
}

export const release = "demo";

/** Else Helm would take the version that it was made with. */
const kubernetes = ["--kube-version", "1.30.0"];

/** What `helm install demo` would apply, hooks included. Throws HelmError, also for values that the schema refuses. */
export function render(values: ChartValues = {}, ...args: readonly string[]): Promise<Manifest[]> {
  return renderAs(release, values, ...args);
}

/** The same, for a release of another name. */
export async function renderAs(name: string, values: ChartValues, ...args: readonly string[]): Promise<Manifest[]> {
  const text = await helm(["template", name, chartPaths.chart, ...kubernetes, ...args], values);
  // As Kubernetes reads it: in YAML 1.1 `no`, `on` and `y` are booleans.
  return parseAllDocuments(text, { version: "1.1" }).flatMap((document) => {
    const manifest: unknown = document.toJS();
    return manifest === null || manifest === undefined ? [] : [manifest as Manifest];
  });
}

/**
 * What `helm install demo` would say. Helm shows notes only where it reaches a cluster, so that they are rendered as a template
 * of a copy of the chart.
 */
export async function renderNotes(values: ChartValues = {}): Promise<string> {
  const copy = mkdtempSync(join(tmpdir(), "walcast-chart-"));
  try {
    cpSync(chartPaths.chart, copy, { recursive: true });
    const notes = readFileSync(join(copy, "templates/NOTES.txt"), "utf8");
    writeFileSync(join(copy, "templates/_notes.tpl"), `{{- define "notes" -}}${notes}{{- end -}}`);
    writeFileSync(join(copy, "templates/notes.yaml"), 'notes: {{ include "notes" . | toJson }}');
    const text = await helm(["template", release, copy, ...kubernetes, "--show-only", "templates/notes.yaml"], values);
    return (parse(text) as { readonly notes: string }).notes;
  } finally {
    rmSync(copy, { recursive: true });
  }
}

/** The one object of this kind whose name ends so. */
export function pick(manifests: readonly Manifest[], kind: string, name: string): Manifest {
  const found = manifests.filter((one) => one.kind === kind && one.metadata.name === name);
  const [only] = found;
  if (only === undefined || found.length > 1) {
    const all = manifests.map((one) => `${one.kind}/${one.metadata.name}`).join(", ");
    throw new Error(`${found.length} of ${kind}/${name} among ${all}`);
  }
  return only;
}
