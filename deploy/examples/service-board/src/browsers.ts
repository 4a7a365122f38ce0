import type { Server as HttpServer } from "node:http";
import { Server } from "socket.io";
import type { BoardView } from "./board-view.ts";

interface ToBrowser {
  board: (view: BoardView) => void;
}
/** Pages only look. */
type FromBrowser = Record<string, never>;

/** A burst of changes becomes one message: at most twenty a second, which still looks immediate. */
const GATHER_MS = 50;

/**
 * The open pages. All of them share the server's one board and its one subscription: a page that connects, or connects
 * again, gets the current view at once and the later ones like everybody else.
 */
export class Browsers {
  readonly #io: Server<FromBrowser, ToBrowser>;
  readonly #view: () => BoardView;
  #gathering: NodeJS.Timeout | undefined;

  constructor(http: HttpServer, view: () => BoardView) {
    this.#view = view;
    this.#io = new Server<FromBrowser, ToBrowser>(http);
    this.#io.on("connection", (socket) => socket.emit("board", this.#view()));
  }

  /** Sends the view, as it then is, to every page soon. */
  refresh(): void {
    this.#gathering ??= setTimeout(() => {
      this.#gathering = undefined;
      this.#io.emit("board", this.#view());
    }, GATHER_MS);
  }

  /** Also closes the HTTP server it is attached to. */
  async close(): Promise<void> {
    clearTimeout(this.#gathering);
    await this.#io.close();
  }
}
