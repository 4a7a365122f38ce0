import { Command, Option } from "commander";

/** The command-line program `walcast`. Settings come from the environment, so the commands have few options. */
export function createProgram(): Command {
  const program = new Command("walcast")
    .description("PostgreSQL changes to WebSocket clients. Settings come from the environment; the README lists them.")
    .showHelpAfterError();
  program.command("standalone").description("ingester and gateway in one process").action(service("standalone"));
  program
    .command("ingester")
    .description("reads the replication slot, appends to NATS; one leads, others stand by")
    .action(service("ingester"));
  program.command("gateway").description("serves clients; any number of them").action(service("gateway"));
  program
    .command("migrate")
    .description("makes schema realtime (realtime.send, policies of private channels …) or brings it up to date")
    .option("--create-roles", "make anon, authenticated and service_role where they are missing", false)
    .option("--gateway-role <role>", "give what asking for rights needs to the role that gateways connect as")
    .option("--publish", "add realtime.messages to PUBLICATIONS, for broadcasts from the database", false)
    .action(async (options: MigrateFlags) => (await import("./migrate.ts")).runMigrate(options));
  program
    .command("doctor")
    .description("looks for what is wrong with PostgreSQL, NATS, Redis and the settings, and says how to fix it")
    .addOption(
      new Option("--for <service>", "what this service needs, with its role and its settings")
        .choices(["ingester", "gateway", "all"])
        .default("all"),
    )
    .option("--json", "print one JSON object", false)
    .option("--fix", "do what is safe to do: each statement is printed", false)
    .option("--strict", "warnings count as failures, too", false)
    .addHelpText("after", "\nExit code: 0 healthy, 1 something to fix, 78 the settings cannot be read.")
    .action(async (options: DoctorFlags) => (await import("./doctor.ts")).runDoctor(options));
  program
    .command("tail")
    .description(
      "prints changes of a table as they come, over server-sent events; after a disconnect it goes on where it was",
    )
    .argument("<table>", "a table's name, schema.table, or * for all of a schema")
    .option("--url <url>", "a gateway", "http://localhost:4000")
    .option("--filter <filter>", "as subscriptions have it: id=gt.5,status=in.(open,paid)")
    .option("--event <event>", "INSERT, UPDATE or DELETE alone")
    .option("--from <position>", "what came after this position, first")
    .option("--json", "print each change as a line of JSON", false)
    .addHelpText("after", "\nWALCAST_TOKEN is the token, where the gateway asks for one.")
    .action(async (table: string, options: TailFlags) => (await import("./tail.ts")).runTail(table, options));
  program
    .command("drop-slot")
    .description("drops the replication slot SLOT_NAME for good, when walcast is uninstalled")
    .option("--wait <seconds>", "how long somebody may still read it", (text) => Number(text), 60)
    .action(async (options: DropSlotFlags) => (await import("./drop-slot.ts")).runDropSlot(options));
  return program;
}

export interface MigrateFlags {
  readonly createRoles: boolean;
  readonly gatewayRole?: string;
  readonly publish: boolean;
}

export interface DoctorFlags {
  readonly for: "ingester" | "gateway" | "all";
  readonly json: boolean;
  readonly fix: boolean;
  readonly strict: boolean;
}

export interface TailFlags {
  readonly url: string;
  readonly filter?: string;
  readonly event?: string;
  readonly from?: string;
  readonly json: boolean;
}

export interface DropSlotFlags {
  readonly wait: number;
}

const service = (name: "standalone" | "ingester" | "gateway") => async (): Promise<void> => {
  const { runService } = await import("./run-service.ts");
  await runService(name);
};
