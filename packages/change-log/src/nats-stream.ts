import {
  DiscardPolicy,
  JetStreamApiError,
  RetentionPolicy,
  StorageType,
  type JetStreamManager,
  type StreamInfo,
} from "@nats-io/jetstream";
import { nanos, type NatsConnection } from "@nats-io/nats-core";
import { ChangeLogMisfitError, ChangeLogUnavailableError } from "./errors.ts";
import { changeSubjects, streamName } from "./subjects.ts";

export interface StreamSettings {
  /** Names the database and slot the changes come from. */
  readonly source: string;
  readonly retentionMs: number;
  readonly retentionBytes: number;
  /** 1, or 3 on a cluster. */
  readonly replicas: number;
}

/** JetStream's own error codes (nats-server, server/errors.json). */
const errorCode = { streamNotFound: 10_059, messageNotFound: 10_037, wrongLastSequence: 10_071 } as const;

const isApiError = (error: unknown, code: number): boolean => error instanceof JetStreamApiError && error.code === code;
export const isStreamNotFound = (error: unknown): boolean => isApiError(error, errorCode.streamNotFound);
export const isMessageNotFound = (error: unknown): boolean => isApiError(error, errorCode.messageNotFound);
export const isWrongLastSequence = (error: unknown): boolean => isApiError(error, errorCode.wrongLastSequence);

/** Creates the stream when it is missing; refuses one that cannot serve as a change log. */
export async function ensureStream(jsm: JetStreamManager, settings: StreamSettings): Promise<StreamInfo> {
  const name = streamName(settings.source);
  const subjects = [changeSubjects(settings.source)];
  let info: StreamInfo;
  try {
    info = await jsm.streams.info(name);
  } catch (error) {
    if (!isStreamNotFound(error))
      throw new ChangeLogUnavailableError(`cannot look up stream ${name}`, { cause: error });
    return await jsm.streams.add({
      name,
      subjects,
      description: describeEpoch(1),
      storage: StorageType.File,
      retention: RetentionPolicy.Limits,
      discard: DiscardPolicy.Old,
      max_age: nanos(settings.retentionMs),
      max_bytes: settings.retentionBytes,
      num_replicas: settings.replicas,
    });
  }
  const { config } = info;
  const misfits = [
    config.storage === StorageType.File ? "" : `storage is ${config.storage}, must be file`,
    config.retention === RetentionPolicy.Limits ? "" : `retention is ${config.retention}, must be limits`,
    config.discard === DiscardPolicy.Old ? "" : `discard is ${config.discard}, must be old`,
    config.subjects?.join() === subjects.join()
      ? ""
      : `subjects are ${config.subjects?.join()}, must be ${subjects.join()}`,
  ].filter(Boolean);
  if (misfits.length > 0) {
    throw new ChangeLogMisfitError(
      `stream ${name} cannot be the change log: ${misfits.join("; ")}; rename or delete it`,
    );
  }
  return info;
}

// The epoch stands in the stream's description: stream metadata, its natural place, needs nats-server 2.10.
const describeEpoch = (epoch: number): string => `walcast change log, epoch ${epoch}`;

export const epochOf = (info: StreamInfo): number => Number(/epoch (\d+)$/.exec(info.config.description ?? "")?.[1] ?? 1);

export async function storeEpoch(jsm: JetStreamManager, name: string, epoch: number): Promise<void> {
  const { config } = await jsm.streams.info(name);
  await jsm.streams.update(name, { ...config, description: describeEpoch(epoch) });
}

/** Room for headers and the batch's own first lines beside its changes. */
const payloadMargin = 64 * 1024;

/** The largest part of a batch that one message of this server may carry. */
export function partBytesLimit(nc: NatsConnection): number {
  const limit = (nc.info?.max_payload ?? 0) - payloadMargin;
  if (limit < payloadMargin) {
    throw new ChangeLogMisfitError(
      `the NATS server's max_payload is ${nc.info?.max_payload} bytes; walcast needs at least ${2 * payloadMargin}`,
    );
  }
  return limit;
}
