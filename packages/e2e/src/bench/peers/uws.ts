import { App, type us_listen_socket } from "uWebSockets.js";
import { report, takeOrders } from "./orders.ts";

// The yardstick of fan-out: uWebSockets.js and nothing else. All frames of an order are published in one turn.

const app = App().ws("/*", {
  idleTimeout: 0,
  maxBackpressure: 64 * 1024 * 1024,
  open: (socket) => void socket.subscribe("all"),
});
const orders = await takeOrders((frames) => {
  for (const frame of frames) app.publish("all", frame, false);
});
const port = Number(process.env["PORT"]);
app.listen("127.0.0.1", port, (_socket: us_listen_socket | false) => report({ port, orders }));
