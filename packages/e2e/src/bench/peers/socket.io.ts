import { createServer } from "node:http";
import { Server } from "socket.io";
import { report, takeOrders } from "./orders.ts";

// What people write by hand: socket.io, everybody in one room.

const port = Number(process.env["PORT"]);
const http = createServer();
const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false, pingInterval: 600_000 });
io.on("connection", (socket) => void socket.join("all"));
const orders = await takeOrders((frames) => {
  for (const frame of frames) io.to("all").emit("change", frame.toString());
});
http.listen(port, "127.0.0.1", () => report({ port, orders }));
