import { docker, freePort, isHealthy, lines, waitUntil } from "@walcast/testkit";

interface PublishedPort {
  readonly host_ip?: string;
  readonly published?: string;
}

type Ports = Readonly<Record<"realtime" | "postgres" | "board" | "prometheus" | "grafana", number>>;

/** The cluster of docker-compose.yml under a project name and on ports of its own: what else runs here is left alone. */
export class DockerCluster {
  readonly project: string;
  readonly realtimeUrl: string;
  readonly postgresUrl: string;
  readonly boardUrl: string;
  readonly prometheusUrl: string;
  readonly grafanaUrl: string;
  readonly #env: NodeJS.ProcessEnv;

  private constructor(project: string, ports: Ports) {
    this.project = project;
    this.realtimeUrl = `ws://127.0.0.1:${ports.realtime}/socket`;
    this.postgresUrl = `postgres://postgres:postgres@127.0.0.1:${ports.postgres}/postgres`;
    this.boardUrl = `http://127.0.0.1:${ports.board}`;
    this.prometheusUrl = `http://127.0.0.1:${ports.prometheus}`;
    this.grafanaUrl = `http://127.0.0.1:${ports.grafana}`;
    this.#env = {
      ...cleanEnvironment(),
      WALCAST_PORT: String(ports.realtime),
      POSTGRES_PORT: String(ports.postgres),
      BOARD_PORT: String(ports.board),
      PROMETHEUS_PORT: String(ports.prometheus),
      GRAFANA_PORT: String(ports.grafana),
    };
  }

  static async create(project: string): Promise<DockerCluster> {
    return new DockerCluster(project, {
      realtime: await freePort(),
      postgres: await freePort(),
      board: await freePort(),
      prometheus: await freePort(),
      grafana: await freePort(),
    });
  }

  /** The ports that docker-compose.yml publishes when nothing is set. */
  static async defaultPorts(): Promise<PublishedPort[]> {
    const args = ["compose", "--env-file", "/dev/null", "--profile", "*", "config", "--format", "json"];
    const { services } = JSON.parse(await docker(args, cleanEnvironment())) as {
      services: Record<string, { ports?: PublishedPort[] }>;
    };
    return Object.values(services).flatMap((service) => service.ports ?? []);
  }

  /** Builds the images, and resolves when everything is healthy. */
  async up(...args: readonly string[]): Promise<void> {
    await this.#compose(["up", "--build", "--wait", "--detach", ...args]);
  }

  /** Builds the images of the services anew, as of this version. What runs goes on with the former ones. */
  async build(version: string): Promise<void> {
    await this.#compose(["build", "--build-arg", `VERSION=${version}`, "gateway", "ingester"]);
  }

  /** Adds replicas of the newest image up to this number; resolves when all are healthy. Those that run stay as they are. */
  async addReplicas(service: string, replicas: number): Promise<void> {
    const scale = ["--scale", `${service}=${replicas}`];
    await this.#compose(["up", "--detach", "--wait", "--no-deps", "--no-recreate", ...scale, service]);
  }

  async down(): Promise<void> {
    await this.#compose(["--profile", "*", "down", "--volumes", "--remove-orphans", "--rmi", "local"]);
  }

  /** Containers, volumes and networks that carry the project's name. */
  async leftovers(): Promise<string[]> {
    const filter = ["--filter", `label=com.docker.compose.project=${this.project}`, "--quiet"];
    const found = await Promise.all([
      docker(["ps", "--all", ...filter]),
      docker(["volume", "ls", ...filter]),
      docker(["network", "ls", ...filter]),
    ]);
    return found.flatMap(lines);
  }

  async containers(service: string): Promise<string[]> {
    return lines(await this.#compose(["ps", "--quiet", service]));
  }

  logs(...services: readonly string[]): Promise<string> {
    return this.#compose(["logs", "--no-log-prefix", "--no-color", ...services]);
  }

  /** Starts a stopped or killed container again. */
  async start(container: string): Promise<void> {
    await docker(["start", container]);
    await waitUntil(() => isHealthy(container), {
      what: `container ${container} to be healthy again`,
      timeoutMs: 60_000,
      intervalMs: 200,
    });
  }

  #compose(args: readonly string[]): Promise<string> {
    return docker(["compose", "--env-file", "/dev/null", "--project-name", this.project, ...args], this.#env);
  }
}

/** Without what a developer may have set for a cluster of his own. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const settings = ["BIND_ADDRESS", "BOARD_PORT", "JWT_SECRET", "POSTGRES_PASSWORD", "POSTGRES_PORT"];
  const others = [
    "GRAFANA_PASSWORD",
    "GRAFANA_PORT",
    "PROMETHEUS_PORT",
    "REALTIME_APIKEY",
    "SECURE_CHANNELS",
    "WALCAST_PORT",
  ];
  const isOurs = (name: string): boolean => [...settings, ...others].includes(name) || name.startsWith("COMPOSE_");
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !isOurs(name)));
}
