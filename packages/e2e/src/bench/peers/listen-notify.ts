import { Client } from "pg";
import { WebSocketServer } from "ws";

// What people write by hand for live rows: a trigger, LISTEN, and `ws`.

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.env["PORT"]), perMessageDeflate: false });
const client = new Client({ connectionString: process.env["DATABASE_URL"] });
await client.connect();
client.on("notification", ({ payload = "" }) => {
  for (const socket of server.clients) socket.send(payload);
});
await client.query("LISTEN rows");
console.log("listening");
