import type { Manifest } from "./helm.ts";

// The validators come compiled from the API's own descriptions (kubernetes-models). They let unknown fields pass, as the API
// server does by default, which drops them: a typing error would be silent. So a validator is handed proxies that note what it
// asks for. It asks for every field that it knows, and what it never asked for is unknown.

const core = "kubernetes-models/_schemas/IoK8sApi";
const monitoring = "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/";

const modules: Readonly<Record<string, string>> = {
  "v1/ConfigMap": `${core}CoreV1ConfigMap`,
  "v1/Pod": `${core}CoreV1Pod`,
  "v1/Secret": `${core}CoreV1Secret`,
  "v1/Service": `${core}CoreV1Service`,
  "v1/ServiceAccount": `${core}CoreV1ServiceAccount`,
  "apps/v1/Deployment": `${core}AppsV1Deployment`,
  "apps/v1/StatefulSet": `${core}AppsV1StatefulSet`,
  "autoscaling/v2/HorizontalPodAutoscaler": `${core}AutoscalingV2HorizontalPodAutoscaler`,
  "batch/v1/Job": `${core}BatchV1Job`,
  "networking.k8s.io/v1/Ingress": `${core}NetworkingV1Ingress`,
  "networking.k8s.io/v1/NetworkPolicy": `${core}NetworkingV1NetworkPolicy`,
  "policy/v1/PodDisruptionBudget": `${core}PolicyV1PodDisruptionBudget`,
  "gateway.networking.k8s.io/v1/HTTPRoute":
    "@kubernetes-models/gateway-api/_schemas/IoK8sSigsGatewayApiApisV1HTTPRoute",
  "monitoring.coreos.com/v1/ServiceMonitor": `${monitoring}ServiceMonitor`,
  "monitoring.coreos.com/v1/PrometheusRule": `${monitoring}PrometheusRule`,
};

interface SchemaError {
  readonly instancePath: string;
  readonly keyword: string;
}

/** Most packages export their validators; one only has models, which throw what a validator finds. */
interface SchemaModule {
  readonly validate?: { (data: unknown): boolean; readonly errors?: readonly SchemaError[] | null };
  readonly [model: string]: unknown;
}

/** What the Kubernetes API would refuse or drop in this object; empty when nothing. */
export async function problemsOf(manifest: Manifest): Promise<string[]> {
  const kind = `${manifest.apiVersion}/${manifest.kind}`;
  const module = modules[kind];
  if (module === undefined) return [`no schema for ${kind}`];
  const watched = new Watched(manifest);
  const errors = findErrors((await import(module)) as SchemaModule, manifest.kind, watched.proxy);
  const name = `${manifest.kind}/${manifest.metadata.name}`;
  return [
    ...errors.map(({ instancePath, keyword }) => `${name}${instancePath}: ${keyword}`),
    ...watched.neverAsked().map((path) => `${name}${path}: unknown field`),
  ];
}

function findErrors({ validate, ...models }: SchemaModule, kind: string, data: object): readonly SchemaError[] {
  if (validate !== undefined) return validate(data) ? [] : (validate.errors ?? []);
  const model = models[kind] as { readonly prototype: { validate(): void } };
  try {
    model.prototype.validate.call(data); // a model made of the data would be a copy, made by asking for everything
    return [];
  } catch (error) {
    return (error as { readonly errors: readonly SchemaError[] }).errors;
  }
}

/** An object that notes which of its fields were looked at, and theirs in turn. */
class Watched {
  readonly proxy: object;
  readonly #target: object;
  readonly #asked = new Set<string>();
  readonly #children = new Map<string, Watched>();

  constructor(target: object) {
    this.#target = target;
    this.proxy = new Proxy(target, {
      get: (object, key): unknown => {
        const value: unknown = Reflect.get(object, key);
        if (typeof key !== "string") return value;
        this.#asked.add(key);
        if (typeof value !== "object" || value === null) return value;
        const child = this.#children.get(key) ?? new Watched(value);
        this.#children.set(key, child);
        return child.proxy;
      },
    });
  }

  neverAsked(path = ""): string[] {
    return Object.keys(this.#target).flatMap((key) => {
      const at = `${path}/${key}`;
      return this.#asked.has(key) ? (this.#children.get(key)?.neverAsked(at) ?? []) : [at];
    });
  }
}
