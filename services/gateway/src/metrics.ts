import { Counter, Gauge, type Registry } from "@walcast/telemetry";

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
  slowConsumers: new Counter({
    name: "walcast_gateway_slow_consumers_total",
    help: "Connections closed because their outbox was full",
    registers: [registry],
  }),
});
