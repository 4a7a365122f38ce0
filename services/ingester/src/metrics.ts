import { Counter, Gauge, type Registry } from "@walcast/telemetry";

export type IngesterMetrics = ReturnType<typeof createMetrics>;

export const createMetrics = (registry: Registry) => ({
  isLeader: new Gauge({
    name: "walcast_ingester_is_leader",
    help: "1 while this ingester reads the slot and appends",
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
  slotIsActive: new Gauge({
    name: "walcast_ingester_slot_is_active",
    help: "1 while somebody reads the slot",
    registers: [registry],
  }),
  slotWalStatus: new Gauge({
    name: "walcast_ingester_slot_wal_status",
    help: "1 for the slot's wal_status (reserved, extended, unreserved, lost)",
    labelNames: ["status"],
    registers: [registry],
  }),
  lagSeconds: new Gauge({
    name: "walcast_ingester_lag_seconds",
    help: "Age of the last commit when it was read; 0 when everything is read",
    registers: [registry],
  }),
  epochs: new Counter({
    name: "walcast_ingester_epochs_total",
    help: "How often continuity was broken and a new epoch begun",
    registers: [registry],
  }),
  interruptions: new Counter({
    name: "walcast_ingester_interruptions_total",
    help: "How often ingesting was interrupted and tried again",
    registers: [registry],
  }),
  takeovers: new Counter({
    name: "walcast_ingester_takeovers_total",
    help: "How often a silent leader was ended",
    registers: [registry],
  }),
});
