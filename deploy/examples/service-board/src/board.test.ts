import { isDeepStrictEqual } from "node:util";
import { describe, expect, test } from "vitest";
import { Board } from "./board.ts";
import { LISTS, type Service, type ServiceChange } from "./service.ts";

function service(id: number, revision: number, statusId = 1): Service {
  const at = new Date(Date.UTC(2025, 0, 1) + revision * 1_000).toISOString();
  return {
    id,
    revision,
    statusId,
    customer: "Marta Oliveira",
    vehicle: "Renault Clio",
    place: "A1, km 172",
    problem: "flat tyre",
    createdAt: new Date(Date.UTC(2025, 0, 1) + id).toISOString(),
    updatedAt: at,
  };
}

const written = (id: number, revision: number, statusId = 1): ServiceChange => ({
  tag: "written",
  service: service(id, revision, statusId),
});
const deleted = (id: number, revision?: number): ServiceChange => ({ tag: "deleted", id, revision });

function boardWith(...services: Service[]): Board {
  const board = new Board();
  board.beginRead();
  board.completeRead(services);
  return board;
}

const idsOf = (board: Board): number[][] => LISTS.map(({ statusId }) => board.list(statusId).map(({ id }) => id));

describe("changes", () => {
  test("an INSERT appears in the list of its status", () => {
    const board = boardWith(service(1, 1));
    expect(board.apply(written(2, 2, 3))).toBe(true);
    expect(idsOf(board)).toEqual([[1], [], [2]]);
  });

  test("an UPDATE of the status moves the row instead of copying it", () => {
    const board = boardWith(service(1, 1), service(2, 2));
    board.apply(written(1, 3, 2));
    expect(idsOf(board)).toEqual([[2], [1], []]);
  });

  test("the same change, reported on a second topic, changes nothing", () => {
    const board = boardWith(service(1, 1));
    expect([board.apply(written(1, 2, 2)), board.apply(written(1, 2, 2))]).toEqual([true, false]);
    expect(idsOf(board)).toEqual([[], [1], []]);
  });

  test("an older version of a row does not undo a newer one", () => {
    const board = boardWith(service(1, 5, 3));
    expect(board.apply(written(1, 4, 2))).toBe(false);
    expect(idsOf(board)).toEqual([[], [], [1]]);
  });

  test("a DELETE removes the row, with or without the revision of the old row", () => {
    const board = boardWith(service(1, 1), service(2, 2));
    expect([board.apply(deleted(1, 1)), board.apply(deleted(2))]).toEqual([true, true]);
    expect(idsOf(board)).toEqual([[], [], []]);
  });

  test("a DELETE of an earlier row with the same key does not remove the later one", () => {
    const board = boardWith(service(1, 9));
    expect(board.apply(deleted(1, 3))).toBe(false);
    expect(idsOf(board)).toEqual([[1], [], []]);
  });

  test("a status without a list takes the row off the board, and a later one brings it back", () => {
    const board = boardWith(service(1, 1));
    expect(board.apply(written(1, 2, 7))).toBe(true);
    expect(idsOf(board)).toEqual([[], [], []]);
    expect(board.apply(written(1, 3, 2))).toBe(true);
    expect(idsOf(board)).toEqual([[], [1], []]);
  });

  test("a TRUNCATE empties the board", () => {
    const board = boardWith(service(1, 1), service(2, 2, 3));
    expect(board.apply({ tag: "truncated" })).toBe(true);
    expect(idsOf(board)).toEqual([[], [], []]);
  });
});

describe("order of the lists", () => {
  test("the one that waits longest comes first, of the concluded ones the latest", () => {
    const board = boardWith(service(2, 1), service(1, 2), service(3, 3, 3), service(4, 4, 3));
    expect(idsOf(board)).toEqual([[1, 2], [], [4, 3]]);
  });
});

describe("reading the table again", () => {
  test("drops rows that were deleted while nobody listened", () => {
    const board = boardWith(service(1, 1), service(2, 2));
    board.beginRead();
    board.completeRead([service(2, 2)]);
    expect(idsOf(board)).toEqual([[2], [], []]);
  });

  test("believes a database that was replaced by a younger one, also about changes during the read", () => {
    const board = boardWith(service(1, 500, 3));
    board.beginRead();
    board.apply(written(1, 2, 2));
    board.completeRead([service(1, 1, 1)]);
    expect(idsOf(board)).toEqual([[], [1], []]);
  });
});

/** What a client sees of a row that is inserted, moved, moved off the board and back, deleted, and inserted again. */
const HISTORY: readonly ServiceChange[] = [
  written(1, 1, 1),
  written(2, 2, 1),
  written(1, 3, 2),
  written(1, 4, 7),
  written(1, 5, 3),
  deleted(1, 5),
  written(2, 6, 2),
  written(1, 7, 1),
  deleted(2, 6),
  written(1, 8, 2),
];

function tableAfter(commits: number): Service[] {
  const rows = new Map<number, Service>();
  for (const change of HISTORY.slice(0, commits)) {
    if (change.tag === "written") rows.set(change.service.id, change.service);
    if (change.tag === "deleted") rows.delete(change.id);
  }
  return [...rows.values()].filter(({ statusId }) => statusId <= 3);
}

describe("a read that races with changes ends as the table is", () => {
  const commits = HISTORY.length;
  const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);
  // The changes delivered before the rows arrive may be fewer than the SELECT has seen (they wait in a buffer) or more.
  const races = range(0, commits).flatMap((subscribedAt) =>
    range(subscribedAt, commits).flatMap((readAt) =>
      range(subscribedAt, commits).map((deliveredAt) => ({ subscribedAt, readAt, deliveredAt })),
    ),
  );

  const boardAfter = ({ subscribedAt, readAt, deliveredAt }: (typeof races)[number]): Board => {
    const board = boardWith(...tableAfter(Math.max(0, subscribedAt - 2)));
    const deliver = (from: number, to: number): void => {
      for (const change of HISTORY.slice(from, to)) {
        board.apply(change);
        board.apply(change);
      }
    };
    board.beginRead();
    deliver(subscribedAt, deliveredAt);
    board.completeRead(tableAfter(readAt));
    deliver(deliveredAt, commits);
    return board;
  };

  test("wherever in the history the subscription, the read and its rows fall", () => {
    const wrong = races.filter((race) => !isDeepStrictEqual(boardAfter(race).list(2), tableAfter(commits)));
    const astray = races.filter((race) => idsOf(boardAfter(race)).flat().length !== 1);
    expect({ races: races.length, wrong, astray }).toEqual({ races: 506, wrong: [], astray: [] });
  });
});
