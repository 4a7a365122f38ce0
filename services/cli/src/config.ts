import { loadConfig, orExit, secret, type Config, type Environment } from "@walcast/config";
import { gatewaySettings } from "@walcast/gateway";
import { ingesterSettings, replicationSettings } from "@walcast/ingester";
import { databaseSettings } from "@walcast/postgres";

/** What `migrate` and `drop-slot` need to know: where the database is, and what walcast calls its own in it. */
export const sourceSettings = { ...databaseSettings, ...replicationSettings };

/** Everything that the services would read: a fault in any of it is one that `doctor` is there to find. */
export const doctorSettings = { ...gatewaySettings, ...ingesterSettings };

export const readSourceConfig = (environment: Environment = process.env): Config<typeof sourceSettings> =>
  orExit(() => loadConfig(sourceSettings, environment));

export interface DoctorEnvironment {
  readonly config: Config<typeof doctorSettings>;
  /** Defaults are for services that run; what nobody named is not looked for. */
  readonly isGiven: (name: keyof typeof doctorSettings) => boolean;
}

export const readDoctorConfig = (environment: Environment = process.env): DoctorEnvironment =>
  orExit(() => ({
    config: loadConfig(doctorSettings, environment),
    isGiven: (name) => Boolean(environment[name] ?? environment[`${name}_FILE`]),
  }));

/** What `tail` shows the gateway, if it asks. */
export const readToken = (environment: Environment = process.env): string | undefined =>
  orExit(() =>
    loadConfig({ WALCAST_TOKEN: secret("The token for `walcast tail`.") }, environment),
  ).WALCAST_TOKEN?.reveal();
