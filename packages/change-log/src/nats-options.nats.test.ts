import { connect } from "@nats-io/transport-node";
import { startNats } from "@walcast/testkit";
import { expect, it, onTestFinished } from "vitest";
import { NatsChangeLog } from "./nats.ts";
import { natsOptions } from "./nats-options.ts";

it("reads servers, credentials and TLS", () => {
  const always = { noAsyncTraces: true };
  expect(natsOptions("nats://a:4222, b:4333,nats://c")).toEqual({ ...always, servers: ["a:4222", "b:4333", "c"] });
  expect(natsOptions("nats://u%40x:p%2Fw@a:1,nats://b:2")).toEqual({
    ...always,
    servers: ["a:1", "b:2"],
    user: "u@x",
    pass: "p/w",
  });
  expect(natsOptions("tls://secret@a:1")).toEqual({ ...always, servers: ["a:1"], token: "secret", tls: {} });
});

it.each([
  ["user and password", 'authorization { user: u, password: "p/w" }', "u:p%2Fw@", "u:wrong@"],
  ["a token", 'authorization { token: "secret" }', "secret@", "wrong@"],
])("gets in with %s, and not with others", async (_what, extraConfig, right, wrong) => {
  const server = await startNats({ extraConfig });
  onTestFinished(() => server.stop());
  const url = (credentials: string): string => server.url.replace("nats://", `nats://${credentials}`);
  const log = await NatsChangeLog.connect({
    url: url(right),
    name: "test",
    source: "x",
    backoff: () => Promise.resolve(),
  });
  await log.close();
  for (const credentials of [wrong, ""])
    await expect(connect({ ...natsOptions(url(credentials)), reconnect: false })).rejects.toThrow(
      "Authorization Violation",
    );
});
