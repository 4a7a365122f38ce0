import { LineProcess } from "./line-process.ts";

export interface ServiceOptions {
  /** The file to run, such as a service's `src/main.ts`. */
  readonly entry: string;
  /** Nothing else of this process's environment but PATH and HOME reaches the service. */
  readonly env: Readonly<Record<string, string>>;
  /** How errors call it. */
  readonly name: string;
  readonly args?: readonly string[];
  readonly cwd?: string;
}

/** Runs one of our own programs from source, the way `npm start` does. */
export function spawnService({ entry, env, name, args = [], cwd }: ServiceOptions): LineProcess {
  return new LineProcess({
    name,
    command: process.execPath,
    args: ["--conditions=@walcast/source", entry, ...args],
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"], ...env },
    ...(cwd !== undefined && { cwd }),
  });
}
