import { setTimeout as pause } from "node:timers/promises";
import type { TcpProxy } from "@walcast/testkit";
import type { ChaosService } from "./chaos-service.ts";
import { takeSnapshot, type ChaosSystem } from "./chaos-system.ts";
import type { Random } from "./random.ts";

/** What a fault is done to. Two faults never meet on one of them. */
export type Victim = "leader" | "standby" | "postgres" | "nats" | "gateway";

export interface Strike {
  readonly system: ChaosSystem;
  readonly random: Random;
  /** What was chosen to suffer; for the servers, the leader. */
  readonly service: ChaosService;
  /** The last sequence of the stream. */
  readonly lastSequence: () => Promise<number>;
  /** Adds up what the run reports. */
  readonly count: (what: string, times: number) => void;
}

export interface Fault {
  readonly kind: string;
  readonly victim: Victim;
  readonly weight: number;
  /** A leader that suffers this can lead no more: how long another takes to is measured. */
  readonly endsLead?: true;
  /** Resolves when what was broken is whole again. */
  readonly strike: (strike: Strike) => Promise<void>;
}

const shortly = (random: Random): Promise<void> => pause(random.between(100, 2_000));
const longer = (random: Random): Promise<void> => pause(random.between(1_000, 8_000));

async function kill({ service, random }: Strike): Promise<void> {
  await service.kill();
  await shortly(random);
  service.startAgain();
}

async function freeze({ service, random }: Strike): Promise<void> {
  service.freeze();
  await longer(random);
  service.thaw();
}

async function end({ service, random }: Strike): Promise<void> {
  await service.end();
  await shortly(random);
  service.startAgain();
}

const network =
  (proxiesOf: (service: ChaosService) => readonly TcpProxy[], trouble: "cut" | "stall" | "delay") =>
  async ({ service, random }: Strike): Promise<void> => {
    const delayMs = random.integer(5, 150);
    for (const proxy of proxiesOf(service)) {
      if (trouble === "delay") proxy.delay(delayMs);
      else proxy[trouble]();
    }
    await (trouble === "cut" ? shortly(random) : longer(random));
    for (const proxy of proxiesOf(service)) proxy.heal();
  };
const toPostgres = ({ postgres }: ChaosService): readonly TcpProxy[] => [postgres];
const toNats = ({ nats }: ChaosService): readonly TcpProxy[] => nats;

const terminate =
  (applicationName: string) =>
  async ({ system }: Strike): Promise<void> => {
    await system.withSql((client) =>
      client.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", [
        applicationName,
      ]),
    );
  };

const natsServer = ({ system, random }: Strike) => {
  const server = system.nats[random.integer(0, system.nats.length - 1)];
  if (server === undefined) throw new Error("the system has no NATS server");
  return server;
};

export const faults: readonly Fault[] = [
  { kind: "kill leader", victim: "leader", weight: 6, endsLead: true, strike: kill },
  { kind: "freeze leader", victim: "leader", weight: 4, endsLead: true, strike: freeze },
  { kind: "stop leader", victim: "leader", weight: 2, endsLead: true, strike: end },
  { kind: "kill standby", victim: "standby", weight: 1, strike: kill },
  { kind: "freeze standby", victim: "standby", weight: 1, strike: freeze },
  {
    kind: "cut leader from PostgreSQL",
    victim: "leader",
    weight: 2,
    endsLead: true,
    strike: network(toPostgres, "cut"),
  },
  { kind: "stall leader's PostgreSQL", victim: "leader", weight: 2, strike: network(toPostgres, "stall") },
  { kind: "slow leader's PostgreSQL", victim: "leader", weight: 1, strike: network(toPostgres, "delay") },
  { kind: "cut leader from NATS", victim: "leader", weight: 3, strike: network(toNats, "cut") },
  { kind: "stall leader's NATS", victim: "leader", weight: 3, strike: network(toNats, "stall") },
  { kind: "slow leader's NATS", victim: "leader", weight: 2, strike: network(toNats, "delay") },
  { kind: "terminate walsender", victim: "leader", weight: 2, strike: terminate("walcast replication") },
  { kind: "terminate lock holder", victim: "leader", weight: 1, strike: terminate("walcast ingester") },
  {
    kind: "kill NATS",
    victim: "nats",
    weight: 4,
    strike: async (strike) => {
      const server = natsServer(strike);
      await server.kill9();
      await shortly(strike.random);
      await server.restart();
    },
  },
  {
    kind: "freeze NATS",
    victim: "nats",
    weight: 2,
    strike: async (strike) => {
      const server = natsServer(strike);
      server.pause();
      await longer(strike.random);
      server.resume();
    },
  },
  {
    kind: "kill PostgreSQL",
    victim: "postgres",
    weight: 2,
    strike: async ({ system, random }) => {
      await system.postgres.kill9();
      await shortly(random);
      await system.postgres.restart();
    },
  },
  { kind: "restart PostgreSQL", victim: "postgres", weight: 1, strike: ({ system }) => system.postgres.restart() },
  {
    kind: "freeze PostgreSQL",
    victim: "postgres",
    weight: 1,
    strike: async ({ system, random }) => {
      system.postgres.pause();
      await pause(random.between(500, 5_000));
      system.postgres.resume();
    },
  },
];

/** What happens to gateways, where there are some. */
export const gatewayFaults: readonly Fault[] = [
  { kind: "kill gateway", victim: "gateway", weight: 8, strike: kill },
  { kind: "freeze gateway", victim: "gateway", weight: 4, strike: freeze },
  { kind: "stop gateway", victim: "gateway", weight: 2, strike: end },
  { kind: "cut gateway from PostgreSQL", victim: "gateway", weight: 2, strike: network(toPostgres, "cut") },
  { kind: "stall gateway's PostgreSQL", victim: "gateway", weight: 1, strike: network(toPostgres, "stall") },
  { kind: "cut gateway from NATS", victim: "gateway", weight: 2, strike: network(toNats, "cut") },
  { kind: "stall gateway's NATS", victim: "gateway", weight: 2, strike: network(toNats, "stall") },
];

/** A crash of NATS that loses what it had not synced: up to five seconds of acknowledged messages. */
export const lostTail: Fault = {
  kind: "NATS loses its tail",
  victim: "nats",
  weight: 8,
  strike: async (strike) => {
    const server = natsServer(strike);
    const snapshot = takeSnapshot(server);
    try {
      const kept = await strike.lastSequence();
      await pause(strike.random.between(500, 5_000));
      strike.count("messages of the stream that NATS lost, at least", (await strike.lastSequence()) - kept);
      await server.kill9();
      snapshot.restore();
      await shortly(strike.random);
      await server.restart();
    } finally {
      snapshot.discard();
    }
  },
};
