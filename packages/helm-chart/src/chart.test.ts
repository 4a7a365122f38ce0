import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it, test } from "vitest";
import { chartPaths } from "./chart-paths.ts";
import { withValues } from "./chart-readme.ts";
import { documentedValues } from "./documented-values.ts";
import { examples } from "./example-values.ts";
import { helm, HelmError, pick, render, renderAs, type ChartValues, type Manifest } from "./helm.ts";
import { problemsOf } from "./kubernetes-schemas.ts";
import { freeSettings, valuesSchema } from "./values-schema.ts";

const values = readFileSync(chartPaths.values, "utf8");
const rendered = new Map<string, readonly Manifest[]>();
const of = (name: keyof typeof examples): readonly Manifest[] => rendered.get(name) ?? [];

beforeAll(async () => {
  for (const [name, example] of Object.entries(examples)) rendered.set(name, await render(example));
}, 60_000);

describe("what is made by `npm run docs`", () => {
  it("is what it would make", () => {
    expect(JSON.parse(readFileSync(chartPaths.schema, "utf8"))).toEqual(valuesSchema(values));
    const readme = readFileSync(chartPaths.readme, "utf8");
    expect(withValues(readme, values)).toBe(readme);
    for (const { from, to } of chartPaths.copies) expect(readFileSync(to, "utf8")).toBe(readFileSync(from, "utf8"));
  });

  it("describes every value that its name does not explain", () => {
    const documented = documentedValues(values);
    expect(documented.length).toBeGreaterThan(100);
    const readme = readFileSync(chartPaths.readme, "utf8");
    for (const { path, isSection } of documented) if (!isSection) expect(readme).toContain(`| \`${path}\` |`);
  });

  it("has a value for every secret setting: none may have to stand in a ConfigMap", () => {
    const secrets = Object.values(freeSettings).flatMap((settings) =>
      Object.entries(settings).filter(([, { isSecret }]) => isSecret),
    );
    expect(secrets.map(([name]) => name)).toEqual([]);
  });
});

describe.each(Object.keys(examples) as (keyof typeof examples)[])("values %s", (name) => {
  it("pass helm lint without a warning", async () => {
    const report = await helm(["lint", "--strict", chartPaths.chart], examples[name]);
    expect(report).toContain("0 chart(s) failed");
    expect(report).not.toMatch(/WARNING|ERROR/u);
  });

  it("make objects that Kubernetes knows, with fields that it knows", async () => {
    expect(of(name).length).toBeGreaterThanOrEqual(8);
    for (const manifest of of(name)) expect(await problemsOf(manifest)).toEqual([]);
    const names = of(name).map(({ kind, metadata }) => `${kind}/${metadata.name}`);
    expect(new Set(names).size).toBe(names.length);
  });

  it("run everything confined, and without a token for the API server", () => {
    const pods = of(name).flatMap(
      (manifest) => manifest["spec"]?.template?.spec ?? (manifest.kind === "Pod" ? manifest["spec"] : []),
    );
    expect(pods.length).toBeGreaterThanOrEqual(3);
    for (const pod of pods) {
      expect(pod).toMatchObject({
        automountServiceAccountToken: false,
        enableServiceLinks: false,
        securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: "RuntimeDefault" } },
      });
      for (const container of pod.containers) {
        expect(container.securityContext).toEqual({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ["ALL"] },
        });
        expect(container.resources).toMatchObject({
          requests: { cpu: expect.any(String) },
          limits: { memory: expect.any(String) },
        });
      }
    }
  });

  it("have selectors that match what they select", () => {
    const templates = of(name).flatMap((manifest) =>
      manifest["spec"]?.template === undefined ? [] : [manifest["spec"].template.metadata.labels],
    );
    for (const { kind, metadata, spec } of of(name)) {
      const selector =
        kind === "Service" ? spec.selector : (spec?.selector?.matchLabels ?? spec?.podSelector?.matchLabels);
      if (selector === undefined || kind === "ServiceMonitor") continue;
      const matched = templates.filter((labels) =>
        Object.entries(selector).every(([key, value]) => labels[key] === value),
      );
      expect(matched, `${kind}/${metadata.name}`).toHaveLength(1);
    }
  });

  it("refer to ConfigMaps, Secrets and keys that are there, or given", () => {
    const given = ["db", "nats", "redis", "jwt", "our-ca", "db-owner"];
    const there = of(name).filter(({ kind }) => kind === "Secret" || kind === "ConfigMap");
    const keys = there.flatMap((one) =>
      Object.keys({ ...one["data"], ...one["stringData"] }).map((key) => `${one.kind}/${one.metadata.name}/${key}`),
    );
    const specs = JSON.stringify(of(name).map((one) => one["spec"] ?? {}));
    const maps = [...specs.matchAll(/"configMapRef":\{"name":"([^"]+)"/gu)].map(([, map]) => map);
    const secrets = [...specs.matchAll(/"secretKeyRef":\{"name":"([^"]+)","key":"([^"]+)"/gu)]
      .filter(([, secret = ""]) => !given.includes(secret))
      .map(([, secret, key]) => `Secret/${secret}/${key}`);
    expect(maps.length).toBeGreaterThanOrEqual(4);
    expect(maps.filter((map) => !there.some(({ metadata }) => metadata.name === map))).toEqual([]);
    expect(secrets.filter((key) => !keys.includes(key))).toEqual([]);
  });
});

// https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
describe.each(["production", "ha"] as const)("the longest names, with values %s", (name) => {
  const long = "r".repeat(53); // Helm's limit
  it.each([
    ["of a release", long, {}],
    ["of your own", "demo", { fullnameOverride: "n".repeat(80) }],
  ])("%s fit", async (_whose, releaseName, override) => {
    const manifests = await renderAs(releaseName, { ...examples[name], ...override });
    expect(manifests).toHaveLength(of(name).length);
    for (const manifest of manifests) {
      const { kind, metadata } = manifest;
      // Of a StatefulSet's name and a hash of ten characters a label of its Pods is made, of a Job's name one of its Pods.
      const limit = { StatefulSet: 52, ConfigMap: 253 }[kind] ?? 63;
      expect(metadata.name.length, `${kind}/${metadata.name}`).toBeLessThanOrEqual(limit);
      const labels = { ...metadata.labels, ...manifest["spec"]?.template?.metadata.labels };
      for (const label of Object.values(labels)) expect(label).toMatch(/^[\w.-]{1,63}$/u);
    }
  });
});

describe("validation", () => {
  it("finds unknown fields, wrong types and missing ones, at any depth", async () => {
    const deployment = structuredClone(pick(of("defaults"), "Deployment", "demo-walcast-gateway"));
    deployment["spec"].template.spec.containers[0].readinesProbe = {};
    deployment["spec"].replicas = "two";
    delete deployment["spec"].selector;
    expect(await problemsOf(deployment)).toEqual(
      expect.arrayContaining([
        "Deployment/demo-walcast-gateway/spec/template/spec/containers/0/readinesProbe: unknown field",
        "Deployment/demo-walcast-gateway/spec/replicas: type",
        "Deployment/demo-walcast-gateway/spec: required",
      ]),
    );
    const rule = structuredClone(pick(of("production"), "PrometheusRule", "demo-walcast"));
    rule["spec"].groups[0].rules[0].alrt = "x";
    expect(await problemsOf(rule)).toEqual(["PrometheusRule/demo-walcast/spec/groups/0/rules/0/alrt: unknown field"]);
  });

  const typos: readonly [string, ChartValues, RegExp][] = [
    ["at the top", { gatway: {} }, /gatway/u],
    ["inside", { gateway: { replcas: 3 } }, /replcas/u],
    ["deep inside", { nats: { bundled: { persistence: { sise: "1Gi" } } } }, /sise/u],
    ["in a setting's name", { gateway: { config: { MAX_CONECTIONS: 5 } } }, /MAX_CONECTIONS/u],
    ["a setting of the other service", { gateway: { config: { BATCH_BYTES: 5 } } }, /BATCH_BYTES/u],
    ["a setting that has a value of its own", { ingester: { config: { SLOT_NAME: "x" } } }, /SLOT_NAME/u],
    ["a secret in a ConfigMap", { gateway: { config: { JWT_SECRET: "x" } } }, /JWT_SECRET/u],
    ["two NATS servers", { nats: { bundled: { replicas: 2 } } }, /replicas/u],
    ["a text for a number", { ingester: { replicas: "many" } }, /replicas/u],
    ["a slot that PostgreSQL refuses", { database: { slot: "my-slot" } }, /slot/u],
    ["a name that is no label", { nameOverride: "n".repeat(64) }, /nameOverride/u],
    ["a name that no Service may have", { fullnameOverride: "1st" }, /fullnameOverride/u],
    ["a path without a slash", { ingress: { paths: ["sse"] } }, /paths/u],
    ["no path, which a route takes for every path", { ingress: { paths: [] } }, /paths/u],
    ["resources", { gateway: { resources: { request: {} } } }, /request/u],
  ];
  it.each(typos)("values.schema.json refuses a typing error %s", async (_where, wrong, message) => {
    await expect(render(wrong)).rejects.toThrow(message);
  });

  it("refuses a Kubernetes that does not know every field, by itself, and takes the first that does", async () => {
    await expect(render({}, "--kube-version", "1.26.15")).rejects.toThrow(/requires kubeVersion: >=1\.27/u);
    await expect(render({}, "--kube-version", "1.27.0-gke.100")).resolves.not.toEqual([]);
  });

  const contradictions: readonly [ChartValues, RegExp][] = [
    [{ nats: { bundled: { enabled: false } } }, /needs NATS: set nats\.url/u],
    [{ database: { existingSecret: "x", password: "y" } }, /excludes database\.password/u],
    [{ auth: { existingSecret: "x", jwtSecret: "y" } }, /auth\.existingSecret excludes/u],
    [{ gatewayApi: { enabled: true } }, /needs gatewayApi\.parentRefs/u],
    [{ gateway: { autoscaling: { enabled: true, cpuPercent: 0 } } }, /cpuPercent or connectionsPerPod/u],
    [
      { gateway: { autoscaling: { enabled: true, minReplicas: 11 } } },
      /minReplicas is above gateway\.autoscaling\.max/u,
    ],
    [{ gateway: { port: 4002 } }, /gateway\.port and gateway\.metricsPort are both 4002/u],
    [{ gateway: { service: { nodePort: 30_000 } } }, /nodePort needs gateway\.service\.type NodePort/u],
  ];
  it.each(contradictions)("refuses %j with what to do", async (wrong, message) => {
    const refused = await render(wrong).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(HelmError);
    expect((refused as HelmError).message).toMatch(message);
  });
});

test("an upgrade to a changed setting or secret starts new Pods, another one does not", async () => {
  const sums = (manifests: readonly Manifest[], name: string): unknown =>
    pick(manifests, "Deployment", name)["spec"].template.metadata.annotations;
  const changed = await render({ ...examples.ha, gateway: { replicas: 5, config: { MAX_CONNECTIONS: 7 } } });
  expect(sums(changed, "demo-walcast-gateway")).not.toEqual(sums(of("ha"), "demo-walcast-gateway"));
  expect(sums(changed, "demo-walcast-ingester")).toEqual(sums(of("ha"), "demo-walcast-ingester"));
});
