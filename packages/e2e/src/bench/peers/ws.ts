import { WebSocketServer, type WebSocket } from "ws";
import { report, takeOrders } from "./orders.ts";

// What people write by hand: `ws`, and a loop over its clients.

const clients = new Set<WebSocket>();
const orders = await takeOrders((frames) => {
  for (const frame of frames) for (const client of clients) client.send(frame, { binary: false });
});
const port = Number(process.env["PORT"]);
const server = new WebSocketServer({ host: "127.0.0.1", port, perMessageDeflate: false });
server.on("connection", (client) => clients.add(client));
server.on("listening", () => report({ port, orders }));
