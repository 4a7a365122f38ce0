/** Operator: the message says which statement was refused, and what the migrating role lacks for it. */
export class MigrationPrivilegeError extends Error {
  readonly code = "MIGRATION_PRIVILEGE";
  readonly object: string;

  constructor(object: string, remedy: string, options: ErrorOptions) {
    super(`the role that migrates may not make ${object}; ${remedy}`, options);
    this.object = object;
  }
}

/** Operator: the database was migrated by a newer walcast. Use that one. */
export class UnknownMigrationError extends Error {
  readonly code = "MIGRATION_UNKNOWN";

  constructor(version: number) {
    super(
      `the database has migration ${version} of schema realtime, which this walcast does not know; use a newer one`,
    );
  }
}

/** Operator: create the publication first, or set PUBLICATIONS to one that is there. */
export class MessagesPublicationMissingError extends Error {
  readonly code = "PUBLICATION_MISSING";

  constructor(publication: string) {
    super(`publication "${publication}" does not exist, so realtime.messages cannot be added to it`);
  }
}
