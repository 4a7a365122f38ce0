import { WebSocketServer } from "ws";
import { report, takeOrders } from "./orders.ts";

// What people write by hand: `ws`, and a loop over its clients.

const port = Number(process.env["PORT"]);
const server = new WebSocketServer({ host: "127.0.0.1", port, perMessageDeflate: false });
const orders = await takeOrders((frames) => {
  for (const frame of frames) for (const client of server.clients) client.send(frame, { binary: false });
});
server.on("listening", () => report({ port, orders }));
