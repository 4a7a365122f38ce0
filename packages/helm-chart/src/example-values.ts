import type { ChartValues } from "./helm.ts";

/** Ways to install the chart, each rendered, linted and validated. */
export const examples = {
  /** As it comes. */
  defaults: {},
  /** The least there is: no NATS cluster, no Redis, one of each, by reference. */
  minimal: {
    database: { host: "db", existingSecret: "db" },
    nats: { existingSecret: "nats" },
    redis: { bundled: { enabled: false } },
    auth: { existingSecret: "jwt" },
    ingester: { replicas: 1 },
    gateway: { replicas: 1 },
    slotCleanup: { reminder: false },
    serviceAccount: { create: false },
  },
  /** Everything outside, everything with TLS, everything on. */
  production: {
    image: { repository: "registry.example/walcast", digest: `sha256:${"a".repeat(64)}` },
    imagePullSecrets: [{ name: "registry" }],
    commonLabels: { team: "realtime" },
    database: { host: "db.example", existingSecret: "db", tls: { enabled: true }, publications: ["one", "two"] },
    tls: { caSecret: "our-ca" },
    auth: { jwksUrl: "https://auth.example/jwks.json", existingSecret: "jwt", existingSecretJwksKey: "jwks" },
    nats: { existingSecret: "nats" },
    redis: { existingSecret: "redis" },
    ingester: {
      antiAffinity: "hard",
      logReplicas: 3,
      priorityClassName: "high",
      podAnnotations: { note: "x" },
      config: { MAX_REPLICATION_LAG_MB: 4096, TAKEOVER_LIMIT_MS: "5000" },
      tolerations: [{ key: "dedicated", operator: "Exists" }],
      nodeSelector: { disk: "fast" },
      extraEnv: [{ name: "NODE_OPTIONS", value: "--max-old-space-size=400" }],
    },
    gateway: {
      drainSeconds: 60,
      config: { MAX_CONNECTIONS: 20_000, JWT_CLAIM_VALIDATORS: { iss: "us" } },
      autoscaling: { enabled: true, minReplicas: 3, maxReplicas: 30, connectionsPerPod: 8_000 },
      service: { appProtocol: "kubernetes.io/ws" },
    },
    ingress: { enabled: true, className: "nginx", tlsSecret: "realtime-tls" },
    gatewayApi: { enabled: true, parentRefs: [{ name: "edge", namespace: "infra" }] },
    networkPolicy: {
      enabled: true,
      metricsFrom: [{ namespaceSelector: { matchLabels: { name: "monitoring" } } }],
      egress: { enabled: true },
    },
    metrics: {
      serviceMonitor: { enabled: true, labels: { release: "prometheus" } },
      prometheusRule: { enabled: true },
      grafanaDashboard: { enabled: true },
    },
    migrations: { enabled: true, createRoles: true, publish: true, existingSecret: "db-owner" },
    slotCleanup: { enabled: true },
    serviceAccount: { annotations: { role: "walcast" } },
  },
  /** Highly available with what the chart brings. */
  ha: {
    database: { url: "postgres://walcast:secret@db:5432/app" },
    auth: { jwtSecret: "a secret of at least 32 characters" },
    nats: { bundled: { replicas: 3, persistence: { storageClass: "fast" } } },
    ingester: { replicas: 3 },
    gateway: { replicas: 3 },
    networkPolicy: { enabled: true },
    migrations: { enabled: true },
    slotCleanup: { enabled: true },
  },
} as const satisfies Record<string, ChartValues>;
