import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startProxy, type TcpProxy } from "./tcp-proxy.ts";
import { waitUntil } from "./wait-until.ts";

let server: Server;
let proxy: TcpProxy;
let accepted: Socket[];

beforeEach(async () => {
  accepted = [];
  server = createServer((socket) => {
    accepted.push(socket);
    socket.on("error", () => undefined);
    socket.pipe(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  proxy = await startProxy({ target: `echo://user@127.0.0.1:${(server.address() as AddressInfo).port}/path` });
});
afterEach(async () => {
  await proxy.stop();
  for (const socket of accepted) socket.destroy();
  server.close();
});

interface Caller {
  readonly socket: Socket;
  readonly text: () => string;
  readonly isClosed: () => boolean;
}

async function call(): Promise<Caller> {
  const socket = connect({ host: "127.0.0.1", port: proxy.port });
  let text = "";
  let isClosed = false;
  socket.on("data", (bytes) => (text += bytes.toString()));
  socket.on("close", () => (isClosed = true));
  socket.on("error", () => undefined);
  await new Promise((resolve) => socket.once("connect", resolve).once("close", resolve)); // refused, it is only closed
  return { socket, text: () => text, isClosed: () => isClosed };
}

const hears = (caller: Caller, text: string): Promise<unknown> =>
  waitUntil(() => caller.text() === text, { what: `the echo of ${text}` });
const isClosed = (caller: Caller): Promise<unknown> => waitUntil(caller.isClosed, { what: "the connection's end" });

test("bytes pass in both directions, and its URL differs from the target's by the port alone", async () => {
  const caller = await call();
  caller.socket.write("hello");
  await hears(caller, "hello");
  expect(proxy.url).toBe(`echo://user@127.0.0.1:${proxy.port}/path`);
  expect(proxy.connections).toBe(1);
  caller.socket.end();
  await isClosed(caller);
  await waitUntil(() => proxy.connections === 0, { what: "the proxy to forget the connection" });
});

test("a megabyte and more passes unchanged", async () => {
  const caller = await call();
  const bulk = Array.from({ length: 400_000 }, (_, i) => i).join();
  caller.socket.write(bulk);
  await waitUntil(() => caller.text().length === bulk.length, { what: "all of it" });
  expect(caller.text() === bulk).toBe(true);
});

test("a cut ends connections and refuses new ones until it is healed", async () => {
  const caller = await call();
  proxy.cut();
  await isClosed(caller);
  await waitUntil(() => accepted[0]?.destroyed, { what: "the server's side to end" });
  const refused = await call();
  await isClosed(refused);
  expect(accepted).toHaveLength(1);
  proxy.heal();
  const welcome = await call();
  welcome.socket.write("again");
  await hears(welcome, "again");
});

test("a stall holds back bytes and ends of connections, and healing lets them pass", async () => {
  const [caller, leaver] = [await call(), await call()];
  await waitUntil(() => accepted.length === 2, { what: "both connections at the server" });
  proxy.stall();
  caller.socket.write("late");
  leaver.socket.destroy();
  const probe = createServer().listen(0, "127.0.0.1"); // another socket's round trip: what could pass has passed
  await once(probe, "listening");
  probe.close();
  await once(probe, "close");
  expect(caller.text()).toBe("");
  expect(accepted.every((socket) => !socket.destroyed)).toBe(true);
  proxy.heal();
  await hears(caller, "late");
  await waitUntil(() => accepted.some((socket) => socket.destroyed), { what: "the server to learn of the leaver" });
});

test("a delay is added to each direction without holding up what follows", async () => {
  const caller = await call();
  proxy.delay(50);
  const startMs = performance.now();
  for (const char of "abcdefghij") caller.socket.write(char);
  await hears(caller, "abcdefghij");
  const tookMs = performance.now() - startMs;
  expect(tookMs).toBeGreaterThanOrEqual(99);
  expect(tookMs).toBeLessThan(450);
});
