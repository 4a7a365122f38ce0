import { createTokenVerifier } from "@walcast/authz";
import type { ChangeLog } from "@walcast/change-log";
import type { Service } from "@walcast/lifecycle";
import type { Database } from "@walcast/postgres";
import type { Health, Logger, Registry } from "@walcast/telemetry";
import type { ClientConfig } from "./config.ts";
import { Connection } from "./connection.ts";
import { JwtSecretMissingError } from "./errors.ts";
import { Gateway } from "./gateway.ts";
import { Groups } from "./group.ts";
import { createMetrics } from "./metrics.ts";
import { createPublicationCatalog } from "./postgres/publication-catalog.ts";
import { Subscriber } from "./subscriber.ts";
import { Server } from "./uws/server.ts";

export interface GatewayParts {
  readonly config: ClientConfig;
  readonly host: string;
  /** Connections are closed over this time when the gateway stops. */
  readonly drainWindowMs: number;
  readonly database: Database;
  readonly openChangeLog: () => Promise<ChangeLog>;
  readonly log: Logger;
  readonly health: Health;
  readonly registry: Registry;
}

/** Puts the gateway together and listens. Throws JwtSecretMissingError and ListenError. */
export async function startGateway(parts: GatewayParts): Promise<Service> {
  const { config, health, log, registry } = parts;
  const metrics = createMetrics(registry);
  const secret = config.JWT_SECRET?.reveal();
  if (config.SECURE_CHANNELS && secret === undefined) throw new JwtSecretMissingError();
  if (!config.SECURE_CHANNELS) log.warn("SECURE_CHANNELS=false: anyone who can connect reads every published change");
  const verifyToken =
    config.SECURE_CHANNELS && secret !== undefined
      ? createTokenVerifier({ secret, claimValidators: config.JWT_CLAIM_VALIDATORS })
      : undefined;
  const groups = new Groups();
  const catalog = createPublicationCatalog(parts.database, { publications: config.PUBLICATIONS });
  const subscriber = new Subscriber({ groups, catalog, reading: () => gateway.reading() });
  const server = new Server({
    config,
    host: parts.host,
    verifyToken,
    health,
    registry,
    metrics,
    log,
    connect: (client) => new Connection({ ...client, verifyToken, groups, subscriber, metrics, log }),
  });
  const gateway = new Gateway({
    openChangeLog: parts.openChangeLog,
    groups,
    health,
    metrics,
    log,
    publish: server.publish,
    connections: () => server.connections,
  });
  await server.listen();
  log.info({ host: parts.host, port: config.PORT, secure: config.SECURE_CHANNELS }, "listening");
  return {
    name: gateway.name,
    run: (signal) => gateway.run(signal),
    async drain() {
      await server.drain(parts.drainWindowMs);
      server.close();
      await catalog.close();
    },
  };
}
