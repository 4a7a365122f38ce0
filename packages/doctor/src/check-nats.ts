import { formatBytes } from "./check-slot.ts";
import type { JetStreamFacts, NatsFacts } from "./facts.ts";
import { elsewhere, setting, type Finding } from "./finding.ts";
import type { NatsSettings } from "./settings.ts";

/** What the change log needs of a message (change-log, `partBytesLimit`). */
const leastPayloadBytes = 128 * 1024;

/** Whether the change log has a place. */
export function checkNats(facts: NatsFacts): readonly Finding[] {
  const findings: Finding[] = [];
  const subject = "NATS";
  if (facts.maxPayload < leastPayloadBytes) {
    findings.push({
      severity: "error",
      code: "NATS_MAX_PAYLOAD",
      subject,
      reason: `max_payload is ${formatBytes(facts.maxPayload)}, walcast needs ${formatBytes(leastPayloadBytes)} or more`,
      fix: elsewhere("max_payload: 1MB in the server's configuration"),
    });
  }
  if (facts.jetStream === undefined) {
    findings.push({
      severity: "error",
      code: "NATS_NO_JETSTREAM",
      subject,
      reason: "JetStream is off, for the server or for this account",
      fix: elsewhere("a jetstream block in the server's configuration, and jetstream: enabled for the account"),
    });
    return findings;
  }
  return [...findings, ...checkStream(facts.jetStream)];
}

function checkStream({ stream }: JetStreamFacts): readonly Finding[] {
  const findings: Finding[] = [];
  const subject = "change log";
  if (stream === undefined) return findings;
  if (stream.misfits.length > 0) {
    findings.push({
      severity: "error",
      code: "STREAM_MISFIT",
      subject,
      reason: `a stream of its name cannot be the change log: ${stream.misfits.join("; ")}`,
      fix: elsewhere("rename or delete that stream (nats stream rm), or set SOURCE_NAME"),
    });
  }
  if (!stream.hasLeader) {
    findings.push({
      severity: "error",
      code: "STREAM_NO_LEADER",
      subject,
      reason: "its servers have no leader, so that nothing can be stored",
      fix: elsewhere("bring the servers of the NATS cluster back: more than half must run and see each other"),
    });
  }
  if (stream.replicasBehind.length > 0) {
    findings.push({
      severity: "warning",
      code: "STREAM_REPLICAS",
      subject,
      reason: `copies are away or behind: ${stream.replicasBehind.join(", ")}; one more failure may stop it`,
      fix: elsewhere("look at those servers"),
    });
  }
  return findings;
}

/** For the ingester, which makes the change log as its settings say: whether they can be had. */
export function checkLogSettings(facts: NatsFacts, settings: NatsSettings): readonly Finding[] {
  const findings: Finding[] = [];
  const subject = "NATS";
  if (settings.replicas > 1 && !facts.isCluster) {
    findings.push({
      severity: "error",
      code: "NATS_REPLICAS",
      subject,
      reason: `LOG_REPLICAS is ${settings.replicas} and the server is in no cluster`,
      fix: setting("LOG_REPLICAS=1, or a NATS cluster of three"),
    });
  }
  if (facts.syncIntervalMs !== undefined && facts.syncIntervalMs > settings.syncIntervalMs) {
    findings.push({
      severity: "error",
      code: "NATS_SYNC_INTERVAL",
      subject,
      reason:
        `the server writes to disk every ${facts.syncIntervalMs} ms and NATS_SYNC_INTERVAL_MS is ${settings.syncIntervalMs}: ` +
        "a power cut could lose what PostgreSQL was told is safe",
      fix: setting(
        `NATS_SYNC_INTERVAL_MS=${facts.syncIntervalMs}, or a shorter sync_interval in the server's jetstream block`,
      ),
    });
  }
  return facts.jetStream === undefined ? findings : [...findings, ...checkRetention(facts.jetStream, settings)];
}

function checkRetention({ freeBytes, stream }: JetStreamFacts, settings: NatsSettings): readonly Finding[] {
  const findings: Finding[] = [];
  const subject = "change log";
  const missingBytes = settings.retentionBytes - (stream?.retentionBytes ?? 0);
  if (freeBytes !== undefined && missingBytes > freeBytes) {
    findings.push({
      severity: "error",
      code: "NATS_STORAGE",
      subject,
      reason: `it needs ${formatBytes(missingBytes)} more (LOG_RETENTION_BYTES), and JetStream has ${formatBytes(freeBytes)} left`,
      fix: setting("a lower LOG_RETENTION_BYTES, or a higher max_file_store (or account limit) in NATS"),
    });
  }
  if (
    stream !== undefined &&
    (stream.retentionMs !== settings.retentionMs || stream.retentionBytes !== settings.retentionBytes)
  ) {
    findings.push({
      severity: "note",
      code: "STREAM_RETENTION",
      subject,
      reason: `it keeps ${stream.retentionMs} ms and ${formatBytes(stream.retentionBytes)}, other than the settings say`,
      fix: elsewhere("nothing: an ingester that starts brings it to LOG_RETENTION_MS and LOG_RETENTION_BYTES"),
    });
  }
  return findings;
}
