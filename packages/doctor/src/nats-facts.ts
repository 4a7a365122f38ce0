import { DiscardPolicy, jetstreamManager, RetentionPolicy, StorageType, type StreamInfo } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import { connect } from "@nats-io/transport-node";
import { changeSubjects, natsOptions, streamName } from "@walcast/change-log";
import { describeError } from "@walcast/telemetry";
import type { JetStreamFacts, NatsFacts, StreamFacts, Unreachable } from "./facts.ts";
import type { NatsSettings } from "./settings.ts";

const timeoutMs = 5_000;

/** Asks NATS everything that the checks need. Nothing is changed. */
export async function collectNats(settings: NatsSettings): Promise<NatsFacts | Unreachable> {
  let connection: NatsConnection;
  try {
    connection = await connect({
      ...natsOptions(settings.url),
      name: "walcast doctor",
      timeout: timeoutMs,
      reconnect: false,
    });
  } catch (error) {
    return { unreachable: describeError(error).message };
  }
  try {
    return {
      maxPayload: connection.info?.max_payload ?? 0,
      isCluster: connection.info?.cluster !== undefined,
      jetStream: await askJetStream(connection, settings.source),
      syncIntervalMs: await askSyncInterval(settings.monitorUrl),
    };
  } finally {
    await connection.close();
  }
}

/** undefined also when it does not answer: that is what a server without JetStream does. */
async function askJetStream(connection: NatsConnection, source: string): Promise<JetStreamFacts | undefined> {
  try {
    const manager = await jetstreamManager(connection, { timeout: timeoutMs });
    const { limits, storage } = await manager.getAccountInfo();
    const name = streamName(source);
    const streams = await manager.streams.list().next();
    const stream = streams.find(({ config }) => config.name === name);
    return {
      freeBytes: limits.max_storage < 0 ? undefined : limits.max_storage - Math.max(storage, reserved(streams)),
      stream: stream === undefined ? undefined : describeStream(stream, source),
    };
  } catch {
    return undefined;
  }
}

/** A stream takes what it may hold from its account at once. */
const reserved = (streams: readonly StreamInfo[]): number =>
  streams.reduce((sum, { config }) => sum + Math.max(0, config.max_bytes) * config.num_replicas, 0);

function describeStream({ config, cluster }: StreamInfo, source: string): StreamFacts {
  const subject = changeSubjects(source);
  const misfits = [
    config.storage === StorageType.File ? "" : `its storage is ${config.storage}`,
    config.retention === RetentionPolicy.Limits ? "" : `its retention is ${config.retention}`,
    config.discard === DiscardPolicy.Old ? "" : `it discards ${config.discard}`,
    config.subjects?.join() === subject ? "" : `its subjects are ${config.subjects?.join() ?? "none"}`,
  ];
  const copies = cluster?.replicas ?? [];
  return {
    misfits: misfits.filter(Boolean),
    retentionMs: config.max_age / 1e6,
    retentionBytes: config.max_bytes,
    replicas: config.num_replicas,
    // A server that is in no cluster names none.
    hasLeader: cluster === undefined || cluster.leader !== undefined,
    replicasBehind: copies.filter((copy) => copy.offline || !copy.current).map(({ name }) => name),
  };
}

/** nats-server 2.12 and later say it at their monitoring endpoint. */
async function askSyncInterval(monitorUrl: string | undefined): Promise<number | undefined> {
  if (monitorUrl === undefined) return undefined;
  try {
    const response = await fetch(new URL("/varz", monitorUrl), { signal: AbortSignal.timeout(timeoutMs) });
    const { jetstream } = (await response.json()) as Varz;
    if (jetstream?.config?.sync_always === true) return 0;
    const nanos = jetstream?.config?.sync_interval;
    return nanos === undefined ? undefined : nanos / 1e6;
  } catch {
    return undefined; // the setting holds then, as it does for the ingester
  }
}

interface Varz {
  readonly jetstream?: { readonly config?: { readonly sync_interval?: number; readonly sync_always?: boolean } };
}
