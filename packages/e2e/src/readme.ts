import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { documentSettings, type Settings } from "@walcast/config";
import { clientSettings, gatewaySettings } from "@walcast/gateway";
import { changeLogSettings, ingesterSettings, replicationSettings } from "@walcast/ingester";
import { databaseSettings } from "@walcast/postgres";
import { standaloneSettings } from "@walcast/standalone";
import { tracingSettings } from "@walcast/telemetry";

// The README's settings are printed from the schemas, between two markers; `npm run docs` writes them, a test compares.

export const readmePath = fileURLToPath(new URL("../../../README.md", import.meta.url));
export const readReadme = (): string => readFileSync(readmePath, "utf8");

const begin = "<!-- settings: printed by `npm run docs` -->";
const end = "<!-- end of settings -->";

const without = (settings: Settings, ...others: readonly Settings[]): Settings =>
  Object.fromEntries(Object.entries(settings).filter(([name]) => !others.some((other) => name in other)));

const sections: readonly [string, Settings][] = [
  ["Source database: every service", databaseSettings],
  ["Replication: ingester, standalone (and `PUBLICATIONS`: gateway)", replicationSettings],
  ["Clients: gateway, standalone", without(clientSettings, replicationSettings)],
  ["Change log: ingester, gateway", changeLogSettings],
  ["Ingester", without(ingesterSettings, databaseSettings, replicationSettings, changeLogSettings, tracingSettings)],
  [
    "Gateway",
    without(gatewaySettings, databaseSettings, replicationSettings, clientSettings, changeLogSettings, tracingSettings),
  ],
  ["Standalone", without(standaloneSettings, databaseSettings, replicationSettings, clientSettings, tracingSettings)],
  ["Traces: every service", tracingSettings],
];

/** The README with its settings printed anew. */
export function withSettings(readme: string): string {
  const [before, rest] = readme.split(begin);
  const after = rest?.split(end)[1];
  if (before === undefined || after === undefined) throw new Error(`README.md needs the lines ${begin} and ${end}`);
  const tables = sections.map(([title, settings]) => `**${title}**\n\n${documentSettings(settings)}`);
  return `${before}${begin}\n\n${tables.join("\n\n")}\n\n${end}${after}`;
}
