import type { Settings } from "@walcast/config";
import { gatewaySettings } from "@walcast/gateway";
import { ingesterSettings } from "@walcast/ingester";
import { documentedValues, type DocumentedValue } from "./documented-values.ts";

/** The part of JSON Schema (draft 7, which Helm reads) that is used here. */
export interface JsonSchema {
  readonly $schema?: string;
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: boolean | JsonSchema;
  readonly items?: JsonSchema;
  readonly minItems?: number;
  readonly enum?: readonly (string | number)[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly pattern?: string;
}

/** The chart has values of its own for these, or does not want them set. */
const ofTheChart = new Set(
  [
    "DATABASE_URL DB_HOST DB_PORT DB_NAME DB_USER DB_PASSWORD DB_SSL DB_SSL_CA_CERT SLOT_NAME PUBLICATIONS",
    "SOURCE_NAME NATS_URL REDIS_URL REDIS_SSL_CA_CERT LOG_LEVEL LOG_FORMAT LOG_RETENTION_MS LOG_RETENTION_BYTES",
    "LOG_REPLICAS NATS_SYNC_INTERVAL_MS INGESTER_PORT INGESTER_HOST HOST PORT METRICS_PORT SECURE_CHANNELS",
    "JWT_SECRET JWT_JWKS JWT_JWKS_URL API_KEYS DRAIN_MS OTEL_EXPORTER_OTLP_HEADERS",
  ].flatMap((line) => line.split(" ")),
);

const ownSettings = (settings: Settings): Settings =>
  Object.fromEntries(Object.entries(settings).filter(([name]) => !ofTheChart.has(name)));

/** Settings that values.yaml has no value for: what may stand in `config`. */
export const freeSettings = { ingester: ownSettings(ingesterSettings), gateway: ownSettings(gatewaySettings) };

const configSchema = (settings: Settings): JsonSchema => ({
  type: "object",
  additionalProperties: false,
  properties: Object.fromEntries(
    Object.entries(settings).map(([name, { description, shownDefault }]) => [
      name,
      {
        description: `${description} Default: ${shownDefault}.`,
        type: ["string", "integer", "boolean", "array", "object"],
      },
    ]),
  ),
});

const port: JsonSchema = { type: "integer", minimum: 1, maximum: 65_535 };
const anyNumber: JsonSchema = { type: "integer", minimum: 0 };
const texts: JsonSchema = { type: "object", additionalProperties: { type: "string" } };
const objects: JsonSchema = { type: "array", items: { type: "object" } };
const countOrPercent: JsonSchema = { type: ["integer", "string"], pattern: "^[0-9]+%$" };

/** What a default does not tell. The last part of a path stands for every value of that name. */
const rules: Readonly<Record<string, JsonSchema>> = {
  nameOverride: { type: "string", pattern: "^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$" },
  fullnameOverride: { type: "string", pattern: "^([a-z][a-z0-9-]*)?$" },
  pullPolicy: { enum: ["Always", "IfNotPresent", "Never"] },
  imagePullSecrets: objects,
  commonLabels: texts,
  podAnnotations: texts,
  podLabels: texts,
  annotations: texts,
  labels: texts,
  nodeSelector: texts,
  tolerations: objects,
  extraEnv: objects,
  topologySpreadConstraints: objects,
  affinity: { type: "object" },
  resources: {
    type: "object",
    additionalProperties: false,
    properties: { requests: { type: "object" }, limits: { type: "object" }, claims: objects },
  },
  podSecurityContext: { type: "object" },
  securityContext: { type: "object" },
  maxSurge: countOrPercent,
  maxUnavailable: countOrPercent,
  parentRefs: objects,
  clientsFrom: objects,
  metricsFrom: objects,
  "nats.bundled.replicas": { enum: [1, 3] },
  "image.digest": { type: "string", pattern: "^(sha256:[0-9a-f]{64})?$" },
  "database.slot": { type: "string", pattern: "^[a-z0-9_]{1,63}$" },
  "database.port": port,
  "gateway.port": port,
  "gateway.metricsPort": port,
  "gateway.service.port": port,
  "gateway.service.type": { enum: ["ClusterIP", "NodePort", "LoadBalancer"] },
  "networkPolicy.egress.ports": { type: "array", items: port },
  "log.level": { enum: ["trace", "debug", "info", "warn", "error"] },
  "log.format": { enum: ["json", "text"] },
  "ingress.paths": { type: "array", items: { type: "string", pattern: "^/" }, minItems: 1 },
  "ingress.controller": { enum: ["nginx", "haproxy", "none"] },
  "ingester.antiAffinity": { enum: ["hard", "soft", "none"] },
  "ingester.config": configSchema(freeSettings.ingester),
  "gateway.config": configSchema(freeSettings.gateway),
};

/** The schema of values.yaml: every value that is there, of its default's type, and none besides. */
export function valuesSchema(yaml: string): JsonSchema {
  const root = section(documentedValues(yaml), "");
  // Helm gives every chart `global`, for charts that have it as a part.
  const properties = { global: { type: "object" }, ...root.properties };
  return { $schema: "http://json-schema.org/draft-07/schema#", ...root, properties };
}

function section(values: readonly DocumentedValue[], prefix: string): JsonSchema {
  const properties: Record<string, JsonSchema> = {};
  for (const value of values) {
    if (!value.path.startsWith(prefix) || value.path.slice(prefix.length).includes(".")) continue;
    const name = value.path.slice(prefix.length);
    const described = value.description === "" ? {} : { description: value.description };
    properties[name] = { ...described, ...(rules[value.path] ?? rules[name] ?? schemaOf(value, values)) };
  }
  return { type: "object", additionalProperties: false, properties };
}

function schemaOf(value: DocumentedValue, values: readonly DocumentedValue[]): JsonSchema {
  if (value.isSection) return section(values, `${value.path}.`);
  if (Array.isArray(value.default)) return { type: "array", items: { type: "string" } };
  switch (typeof value.default) {
    case "boolean":
    case "string":
      return { type: typeof value.default };
    case "number":
      return anyNumber;
    default:
      throw new Error(`values.yaml: ${value.path} needs a rule of its own in values-schema.ts`);
  }
}
