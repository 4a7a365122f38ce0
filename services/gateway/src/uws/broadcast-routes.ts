import { describeError, type Logger } from "@walcast/telemetry";
import type { HttpRequest, HttpResponse, TemplatedApp } from "uWebSockets.js";
import type { HttpAnswer, HttpBroadcast, HttpCredentials } from "../http-broadcast.ts";
import { requestHeaders } from "./named-headers.ts";
import { readBody } from "./request-body.ts";

export interface BroadcastRoutesOptions {
  readonly broadcasts: () => HttpBroadcast;
  readonly log: Logger;
}

/** As the peer's parser has it (protocol.md 6). */
const bodyLimitBytes = 8_000_000;

const statusLines: Readonly<Record<HttpAnswer["status"], string>> = {
  202: "202 Accepted",
  400: "400 Bad Request",
  401: "401 Unauthorized",
  403: "403 Forbidden",
  413: "413 Payload Too Large",
  415: "415 Unsupported Media Type",
  422: "422 Unprocessable Entity",
  429: "429 Too Many Requests",
  500: "500 Internal Server Error",
};

const tooLarge: HttpAnswer = { status: 413, body: { message: `The body is above ${bodyLimitBytes} bytes` } };
const failed: HttpAnswer = { status: 500, body: { message: "Unable to authorize broadcast" } };

/** The HTTP endpoints of broadcast, by both of their paths, for any origin (protocol.md 1.1, 6). */
export function addBroadcastRoutes(app: TemplatedApp, { broadcasts, log }: BroadcastRoutesOptions): void {
  const respond = (response: HttpResponse, handle: (body: Buffer) => Promise<HttpAnswer>): void => {
    let isAborted = false;
    response.onAborted(() => (isAborted = true));
    void readBody(response, bodyLimitBytes)
      .then((body) => (body.tag === "tooLarge" ? tooLarge : handle(body.bytes)))
      .catch((error: unknown) => {
        log.error(describeError(error), "a broadcast over HTTP failed");
        return failed;
      })
      .then((answer) => isAborted || response.cork(() => write(response, answer, broadcasts())));
  };
  for (const path of ["/api/broadcast", "/realtime/v1/api/broadcast"]) {
    const single = `${path}/:topic/events/:event`;
    app.post(path, (response, request) => {
      const given = { credentials: credentialsOf(request), headers: requestHeaders(request) };
      respond(response, (body) => broadcasts().batch({ ...given, body }));
    });
    app.post(single, (response, request) => {
      const given = {
        credentials: credentialsOf(request),
        headers: requestHeaders(request),
        topic: request.getParameter(0) ?? "",
        event: request.getParameter(1) ?? "",
        isPrivate: request.getQuery("private") === "true",
        contentType: request.getHeader("content-type"),
      };
      respond(response, (body) => broadcasts().single({ ...given, body }));
    });
    app.options(path, preflight);
    app.options(single, preflight);
  }
}

const credentialsOf = (request: HttpRequest): HttpCredentials => ({
  authorization: request.getHeader("authorization").trim(),
  apikey: request.getHeader("apikey").trim(),
});

function write(response: HttpResponse, { status, body }: HttpAnswer, broadcasts: HttpBroadcast): void {
  response.writeStatus(statusLines[status]).writeHeader("access-control-allow-origin", "*");
  for (const [name, value] of broadcasts.rateHeaders()) response.writeHeader(name, value);
  response.writeHeader("access-control-expose-headers", "x-rate-rolling, x-rate-limit, x-rate-limit-remaining");
  if (body === undefined) response.end();
  else response.writeHeader("content-type", "application/json; charset=utf-8").end(JSON.stringify(body));
}

/** A browser asks first. The token is in a header of the request itself, so any origin may ask. */
function preflight(response: HttpResponse, request: HttpRequest): void {
  const wanted = request.getHeader("access-control-request-headers");
  response
    .writeStatus("204 No Content")
    .writeHeader("access-control-allow-origin", "*")
    .writeHeader("access-control-allow-methods", "POST, OPTIONS")
    .writeHeader("access-control-allow-headers", wanted || "authorization, apikey, content-type, x-client-info")
    .writeHeader("access-control-max-age", "86400")
    .endWithoutBody();
}
