export { documentSettings } from "./document.ts";
export { ConfigError, loadConfig, orExit, type Environment } from "./load.ts";
export { Secret } from "./secret.ts";
export {
  choice,
  flag,
  integer,
  json,
  names,
  optionalText,
  ratio,
  secret,
  text,
  type Config,
  type Setting,
  type Settings,
} from "./settings.ts";
export { z } from "zod";
