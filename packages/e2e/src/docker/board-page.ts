import { WebSocket } from "ws";

export interface BoardView {
  readonly liveness: { readonly tag: string };
  readonly lists: readonly { readonly statusId: number; readonly services: readonly { readonly id: number }[] }[];
}

/** An open page of the service board, without a browser: the four kinds of socket.io messages that it needs. */
export class BoardPage {
  readonly #socket: WebSocket;
  #view: BoardView | undefined;

  constructor(boardUrl: string) {
    this.#socket = new WebSocket(`${boardUrl.replace(/^http/u, "ws")}/socket.io/?EIO=4&transport=websocket`);
    this.#socket.on("message", (data: Buffer) => this.#receive(data.toString()));
    this.#socket.on("error", () => undefined); // whoever waits for a view is told by the timeout
  }

  get isLive(): boolean {
    return this.#view?.liveness.tag === "live";
  }

  /** Which list shows this service. */
  listOf(serviceId: number): number | undefined {
    return this.#view?.lists.find((list) => list.services.some((service) => service.id === serviceId))?.statusId;
  }

  close(): void {
    this.#socket.close();
  }

  #receive(message: string): void {
    if (message.startsWith("0")) this.#socket.send("40");
    else if (message === "2") this.#socket.send("3");
    else if (message.startsWith("42")) {
      const [event, view] = JSON.parse(message.slice(2)) as [string, BoardView];
      if (event === "board") this.#view = view;
    }
  }
}
