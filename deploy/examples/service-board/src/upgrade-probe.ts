import { request } from "node:http";
import { request as requestSecurely } from "node:https";
import { errorCode, errorMessage, UpstreamError } from "./errors.ts";

/**
 * Asks for the WebSocket once more by hand, to learn why the client could not get it: realtime-js 1.3.3 reports no
 * reason at all for a connection that failed.
 */
export function explainRefusal(webSocketUrl: string): Promise<UpstreamError> {
  const url = new URL(webSocketUrl.replace(/^ws/u, "http"));
  const send = url.protocol === "https:" ? requestSecurely : request;
  const headers = {
    Connection: "Upgrade",
    Upgrade: "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": Buffer.from("service-board-01").toString("base64"),
  };
  return new Promise((resolve) => {
    const answer = (message: string, remedy: string, cause?: unknown): void =>
      resolve(new UpstreamError("realtime", `the realtime server at ${url.host} ${message}`, { remedy, cause }));
    const probe = send(url, { headers, timeout: 5_000 });
    probe.once("response", (response) => {
      response.resume();
      const status = response.statusCode ?? 0;
      const isRefusal = status === 401 || status === 403;
      const remedy = isRefusal ? "set REALTIME_APIKEY to a valid token" : "check the path in REALTIME_URL";
      answer(`answered HTTP ${status}`, remedy);
    });
    probe.once("upgrade", (_response, socket) => {
      socket.destroy();
      answer("closed the connection, but accepts one now", "none; this server tries again");
    });
    probe.once("timeout", () => probe.destroy(new Error("no answer within 5 s")));
    probe.once("error", (error) => {
      const isMissing = errorCode(error) === "ECONNREFUSED";
      const remedy = isMissing ? "start it (`npm start`) or point REALTIME_URL to yours" : "check REALTIME_URL";
      answer(`cannot be reached: ${errorMessage(error)}`, remedy, error);
    });
    probe.end();
  });
}
