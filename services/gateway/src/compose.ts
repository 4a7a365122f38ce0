import { createTokenVerifier } from "@walcast/authz";
import type { Bus } from "@walcast/bus";
import type { ChangeLog } from "@walcast/change-log";
import type { Service } from "@walcast/lifecycle";
import type { Database } from "@walcast/postgres";
import { describeError, type Health, type Logger, type Registry } from "@walcast/telemetry";
import { Admission } from "./admission.ts";
import { Broadcaster } from "./broadcaster.ts";
import { grantAll, type ChannelRights } from "./channel-rights.ts";
import type { ClientConfig } from "./config.ts";
import { Connection } from "./connection.ts";
import { JwtSecretMissingError } from "./errors.ts";
import { EventRate } from "./event-rate.ts";
import { Gateway } from "./gateway.ts";
import { Groups } from "./group.ts";
import { HttpBroadcast } from "./http-broadcast.ts";
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
  /** `onTrouble`: told when other gateways cannot be reached, and when they can (undefined). */
  readonly openBus: (onTrouble: (trouble: Error | undefined) => void) => Bus;
  /** The policies of private channels; without it a valid token may do everything. */
  readonly channelRights?: ChannelRights;
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
  const channelRights = parts.channelRights ?? grantAll;
  const admission = new Admission({ verifyToken, channelRights, log });
  const server = new Server({
    config,
    host: parts.host,
    verifyToken,
    health,
    registry,
    metrics,
    log,
    broadcasts: () => httpBroadcast,
    connect: (client) => new Connection({ ...client, admission, groups, subscriber, broadcaster, metrics, log }),
  });
  const bus = parts.openBus(busTrouble(health, log));
  const broadcaster = new Broadcaster({
    bus,
    publish: server.publishFrame,
    metrics,
    payloadLimitBytes: payloadLimitBytes(config.MAX_PAYLOAD_KB),
  });
  const httpBroadcast = new HttpBroadcast({
    verifyToken,
    channelRights,
    broadcaster,
    metrics,
    rate: new EventRate(),
    rateLimit: config.TENANT_MAX_EVENTS_PER_SECOND,
  });
  const gateway = new Gateway({
    openChangeLog: parts.openChangeLog,
    groups,
    health,
    metrics,
    log,
    publish: server.publish,
    maxRecordBytes: config.MAX_RECORD_BYTES,
    connections: () => server.connections,
  });
  await server.listen().catch(async (error: unknown) => {
    await bus.close(); // nothing of it may keep the process alive
    throw error;
  });
  log.info({ host: parts.host, port: config.PORT, secure: config.SECURE_CHANNELS }, "listening");
  return {
    name: gateway.name,
    run: (signal) => gateway.run(signal),
    async drain() {
      await server.drain(parts.drainWindowMs);
      server.close();
      await bus.close();
      await catalog.close();
    },
  };
}

/** Health says that other gateways are out of reach; this one's clients hear each other all the same. */
function busTrouble(health: Health, log: Logger): (trouble: Error | undefined) => void {
  let isTroubled = false;
  return (trouble) => {
    health.set("bus", trouble);
    if (trouble !== undefined && !isTroubled) log.warn(describeError(trouble), "broadcasts stay on this gateway");
    if (trouble === undefined && isTroubled) log.info("broadcasts reach other gateways again");
    isTroubled = trouble !== undefined;
  };
}

/** The peer adds 500 bytes for what its encoding takes around a payload (protocol.md 4.4). */
const payloadLimitBytes = (kilobytes: number): number =>
  kilobytes === 0 ? Number.POSITIVE_INFINITY : kilobytes * 1000 + 500;
