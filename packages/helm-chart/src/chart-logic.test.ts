import { describe, expect, it } from "vitest";
import { examples } from "./example-values.ts";
import { pick, render, renderNotes, type ChartValues, type Manifest } from "./helm.ts";

const container = (manifests: readonly Manifest[], kind: string, name: string) =>
  pick(manifests, kind, name)["spec"].template.spec.containers[0];
const secretsOf = (manifests: readonly Manifest[], kind: string, name: string): Record<string, string> =>
  Object.fromEntries(
    (container(manifests, kind, name).env ?? []).flatMap((one: EnvVar) =>
      one.valueFrom === undefined
        ? []
        : [[one.name, `${one.valueFrom.secretKeyRef.name}/${one.valueFrom.secretKeyRef.key}`]],
    ),
  );

interface EnvVar {
  readonly name: string;
  readonly valueFrom?: { readonly secretKeyRef: { readonly name: string; readonly key: string } };
}

describe("secrets", () => {
  it("by reference, nothing of them is in the release", async () => {
    const manifests = await render(examples.production);
    expect(manifests.filter(({ kind }) => kind === "Secret")).toEqual([]);
    expect(secretsOf(manifests, "Deployment", "demo-walcast-ingester")).toEqual({
      DB_PASSWORD: "db/password",
      NATS_URL: "nats/url",
    });
    expect(secretsOf(manifests, "Deployment", "demo-walcast-gateway")).toEqual({
      DB_PASSWORD: "db/password",
      NATS_URL: "nats/url",
      REDIS_URL: "redis/url",
      JWT_SECRET: "jwt/jwt-secret",
      JWT_JWKS: "jwt/jwks",
    });
  });

  it("as values, they are in a Secret and nowhere else", async () => {
    const manifests = await render({
      database: { password: "hidden-1" },
      nats: { url: "tls://user:hidden-2@nats:4222" },
      redis: { url: "rediss://:hidden-3@redis:6379" },
      auth: { jwtSecret: "hidden-4", jwks: '{"keys":["hidden-5"]}', apiKeys: '{"sb_hidden-6":"anon"}' },
      slotCleanup: { enabled: true },
      migrations: { enabled: true },
    });
    const secret = pick(manifests, "Secret", "demo-walcast");
    expect(Object.keys(secret["stringData"]).sort()).toEqual([
      "API_KEYS",
      "DB_PASSWORD",
      "JWT_JWKS",
      "JWT_SECRET",
      "NATS_URL",
      "REDIS_URL",
    ]);
    expect(JSON.stringify(manifests.filter(({ kind }) => kind !== "Secret"))).not.toContain("hidden");
    // The hooks' copies hold what they need.
    for (const name of ["demo-walcast-migrate", "demo-walcast-drop-slot"])
      expect(pick(manifests, "Secret", name)["stringData"]).toEqual({ DB_PASSWORD: "hidden-1" });
    expect(manifests.some(({ kind }) => kind === "StatefulSet")).toBe(false);
  });

  it("makes one for tokens when none is given, and none when tokens are not verified", async () => {
    const made = pick(await render(), "Secret", "demo-walcast")["stringData"].JWT_SECRET as string;
    expect(made).toMatch(/^\w{48}$/u);
    const open = await render({ auth: { secureChannels: false } });
    expect(open.filter(({ kind }) => kind === "Secret")).toEqual([]);
    const keys = await render({ auth: { jwksUrl: "https://auth.example/keys" } });
    expect(pick(keys, "ConfigMap", "demo-walcast-gateway")["data"].JWT_JWKS_URL).toBe("https://auth.example/keys");
    expect(keys.filter(({ kind }) => kind === "Secret")).toEqual([]);
  });
});

describe("the bundled NATS", () => {
  it("is one server, and the log has one copy", async () => {
    const manifests = await render();
    expect(pick(manifests, "StatefulSet", "demo-walcast-nats")["spec"].replicas).toBe(1);
    expect(pick(manifests, "ConfigMap", "demo-walcast-nats")["data"]["nats.conf"]).not.toContain("cluster");
    expect(pick(manifests, "ConfigMap", "demo-walcast-ingester")["data"]).toMatchObject({
      NATS_URL: "nats://demo-walcast-nats-0.demo-walcast-nats:4222",
      LOG_REPLICAS: "1",
      NATS_SYNC_INTERVAL_MS: "1000",
    });
    expect(
      manifests.some(({ metadata, kind }) => kind === "PodDisruptionBudget" && metadata.name.endsWith("nats")),
    ).toBe(false);
  });

  it("is a cluster of three that know each other, and the log has three copies", async () => {
    const manifests = await render(examples.ha);
    const hosts = [0, 1, 2].map((index) => `demo-walcast-nats-${index}.demo-walcast-nats`);
    const config = pick(manifests, "ConfigMap", "demo-walcast-nats")["data"]["nats.conf"] as string;
    for (const host of hosts) expect(config).toContain(`nats://${host}:6222`);
    expect(config).toContain("sync_interval: 1000ms");
    const data = pick(manifests, "ConfigMap", "demo-walcast-ingester")["data"];
    expect(data).toMatchObject({ LOG_REPLICAS: "3", NATS_URL: hosts.map((host) => `nats://${host}:4222`).join(",") });
    expect(pick(manifests, "PodDisruptionBudget", "demo-walcast-nats")["spec"].maxUnavailable).toBe(1);
    const { spec } = pick(manifests, "StatefulSet", "demo-walcast-nats");
    expect(spec).toMatchObject({ replicas: 3, podManagementPolicy: "Parallel", serviceName: "demo-walcast-nats" });
    expect(spec.volumeClaimTemplates[0].spec).toMatchObject({
      storageClassName: "fast",
      resources: { requests: { storage: "10Gi" } },
    });
  });

  it("is left out where NATS is named", async () => {
    const manifests = await render({ nats: { url: "nats://mine:4222" } });
    expect(manifests.some(({ kind }) => kind === "StatefulSet")).toBe(false);
    expect(pick(manifests, "ConfigMap", "demo-walcast-ingester")["data"].LOG_REPLICAS).toBe("1");
  });
});

describe("gateways", () => {
  it("are given the time to drain", async () => {
    const manifests = await render({ gateway: { drainSeconds: 60, preStopSeconds: 7 } });
    expect(pick(manifests, "ConfigMap", "demo-walcast-gateway")["data"].DRAIN_MS).toBe("60000");
    const { spec } = pick(manifests, "Deployment", "demo-walcast-gateway");
    // preStop, draining, 5 s for the rest of stopping, and something left before SIGKILL.
    expect(spec.template.spec.terminationGracePeriodSeconds).toBeGreaterThan(7 + 60 + 5);
    expect(spec.template.spec.containers[0].lifecycle.preStop.exec.command).toEqual(["sleep", "7"]);
    expect(spec.strategy.rollingUpdate).toEqual({ maxSurge: "25%", maxUnavailable: 0 });
  });

  it("scale on CPU and connections, and then have no number of their own", async () => {
    const manifests = await render(examples.production);
    expect(pick(manifests, "Deployment", "demo-walcast-gateway")["spec"]).not.toHaveProperty("replicas");
    const { spec } = pick(manifests, "HorizontalPodAutoscaler", "demo-walcast-gateway");
    expect(spec).toMatchObject({ minReplicas: 3, maxReplicas: 30, scaleTargetRef: { name: "demo-walcast-gateway" } });
    expect(spec.metrics).toEqual([
      { type: "Resource", resource: { name: "cpu", target: { type: "Utilization", averageUtilization: 70 } } },
      {
        type: "Pods",
        pods: {
          metric: { name: "walcast_gateway_connections" },
          target: { type: "AverageValue", averageValue: "8000" },
        },
      },
    ]);
    expect((await render()).some(({ kind }) => kind === "HorizontalPodAutoscaler")).toBe(false);
  });

  it("are spread over nodes and zones", async () => {
    const { spec } = pick(await render(), "Deployment", "demo-walcast-gateway")["spec"].template;
    const keys = spec.topologySpreadConstraints.map((one: { topologyKey: string }) => one.topologyKey);
    expect(keys).toEqual(["kubernetes.io/hostname", "topology.kubernetes.io/zone"]);
  });

  it("show clients what is theirs: metrics and health stay inside", async () => {
    const manifests = await render(examples.production);
    const { http } = pick(manifests, "Ingress", "demo-walcast")["spec"].rules[0];
    const paths = ["/socket", "/realtime/v1", "/sse", "/api/broadcast"];
    expect(http.paths.map(({ path }: { path: string }) => path)).toEqual(paths);
    expect(pick(manifests, "Ingress", "demo-walcast").metadata.annotations).toEqual({
      "nginx.ingress.kubernetes.io/proxy-read-timeout": "3600",
      "nginx.ingress.kubernetes.io/proxy-send-timeout": "3600",
    });
    const [rule] = pick(manifests, "HTTPRoute", "demo-walcast")["spec"].rules;
    expect(rule.timeouts).toEqual({ request: "0s" });
    expect(rule.matches).toEqual(paths.map((value) => ({ path: { type: "PathPrefix", value } })));
    expect(pick(manifests, "Service", "demo-walcast")["spec"].ports).toEqual([
      { name: "http", port: 80, targetPort: "http", appProtocol: "kubernetes.io/ws" },
    ]);
  });
});

describe("ingesters", () => {
  it("are two on different nodes where that is possible, or must be", async () => {
    const soft = pick(await render(), "Deployment", "demo-walcast-ingester")["spec"];
    expect(soft.replicas).toBe(2);
    expect(soft.template.spec.affinity.podAntiAffinity).toHaveProperty(
      "preferredDuringSchedulingIgnoredDuringExecution",
    );
    const hard = pick(await render(examples.production), "Deployment", "demo-walcast-ingester")["spec"].template.spec;
    expect(hard.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey).toBe(
      "kubernetes.io/hostname",
    );
  });

  it("are updated where there is a node for each and no more", async () => {
    const updateOf = async (ingester: ChartValues): Promise<unknown> =>
      pick(await render({ ingester }), "Deployment", "demo-walcast-ingester")["spec"].strategy.rollingUpdate;
    expect(await updateOf({ antiAffinity: "hard" })).toEqual({ maxSurge: 0, maxUnavailable: 1 });
    const standbyFirst = { maxSurge: 1, maxUnavailable: 0 };
    expect(await updateOf({ antiAffinity: "soft" })).toEqual(standbyFirst);
    expect(await updateOf({ antiAffinity: "hard", affinity: { nodeAffinity: {} } })).toEqual(standbyFirst);
  });

  it.each([
    ["parts", {}],
    ["a URL", { url: "postgres://walcast:secret@db/app" }],
    ["a Secret's URL", { existingSecret: "db", existingSecretUrlKey: "url" }],
  ])("and all others connect to the database with TLS when asked to, given %s", async (_what, database) => {
    const sslOf = async (enabled: boolean): Promise<unknown[]> => {
      const hooks = { migrations: { enabled: true }, slotCleanup: { enabled: true } };
      const manifests = await render({ ...hooks, database: { ...database, tls: { enabled } } });
      const names = ["ingester", "gateway", "migrate", "drop-slot"];
      return names.map((name) => pick(manifests, "ConfigMap", `demo-walcast-${name}`)["data"].DB_SSL as unknown);
    };
    expect(await sslOf(true)).toEqual(["true", "true", "true", "true"]);
    expect(await sslOf(false)).toEqual([undefined, undefined, undefined, undefined]);
  });

  it("have a disruption budget when there are several: with one it would keep nodes from being drained", async () => {
    const budgets = (manifests: readonly Manifest[]): string[] =>
      manifests.filter(({ kind }) => kind === "PodDisruptionBudget").map(({ metadata }) => metadata.name);
    expect(budgets(await render())).toEqual(["demo-walcast-gateway", "demo-walcast-ingester"]);
    expect(budgets(await render(examples.minimal))).toEqual([]);
  });

  it("get settings as text, whatever they are as values", async () => {
    const manifests = await render({
      ingester: {
        retentionBytes: 107_374_182_400,
        config: { MAX_REPLICATION_LAG_MB: 2_000_000, CREATE_PUBLICATION: true },
      },
      gateway: { config: { JWT_CLAIM_VALIDATORS: { iss: "us" } } },
      database: { publications: ["a", 'b"c'] },
    });
    expect(pick(manifests, "ConfigMap", "demo-walcast-ingester")["data"]).toMatchObject({
      LOG_RETENTION_BYTES: "107374182400",
      MAX_REPLICATION_LAG_MB: "2000000",
      CREATE_PUBLICATION: "true",
      PUBLICATIONS: '["a","b\\"c"]',
    });
    expect(pick(manifests, "ConfigMap", "demo-walcast-gateway")["data"].JWT_CLAIM_VALIDATORS).toBe('{"iss":"us"}');
  });

  it("trust a CA of your own everywhere", async () => {
    const manifests = await render(examples.production);
    for (const name of ["ingester", "gateway"]) {
      expect(pick(manifests, "ConfigMap", `demo-walcast-${name}`)["data"].NODE_EXTRA_CA_CERTS).toBe(
        "/etc/walcast/ca/ca.crt",
      );
      const { spec } = pick(manifests, "Deployment", `demo-walcast-${name}`)["spec"].template;
      expect(spec.volumes).toEqual([
        { name: "ca", secret: { secretName: "our-ca", items: [{ key: "ca.crt", path: "ca.crt" }] } },
      ]);
      expect(spec.containers[0].volumeMounts).toEqual([{ name: "ca", mountPath: "/etc/walcast/ca", readOnly: true }]);
    }
  });
});

describe("hooks", () => {
  it("migrate before installing and upgrading, with what exists then", async () => {
    const manifests = await render(examples.production);
    const job = pick(manifests, "Job", "demo-walcast-migrate");
    expect(job.metadata.annotations?.["helm.sh/hook"]).toBe("pre-install,pre-upgrade");
    expect(container(manifests, "Job", "demo-walcast-migrate").args).toEqual([
      "migrate",
      "--create-roles",
      "--publish",
      "--gateway-role=walcast",
    ]);
    expect(secretsOf(manifests, "Job", "demo-walcast-migrate")).toEqual({ DATABASE_URL: "db-owner/url" });
    expect((await render()).some(({ kind }) => kind === "Job")).toBe(false);
  });

  it("drop the slot after uninstalling when asked to, and say that it stays otherwise", async () => {
    const asked = await render({ slotCleanup: { enabled: true }, database: { slot: "mine", password: "x" } });
    expect(pick(asked, "Job", "demo-walcast-drop-slot").metadata.annotations?.["helm.sh/hook"]).toBe("post-delete");
    expect(pick(asked, "ConfigMap", "demo-walcast-drop-slot")["data"]).toMatchObject({
      SLOT_NAME: "mine",
      DB_HOST: "postgresql",
    });
    const reminder = pick(await render(), "ConfigMap", "demo-walcast-replication-slot-is-still-there");
    expect(reminder.metadata.annotations).toEqual({ "helm.sh/resource-policy": "keep" });
    expect(reminder["data"]["what-to-do"]).toContain("SELECT pg_drop_replication_slot('walcast')");
  });
});

describe("network policies", () => {
  it("let in who may, and out what must", async () => {
    const manifests = await render(examples.production);
    const gateway = pick(manifests, "NetworkPolicy", "demo-walcast-gateway")["spec"];
    expect(gateway.ingress).toEqual([
      { ports: [{ port: "http" }] },
      { ports: [{ port: "metrics" }], from: [{ namespaceSelector: { matchLabels: { name: "monitoring" } } }] },
    ]);
    expect(gateway.policyTypes).toEqual(["Ingress", "Egress"]);
    expect(gateway.egress.at(-1)).toEqual({ ports: [5432, 4222, 6379, 443].map((port) => ({ port })) });
    const bundled = await render(examples.ha);
    for (const name of ["nats", "redis"]) {
      const [only] = pick(bundled, "NetworkPolicy", `demo-walcast-${name}`)["spec"].ingress;
      expect(only.from[0].podSelector.matchLabels).toMatchObject({ "app.kubernetes.io/instance": "demo" });
    }
  });

  it("let nothing out beyond DNS and this release without ports to let out to", async () => {
    const manifests = await render({ networkPolicy: { enabled: true, egress: { enabled: true, ports: [] } } });
    for (const name of ["gateway", "ingester"]) {
      expect(pick(manifests, "NetworkPolicy", `demo-walcast-${name}`)["spec"].egress).toEqual([
        { ports: ["UDP", "TCP"].map((protocol) => ({ port: 53, protocol })) },
        { to: [{ podSelector: { matchLabels: { "app.kubernetes.io/instance": "demo" } } }] },
      ]);
    }
  });
});

describe("monitoring", () => {
  const absences = (manifests: readonly Manifest[]): string[] => {
    const rules = JSON.stringify(pick(manifests, "PrometheusRule", "demo-walcast")["spec"]);
    return [...rules.matchAll(/absent\(.*?\)/gu)].map(([found]) => found.replaceAll("\\", ""));
  };

  it("tells releases apart, also when one has no metrics at all", async () => {
    const metrics = { serviceMonitor: { enabled: true }, prometheusRule: { enabled: true } };
    const manifests = await render({ metrics }, "--namespace", "prod");
    expect(pick(manifests, "ServiceMonitor", "demo-walcast")["spec"].endpoints).toMatchObject([
      { relabelings: [{ targetLabel: "release", replacement: "demo-walcast" }] },
    ]);
    expect(absences(manifests)).toEqual([
      'absent(walcast_ingester_is_leader{namespace="prod",release="demo-walcast"})',
      'absent(walcast_gateway_connections{namespace="prod",release="demo-walcast"})',
    ]);
  });

  it("expects no labels where metrics are scraped by something else", async () => {
    expect(absences(await render({ metrics: { prometheusRule: { enabled: true } } }))).toEqual([
      "absent(walcast_ingester_is_leader)",
      "absent(walcast_gateway_connections)",
    ]);
  });
});

describe("notes", () => {
  it("warn of what is open, and what `helm uninstall` leaves behind", async () => {
    const plain = await renderNotes();
    expect(plain).toContain('`helm uninstall` leaves the replication slot "walcast" in PostgreSQL');
    expect(plain).toContain("ws://demo-walcast.default:80/socket");
    expect(plain).toContain("there is no password for the database");
    expect(plain).toContain("For production set nats.url");
    const open = await renderNotes({ auth: { secureChannels: false }, slotCleanup: { enabled: true } });
    expect(open).toContain("Nobody's token is verified");
    expect(open).toContain('drops the replication slot "walcast"');
    const production = await renderNotes(examples.production);
    expect(production).toContain("wss://realtime.example.com/socket");
    expect(production).not.toMatch(/WARNING|bundled/u);
  });
});
