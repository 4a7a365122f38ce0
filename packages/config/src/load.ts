import { readFileSync } from "node:fs";
import type { Config, Settings } from "./settings.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** The environment cannot be used. Operator: every problem is listed, each with the variable's name. */
export class ConfigError extends Error {
  readonly code = "CONFIG";
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(
      `the environment has ${problems.length} problem(s):\n${problems.map((problem) => `  ${problem}`).join("\n")}`,
    );
    this.problems = problems;
  }
}

/**
 * Reads all settings from the environment into one frozen object. Problems are reported together. A name that begins with
 * `ownPrefix` and is no setting is one of them: it is a typing error.
 */
export function loadConfig<const S extends Settings>(
  settings: S,
  environment: Environment,
  { ownPrefix }: { readonly ownPrefix?: string } = {},
): Config<S> {
  const problems: string[] = [];
  const config: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries(settings)) {
    const value = setting.isSecret ? readSecret(name, environment, problems) : environment[name];
    const result = setting.schema.safeParse(value);
    if (result.success) config[name] = result.data;
    else problems.push(`${name}: ${result.error.issues.map((issue) => issue.message).join("; ")}`);
  }
  if (ownPrefix !== undefined) {
    for (const name of Object.keys(environment)) {
      if (name.startsWith(ownPrefix) && !(name.replace(/_FILE$/, "") in settings))
        problems.push(`${name}: no such setting`);
    }
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return Object.freeze(config) as Config<S>;
}

function readSecret(name: string, environment: Environment, problems: string[]): string | undefined {
  const path = environment[`${name}_FILE`];
  if (path === undefined || path === "") return environment[name];
  if ((environment[name] ?? "") !== "") problems.push(`${name}: set either it or ${name}_FILE, not both`);
  try {
    return readFileSync(path, "utf8").trimEnd();
  } catch (error) {
    problems.push(`${name}_FILE: cannot read ${path}: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

/** For a process's first line: prints what is wrong with the environment and ends with EX_CONFIG (sysexits.h). */
export function orExit<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return process.exit(78);
  }
}
