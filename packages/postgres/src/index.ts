export { connectClient, databaseOf, endClient, streamOf, type Database } from "./connection.ts";
export { DatabaseUnavailableError, sqlStateOf } from "./errors.ts";
export { databaseSettings } from "./settings.ts";
export { Catalog } from "./type-catalog.ts";
export { localSettings, sessionOptions } from "./value-settings.ts";
