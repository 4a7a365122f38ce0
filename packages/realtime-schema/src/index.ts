export { MessagesPublicationMissingError, MigrationPrivilegeError, UnknownMigrationError } from "./errors.ts";
export { dropOldPartitions, ensurePartitions, Janitor, type JanitorOptions, type JanitorReport } from "./janitor.ts";
export { migrate, pendingMigrations, revert, type MigrateOptions, type MigrationReport } from "./migrate.ts";
export { clientRoles } from "./roles.ts";
