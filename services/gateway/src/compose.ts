import { MemoryNetwork, type Bus } from "@walcast/bus";
import type { ChangeLog } from "@walcast/change-log";
import { openPage } from "@walcast/inspector";
import { backoff, type Service } from "@walcast/lifecycle";
import type { Database } from "@walcast/postgres";
import { MemoryPresenceStore } from "@walcast/presence";
import { QuestionPool } from "@walcast/row-security";
import { describeError, type Health, type Logger, type Registry, type Tracing } from "@walcast/telemetry";
import { Admission } from "./admission.ts";
import { Broadcaster } from "./broadcaster.ts";
import { openAuthorisation } from "./authorisation.ts";
import type { ChannelRights } from "./channel-rights.ts";
import { ClusterCounts } from "./cluster-counts.ts";
import type { ClientConfig } from "./config.ts";
import type { ClientSocket } from "./client-socket.ts";
import { Connection } from "./connection.ts";
import { ConnectionPlaces } from "./connection-places.ts";
import { Delivery } from "./delivery.ts";
import { Explanations } from "./explanations.ts";
import { Gateway } from "./gateway.ts";
import { Groups } from "./group.ts";
import { HttpBroadcast } from "./http-broadcast.ts";
import { MemoryPlaceStore } from "./memory-place-store.ts";
import { splitGroup } from "./membership.ts";
import { Inspector, type InspectorOptions } from "./inspector.ts";
import { Limits, noCounts, sharedCounts } from "./limits.ts";
import { createMetrics } from "./metrics.ts";
import { keepMs } from "./place-store.ts";
import { Presence } from "./presence.ts";
import { createLogNudge } from "./postgres/log-nudge.ts";
import { createPublicationCatalog } from "./postgres/publication-catalog.ts";
import { keepSchema } from "./postgres/schema-keeper.ts";
import { Reach } from "./reach.ts";
import { Readiness } from "./readiness.ts";
import { Replays, type ReadHistory } from "./replays.ts";
import { Resumer } from "./resumer.ts";
import type { Shared } from "./shared.ts";
import { RowTags } from "./row-tags.ts";
import { Snapshots } from "./snapshots.ts";
import { Subscriber } from "./subscriber.ts";
import { Server } from "./uws/server.ts";
import { watchedPlaceStore } from "./watched-place-store.ts";

export interface GatewayParts {
  readonly config: ClientConfig;
  readonly host: string;
  /** Connections are closed over this time when the gateway stops. */
  readonly drainWindowMs: number;
  readonly database: Database;
  readonly openChangeLog: () => Promise<ChangeLog>;
  /** `onTrouble`: told when other gateways cannot be reached, and when they can (undefined). */
  readonly openBus: (onTrouble: (trouble: Error | undefined) => void) => Bus;
  /** Without it each gateway knows its own members only, and counts alone. */
  readonly shared?: Shared | undefined;
  /** In place of the policies of private channels, for tests. */
  readonly channelRights?: ChannelRights;
  /** In place of what is stored of their broadcasts, for tests. */
  readonly readHistory?: ReadHistory;
  readonly log: Logger;
  readonly health: Health;
  readonly registry: Registry;
  readonly tracing?: Tracing | undefined;
}

/** Puts the gateway together and listens. Throws JwtKeysMissingError and ListenError. */
export async function startGateway(parts: GatewayParts): Promise<Service> {
  const { config, health, log, registry } = parts;
  const metrics = createMetrics(registry);
  const authorisation = openAuthorisation({ ...parts, metrics });
  const { verifyToken } = authorisation;
  const channelRights = parts.channelRights ?? authorisation.channelRights;
  const stopped = new AbortController();
  const readers = authorisation.readersFor({
    split: splitGroup,
    fail: (group, reason) => [...group.listeners].forEach((listener) => listener.fail(reason)),
    signal: stopped.signal,
  });
  const groups = new Groups();
  const catalog = createPublicationCatalog(parts.database, { publications: config.PUBLICATIONS });
  const tags = new RowTags();
  const delivery = new Delivery({ metrics, maxRecordBytes: config.MAX_RECORD_BYTES, tags });
  const resumer = new Resumer({
    delivery,
    readersFor: authorisation.readersFor,
    metrics,
    log,
    recentBytes: config.RESUME_MEMORY_BYTES,
    perSecond: config.RESUMES_PER_SECOND,
  });
  const explanations = new Explanations({ isEnabled: config.INSPECTOR, sights: authorisation.sights });
  const snapshotPool = new QuestionPool({
    database: parts.database,
    size: config.SNAPSHOT_CONNECTIONS,
    queueLimit: config.SNAPSHOT_QUEUE_LIMIT,
    timeoutMs: config.SNAPSHOT_TIMEOUT_MS,
    applicationName: "walcast snapshots",
  });
  const subscriber = new Subscriber({
    snapshots: new Snapshots({
      pool: snapshotPool,
      metrics,
      resumer,
      publications: config.PUBLICATIONS,
      maxRows: config.SNAPSHOT_MAX_ROWS,
      timeoutMs: config.SNAPSHOT_TIMEOUT_MS,
    }),
    maxRecordBytes: config.MAX_RECORD_BYTES,
    tags,
    groups,
    catalog,
    resumer,
    readers,
    access: authorisation.access,
    explanations,
    reading: () => gateway.reading(),
    rowHeaders: config.RLS_HEADERS,
  });
  const nudge = createLogNudge(parts.database, { publications: config.PUBLICATIONS });
  const reach = new Reach(nudge);
  const readiness = new Readiness({ probe: () => nudge.probe(), reach });
  const replays = new Replays({
    rooms: () => broadcaster.rooms,
    readHistory: parts.readHistory ?? authorisation.readHistory,
    reach,
    reading: () => gateway.reading(),
    payloadLimitBytes: payloadLimitBytes(config.MAX_PAYLOAD_KB),
    log,
  });
  const admission = new Admission({ verifyToken, channelRights, replays, log });
  const { shared } = parts;
  const rememberMs = config.RESUME_REMEMBER_MS;
  const limits: Limits = new Limits({
    ...limitsOf(config),
    others: () => clusterCounts?.others ?? noCounts,
    metrics,
  });
  const clusterCounts = shareCounts(limits, shared);
  const rules = {
    isPresenceEnabled: config.PRESENCE_ENABLED,
    payloadLimitBytes: payloadLimitBytes(config.MAX_PAYLOAD_KB),
    errorBackoffMs: config.CHANNEL_ERROR_BACKOFF_MS,
    clockToleranceMs: config.JWT_CLOCK_TOLERANCE_S * 1000,
  };
  const server = new Server({
    config,
    host: parts.host,
    verifyToken,
    health,
    registry,
    metrics,
    limits,
    log,
    broadcasts: () => httpBroadcast,
    inspector: config.INSPECTOR ? openInspector({ config, verifyToken, topics: () => openTopics(), log }) : undefined,
    connect: (client) => new Connection({ ...client, ...channels, places: placesOf(client), metrics, log }),
  });
  const openTopics = (): Iterable<string>[] => [...server.connections].map(({ topics }) => topics());
  const places = watchedPlaceStore(shared?.places ?? new MemoryPlaceStore({ keepMs: keepMs(rememberMs) }), {
    onTrouble: placesTrouble(health, log),
    onFailure: (operation) => metrics.placeFailures.inc({ operation }),
  });
  const placesOf = ({ resumeId, socket }: { resumeId?: string | undefined; socket: ClientSocket }) =>
    resumeId === undefined || rememberMs === 0
      ? undefined
      : new ConnectionPlaces({ id: resumeId, store: places, rememberMs, ping: (payload) => socket.ping?.(payload) });
  const onBusTrouble = busTrouble(health, log);
  const bus = parts.openBus((trouble) => {
    onBusTrouble(trouble);
    if (shared !== undefined) presence.busTrouble(trouble);
  });
  const broadcaster = new Broadcaster({ ...rules, bus, publish: server.publishFrame, metrics, limits });
  const presence = new Presence({
    store: shared?.presence ?? new MemoryPresenceStore({ leaseMs: ownLeaseMs }),
    leaseMs: shared?.leaseMs ?? ownLeaseMs,
    bus: shared === undefined ? new MemoryNetwork().open() : bus,
    publish: server.publishFrame,
    limits,
    metrics,
    log,
    onTrouble: presenceTrouble(health, log),
    backoff: (failures, signal) => backoff(failures, signal, { maxMs: 1_000 }),
  });
  const channels = { admission, subscriber, broadcaster, readiness, presence, limits, rules };
  const httpBroadcast = new HttpBroadcast({
    verifyToken,
    channelRights,
    broadcaster,
    metrics,
    limits,
  });
  const gateway = new Gateway({
    openChangeLog: parts.openChangeLog,
    groups,
    health,
    metrics,
    log,
    delivery,
    readers,
    resumer,
    explanations,
    publish: server.publish,
    broadcast: ({ to, broadcast }, { xid }) => {
      replays.note(to, xid);
      broadcaster.sendHere(to, broadcast);
    },
    arrived: (position) => reach.arrived(position),
    connections: () => server.connections,
    tracing: parts.tracing,
  });
  const close = async (): Promise<void> => {
    stopped.abort();
    await Promise.all([authorisation.close(), snapshotPool.close()]);
    await presence.close();
    await bus.flush();
    await bus.close();
    shared?.close();
  };
  await server.listen().catch(async (error: unknown) => {
    await close(); // nothing of it may keep the process alive
    throw error;
  });
  presence.start();
  void clusterCounts?.run(stopped.signal);
  void authorisation.run(stopped.signal);
  const schema = { database: parts.database, isMigrating: config.MIGRATE, publications: config.PUBLICATIONS, log };
  void keepSchema(schema, stopped.signal);
  log.info({ host: parts.host, port: config.PORT, secure: config.SECURE_CHANNELS }, "listening");
  return {
    name: gateway.name,
    run: (signal) => gateway.run(signal),
    async drain() {
      await server.drain(parts.drainWindowMs);
      server.close();
      await close();
      await catalog.close();
      await nudge.close();
    },
  };
}

/** A page that cannot be had costs clients nothing. */
function openInspector({
  config,
  log,
  ...options
}: Pick<InspectorOptions, "verifyToken" | "topics"> & Pick<GatewayParts, "config" | "log">): Inspector {
  const inspector = new Inspector({ ...options, openPage, roles: config.INSPECTOR_ROLES });
  inspector.page.catch((error: unknown) => log.warn(describeError(error), "the inspector's page cannot be shown"));
  return inspector;
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

/**
 * A fact, and no problem: presence is the least of what a gateway does, and one that is not ready would take its clients'
 * changes away with it.
 */
function presenceTrouble(health: Health, log: Logger): (trouble: Error | undefined) => void {
  let state: "ok" | "starting" | ReturnType<typeof describeError> = "starting";
  health.fact("presence", () => state);
  return (trouble) => {
    if (trouble !== undefined && typeof state === "string")
      log.warn(describeError(trouble), "presence is kept on this gateway until it can be stored");
    if (trouble === undefined && typeof state !== "string") log.info("presence is stored again");
    state = trouble === undefined ? "ok" : describeError(trouble);
  };
}

/** A fact, and no problem: only clients with a resume id feel it, and they are told. */
function placesTrouble(health: Health, log: Logger): (trouble: Error | undefined) => void {
  let state: "ok" | ReturnType<typeof describeError> = "ok";
  health.fact("resume ids", () => state);
  return (trouble) => {
    if (trouble !== undefined && state === "ok")
      log.warn(
        describeError(trouble),
        "clients with a resume id begin at the present until their places can be looked up",
      );
    if (trouble === undefined && state !== "ok") log.info("places of clients with a resume id are looked up again");
    state = trouble === undefined ? "ok" : describeError(trouble);
  };
}

/** Nobody else sees it, so that only a frozen process loses it, and takes another one. */
const ownLeaseMs = 60_000;

const limitsOf = (config: ClientConfig) => ({
  max: {
    events: config.TENANT_MAX_EVENTS_PER_SECOND,
    presenceEvents: config.TENANT_MAX_PRESENCE_EVENTS_PER_SECOND,
    joins: config.TENANT_MAX_JOINS_PER_SECOND,
    users: config.TENANT_MAX_CONCURRENT_USERS,
    channels: config.TENANT_MAX_CHANNELS_PER_CLIENT,
    connections: config.MAX_CONNECTIONS,
    presenceCalls: config.CLIENT_PRESENCE_MAX_CALLS,
  },
  presenceWindowMs: config.CLIENT_PRESENCE_WINDOW_MS,
});

/** Only where a limit counts over all gateways. */
function shareCounts(limits: Limits, shared: Shared | undefined): ClusterCounts | undefined {
  const exchange = shared?.exchangeCounts;
  if (exchange === undefined || sharedCounts.every((what) => limits.max(what) === 0)) return undefined;
  return new ClusterCounts({ exchange, counts: () => limits.counts });
}

/** The peer adds 500 bytes for what its encoding takes around a payload (protocol.md 4.4). */
const payloadLimitBytes = (kilobytes: number): number =>
  kilobytes === 0 ? Number.POSITIVE_INFINITY : kilobytes * 1000 + 500;
