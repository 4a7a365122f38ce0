#!/usr/bin/env node
import { describeError } from "@walcast/telemetry";
import { createProgram } from "./program.ts";

try {
  await createProgram().parseAsync();
} catch (error) {
  const { code, message, cause } = describeError(error);
  process.stderr.write(`${code}: ${message}${cause === undefined ? "" : ` (${cause})`}\n`);
  process.exitCode = 1;
}
