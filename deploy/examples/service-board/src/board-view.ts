import type { Board } from "./board.ts";
import type { Liveness } from "./board-keeper.ts";
import { LISTS, type Service } from "./service.ts";

/** What a browser gets: always everything, so that one message, whichever, makes its page right. */
export interface BoardView {
  readonly liveness: Liveness;
  readonly lists: readonly {
    readonly statusId: number;
    readonly title: string;
    /** May exceed what is in `services`. */
    readonly total: number;
    readonly services: readonly Service[];
  }[];
}

/** Nobody reads more cards than this, but every one of them would cross the network with every change. */
const LONGEST_LIST = 100;

export function viewBoard(board: Board, liveness: Liveness): BoardView {
  const lists = LISTS.map(({ statusId, title }) => {
    const services = board.list(statusId);
    return { statusId, title, total: services.length, services: services.slice(0, LONGEST_LIST) };
  });
  return { liveness, lists };
}
