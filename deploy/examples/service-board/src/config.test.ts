import { expect, test } from "vitest";
import { ConfigError, readConfig } from "./config.ts";

test("fits `npm start` without any setting", () => {
  expect(readConfig({})).toEqual({
    databaseUrl: "postgres://postgres:postgres@127.0.0.1:54329/postgres",
    realtimeUrl: "ws://127.0.0.1:4000/socket",
    realtimeApiKey: undefined,
    host: "127.0.0.1",
    port: 3000,
  });
});

test("names every wrong setting at once, and no password", () => {
  const read = (): unknown =>
    readConfig({ DATABASE_URL: "mysql://a:secret@b/c", REALTIME_URL: "http://localhost:4000/socket", PORT: "http" });
  expect(read).toThrow(ConfigError);
  expect(read).toThrow(/DATABASE_URL.*REALTIME_URL.*PORT/u);
  expect(read).not.toThrow(/secret/u);
});
