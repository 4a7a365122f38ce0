import { pino, type Logger } from "pino";
import { PinoPretty } from "pino-pretty";

export type { Logger } from "pino";

export interface LogSettings {
  readonly level: string;
  /** `json`: one object a line; `text`: for people. */
  readonly format: "json" | "text";
  /** In place of standard output. */
  readonly destination?: { readonly write: (line: string) => void };
}

export function createLogger(service: string, { level, format, destination }: LogSettings): Logger {
  const options = { level, base: { service }, timestamp: pino.stdTimeFunctions.isoTime };
  if (format === "json") return destination === undefined ? pino(options) : pino(options, destination);
  const pretty = PinoPretty({
    colorize: process.stdout.isTTY,
    ignore: "pid,hostname,service",
    translateTime: "SYS:HH:MM:ss.l",
    sync: true,
  });
  return pino(options, pretty);
}
