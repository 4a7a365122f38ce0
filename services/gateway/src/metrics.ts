import { Counter, Gauge, Histogram, type Registry } from "@walcast/telemetry";

/** Why a broadcast did not get somewhere. */
export type DropReason =
  /** Above MAX_PAYLOAD_KB. */
  | "payloadTooLarge"
  /** A text push whose payload is no object. */
  | "notAnObject"
  /** The token may not write to the private channel. */
  | "denied"
  /** Bytes, to a client of vsn 1.0.0; counted by client. */
  | "binaryPayload"
  /** Topic or event above the 255 bytes that a binary frame has for it; counted by client. */
  | "nameTooLong"
  /** Other gateways could not be reached; local clients got it. */
  | "busAway"
  /** Another gateway's message that is none. */
  | "malformed";

export type GatewayMetrics = ReturnType<typeof createMetrics>;

export const createMetrics = (registry: Registry) => ({
  connections: new Gauge({
    name: "walcast_gateway_connections",
    help: "Open WebSocket connections",
    registers: [registry],
  }),
  channels: new Gauge({ name: "walcast_gateway_channels", help: "Joined channels", registers: [registry] }),
  groups: new Gauge({
    name: "walcast_gateway_groups",
    help: "Groups of channels that share frames",
    registers: [registry],
  }),
  changes: new Counter({
    name: "walcast_gateway_changes_total",
    help: "Changes read from the log",
    registers: [registry],
  }),
  frames: new Counter({
    name: "walcast_gateway_frames_total",
    help: "Frames built, one for a group",
    registers: [registry],
  }),
  deliveries: new Counter({
    name: "walcast_gateway_deliveries_total",
    help: "Frames handed to sockets, counted by member",
    registers: [registry],
  }),
  gaps: new Counter({
    name: "walcast_gateway_gaps_total",
    help: "Holes in the log that clients were told of",
    registers: [registry],
  }),
  guarded: new Gauge({
    name: "walcast_gateway_guarded_changes",
    help: "Changes that wait for the database to say who may see them, counted by group",
    registers: [registry],
  }),
  questions: new Histogram({
    name: "walcast_gateway_policy_question_seconds",
    help: "How long PostgreSQL took to say which rows somebody sees",
    labelNames: ["outcome"],
    buckets: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3],
    registers: [registry],
  }),
  resumes: new Counter({
    name: "walcast_gateway_resumes_total",
    help: "Channels that came back with a position and caught up",
    registers: [registry],
  }),
  resumeGaps: new Counter({
    name: "walcast_gateway_resume_gaps_total",
    help: "Channels that came back with a position that the log does not hold any more",
    registers: [registry],
  }),
  placeFailures: new Counter({
    name: "walcast_gateway_resume_place_failures_total",
    help: "Times that the place of a channel with a resume id could not be looked up (claim) or stored (note)",
    labelNames: ["operation"] as const,
    registers: [registry],
  }),
  snapshots: new Counter({
    name: "walcast_gateway_snapshots_total",
    help: "Channels whose rows were read, by outcome: sent, refused, interrupted, abandoned",
    labelNames: ["outcome"],
    registers: [registry],
  }),
  snapshotRows: new Counter({
    name: "walcast_gateway_snapshot_rows_total",
    help: "Rows sent to channels that begin with them",
    registers: [registry],
  }),
  rooms: new Gauge({
    name: "walcast_gateway_rooms",
    help: "Topics that have members here, private and public ones apart",
    registers: [registry],
  }),
  broadcastsReceived: new Counter({
    name: "walcast_gateway_broadcasts_received_total",
    help: "Broadcasts from clients, from HTTP requests and from other gateways",
    labelNames: ["origin"] as const,
    registers: [registry],
  }),
  broadcastDeliveries: new Counter({
    name: "walcast_gateway_broadcast_deliveries_total",
    help: "Broadcasts handed to sockets, counted by member",
    registers: [registry],
  }),
  broadcastsDropped: new Counter({
    name: "walcast_gateway_broadcasts_dropped_total",
    help: "Broadcasts that did not get somewhere, by reason",
    labelNames: ["reason"] as const,
    registers: [registry],
  }),
  presenceEntries: new Gauge({
    name: "walcast_gateway_presence_entries",
    help: "What channels of this gateway track",
    registers: [registry],
  }),
  presenceDeliveries: new Counter({
    name: "walcast_gateway_presence_deliveries_total",
    help: "Presence diffs handed to sockets, counted by member",
    registers: [registry],
  }),
  presenceMalformed: new Counter({
    name: "walcast_gateway_presence_malformed_total",
    help: "Messages of other gateways about presence that were none",
    registers: [registry],
  }),
  malformedFrames: new Counter({
    name: "walcast_gateway_malformed_frames_total",
    help: "Frames from clients that were no frames",
    registers: [registry],
  }),
  refusals: new Counter({
    name: "walcast_gateway_refusals_total",
    help: "Refused connections and joins",
    labelNames: ["reason"],
    registers: [registry],
  }),
  limitsExceeded: new Counter({
    name: "walcast_gateway_limits_exceeded_total",
    help: "Clients that met a limit, by limit",
    labelNames: ["limit"] as const,
    registers: [registry],
  }),
  slowConsumers: new Counter({
    name: "walcast_gateway_slow_consumers_total",
    help: "Connections closed because their outbox was full",
    registers: [registry],
  }),
});
