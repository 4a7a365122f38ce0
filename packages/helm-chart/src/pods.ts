import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { containerLog, docker, waitUntil } from "@walcast/testkit";
import { pick, type Manifest } from "./helm.ts";

// Runs the Pods of rendered manifests as containers, as a kubelet would: same command, variables, user, capabilities, file
// system, volumes, probes and way to end. What it does not know it refuses, so that nothing is left out unseen.

interface ContainerSpec {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly env?: readonly EnvVar[];
  readonly envFrom?: readonly { readonly configMapRef: { readonly name: string } }[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
  readonly lifecycle?: { readonly preStop: { readonly exec: { readonly command: readonly string[] } } };
  readonly startupProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly resources: { readonly limits: { readonly memory: string } };
}

interface EnvVar {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: {
    readonly secretKeyRef?: { readonly name: string; readonly key: string };
    readonly fieldRef?: { readonly fieldPath: string };
  };
}

interface Probe {
  readonly httpGet?: { readonly path: string; readonly port: string };
  readonly exec?: { readonly command: readonly string[] };
}

export type ProbeName = "startupProbe" | "livenessProbe" | "readinessProbe";

export interface PodsOptions {
  readonly manifests: readonly Manifest[];
  /** A docker network, on which Pods have the names that Services give them. */
  readonly network: string;
}

export class Pods {
  readonly #manifests: readonly Manifest[];
  readonly #network: string;
  readonly #folder = mkdtempSync(join(tmpdir(), "walcast-pods-"));
  readonly #containers: string[] = [];

  constructor({ manifests, network }: PodsOptions) {
    this.#manifests = manifests;
    this.#network = network;
  }

  /** Starts one Pod of a Deployment, StatefulSet, Job or Pod. `aliases`: names that Services would give it. */
  async start(kind: string, name: string, aliases: readonly string[] = []): Promise<Pod> {
    const manifest = pick(this.#manifests, kind, name);
    const spec = kind === "Pod" ? manifest["spec"] : manifest["spec"].template.spec;
    const [container] = spec.containers as readonly ContainerSpec[];
    if (container === undefined) throw new Error(`${kind}/${name} has no container`);
    const podName = `${name}-0`;
    const { runAsUser, runAsGroup } = spec.securityContext as { runAsUser: number; runAsGroup: number };
    const entrypoint = container.command === undefined ? [] : [`--entrypoint=${container.command[0]}`];
    const id = await docker([
      "run",
      "--detach",
      `--network=${this.#network}`,
      `--user=${runAsUser}:${runAsGroup}`,
      "--read-only",
      "--cap-drop=ALL",
      "--security-opt=no-new-privileges",
      `--memory=${container.resources.limits.memory.replace(/i$/u, "").toLowerCase()}`,
      ...[podName, ...aliases].map((alias) => `--network-alias=${alias}`),
      ...this.#environment(container, podName),
      ...this.#volumes(manifest, spec, container),
      ...entrypoint,
      container.image,
      ...(container.command?.slice(1) ?? []),
      ...(container.args ?? []),
    ]);
    this.#containers.push(id);
    return new Pod({ id, name: podName, container, graceSeconds: spec.terminationGracePeriodSeconds ?? 30 });
  }

  async removeAll(): Promise<void> {
    if (this.#containers.length > 0) await docker(["rm", "--force", "--volumes", ...this.#containers]);
    rmSync(this.#folder, { recursive: true });
  }

  #environment(container: ContainerSpec, podName: string): string[] {
    const pairs = new Map<string, string>();
    for (const { configMapRef } of container.envFrom ?? []) {
      for (const [name, value] of Object.entries(this.#data("ConfigMap", configMapRef.name))) pairs.set(name, value);
    }
    for (const { name, value, valueFrom } of container.env ?? [])
      pairs.set(name, value ?? this.#valueFrom(valueFrom, podName));
    return [...pairs].map(([name, value]) => `--env=${name}=${value}`);
  }

  #valueFrom(source: EnvVar["valueFrom"], podName: string): string {
    if (source?.fieldRef?.fieldPath === "metadata.name") return podName;
    const { name = "", key = "" } = source?.secretKeyRef ?? {};
    const value = this.#data("Secret", name)[key];
    if (value === undefined) throw new Error(`no value for ${JSON.stringify(source)}`);
    return value;
  }

  #data(kind: "ConfigMap" | "Secret", name: string): Readonly<Record<string, string>> {
    const manifest = pick(this.#manifests, kind, name);
    return (kind === "Secret" ? manifest["stringData"] : manifest["data"]) as Readonly<Record<string, string>>;
  }

  #volumes(manifest: Manifest, spec: Manifest["spec"], container: ContainerSpec): string[] {
    const claims = ((manifest["spec"].volumeClaimTemplates ?? []) as readonly Manifest[]).map(
      ({ metadata }) => metadata.name,
    );
    return (container.volumeMounts ?? []).map(({ name, mountPath }) => {
      // What fsGroup does to a claim: the user may write there.
      if (claims.includes(name)) return `--mount=type=tmpfs,destination=${mountPath},tmpfs-mode=1777`;
      const volume = spec.volumes.find((one: { name: string }) => one.name === name);
      if (volume?.configMap === undefined) throw new Error(`no stand-in for volume ${name}`);
      return `--volume=${this.#write(volume.configMap.name)}:${mountPath}:ro`;
    });
  }

  /** A ConfigMap as a folder of files. */
  #write(configMap: string): string {
    const folder = mkdtempSync(join(this.#folder, "map-"));
    chmodSync(folder, 0o755); // it was made for this user alone
    for (const [file, text] of Object.entries(this.#data("ConfigMap", configMap)))
      writeFileSync(join(folder, file), text, { mode: 0o644 });
    return folder;
  }
}

interface PodOptions {
  readonly id: string;
  readonly name: string;
  readonly container: ContainerSpec;
  readonly graceSeconds: number;
}

/** A running container that stands for a Pod. */
export class Pod {
  readonly id: string;
  readonly #options: PodOptions;

  constructor(options: PodOptions) {
    this.id = options.id;
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  /** An address of one of its named ports, as this machine reaches it. */
  async url(portName: string, path = ""): Promise<string> {
    const port = this.#options.container.ports?.find(({ name }) => name === portName)?.containerPort;
    if (port === undefined) throw new Error(`${this.name} has no port ${portName}`);
    const format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    return `http://${await docker(["inspect", "--format", format, this.id])}:${port}${path}`;
  }

  /** Whether a probe succeeds now. Throws when the container has none of that name. */
  async probe(which: ProbeName): Promise<boolean> {
    const probe = this.#options.container[which];
    if (probe?.exec !== undefined) {
      return await docker(["exec", this.id, ...probe.exec.command]).then(
        () => true,
        () => false,
      );
    }
    if (probe?.httpGet === undefined) throw new Error(`${this.name} has no ${which}`);
    const url = await this.url(probe.httpGet.port, probe.httpGet.path);
    // A kubelet takes everything from 200 up to 399 for success.
    return await fetch(url, { redirect: "manual" }).then(
      ({ status }) => status >= 200 && status < 400,
      () => false,
    );
  }

  async untilReady(): Promise<void> {
    await waitUntil(() => this.probe("readinessProbe"), {
      what: `${this.name} to be ready`,
      timeoutMs: 60_000,
      intervalMs: 100,
    }).catch(async (cause: unknown) => {
      throw new Error(`${this.name} did not become ready; its log:\n${await this.logs()}`, { cause });
    });
  }

  /** Ends it as a kubelet does: preStop, then SIGTERM, and SIGKILL when all of that takes too long. Resolves with its exit code. */
  async stop(): Promise<number> {
    const deadline = performance.now() + this.#options.graceSeconds * 1_000;
    const preStop = this.#options.container.lifecycle?.preStop.exec.command;
    if (preStop !== undefined) await docker(["exec", this.id, ...preStop]);
    const left = Math.max(0, Math.floor((deadline - performance.now()) / 1_000));
    await docker(["stop", `--time=${left}`, this.id]);
    return await this.exitCode();
  }

  /** Waits for it to end by itself. */
  async exitCode(): Promise<number> {
    return Number(await docker(["wait", this.id]));
  }

  logs(): Promise<string> {
    return containerLog(this.id);
  }
}
