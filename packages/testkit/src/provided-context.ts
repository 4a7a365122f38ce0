/** Where the servers of a test run are; `inject` of vitest gives them to tests of the projects that need servers. */
export interface ServerUrls {
  /** An administrator's connection; make a database of your own with `createDatabase`. */
  readonly postgresUrl: string;
  /** Its major version: a test that needs a newer one says so by asking, and asserts what an older one does instead. */
  readonly postgresVersion: number;
  /** JetStream is on; name streams and subjects uniquely, other test files use the same server. */
  readonly natsUrl: string;
  readonly redisUrl: string;
}

declare module "vitest" {
  // An interface, because only interfaces merge.
  export interface ProvidedContext extends ServerUrls {}
}
