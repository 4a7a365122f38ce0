import { Counter, Gauge, type Registry } from "@walcast/telemetry";

export type IngesterMetrics = ReturnType<typeof createMetrics>;

export const createMetrics = (registry: Registry) => ({
  isLeader: new Gauge({
    name: "walcast_ingester_is_leader",
    help: "1 while this ingester leads",
    registers: [registry],
  }),
  changes: new Counter({
    name: "walcast_ingester_changes_total",
    help: "Changes appended to the log",
    registers: [registry],
  }),
  batches: new Counter({
    name: "walcast_ingester_batches_total",
    help: "Batches appended to the log",
    registers: [registry],
  }),
  bytes: new Counter({
    name: "walcast_ingester_batch_bytes_total",
    help: "Bytes of changes appended",
    registers: [registry],
  }),
  inFlightBytes: new Gauge({
    name: "walcast_ingester_in_flight_bytes",
    help: "Bytes sent to the log and not acknowledged yet",
    registers: [registry],
  }),
  slotLagBytes: new Gauge({
    name: "walcast_ingester_slot_lag_bytes",
    help: "WAL the server keeps for the slot",
    registers: [registry],
  }),
});
