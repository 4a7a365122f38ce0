import { once } from "node:events";
import { Board } from "./board.ts";
import { BoardKeeper } from "./board-keeper.ts";
import { viewBoard } from "./board-view.ts";
import { Browsers } from "./browsers.ts";
import { readConfig } from "./config.ts";
import { errorCode, errorMessage } from "./errors.ts";
import { createLog } from "./log.ts";
import { createPageServer } from "./page-server.ts";

const STOP_WITHIN_MS = 5_000;
const log = createLog((line) => process.stdout.write(line));

async function serve(): Promise<void> {
  const config = readConfig();
  const stop = new AbortController();
  // Once each: a second Ctrl-C ends the process at once.
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => stop.abort());
  stop.signal.addEventListener("abort", () => setTimeout(() => process.exit(1), STOP_WITHIN_MS).unref());

  const board = new Board();
  const keeper = new BoardKeeper({
    board,
    databaseUrl: config.databaseUrl,
    realtime: { url: config.realtimeUrl, apiKey: config.realtimeApiKey },
    log,
    onChange: () => browsers.refresh(),
  });
  const pageServer = await createPageServer(() => keeper.liveness);
  const browsers = new Browsers(pageServer, () => viewBoard(board, keeper.liveness));

  // The page comes first: it is what shows that something else is missing.
  pageServer.listen(config.port, config.host);
  await once(pageServer, "listening");
  log.info("the page is served", { url: `http://${config.host}:${config.port}/` });

  await keeper.run(stop.signal);
  log.info("stopping");
  await browsers.close();
}

try {
  await serve();
} catch (error) {
  const remedy = errorCode(error) === "EADDRINUSE" ? "another program has this port: set PORT" : undefined;
  log.error("the service board cannot run", { cause: errorMessage(error), remedy });
  process.exitCode = 1;
}
