/** One row of `public.service`, as the board keeps it and sends it to browsers. */
export interface Service {
  readonly id: number;
  readonly customer: string;
  readonly vehicle: string;
  readonly place: string;
  readonly problem: string;
  readonly statusId: number;
  /** Rises with every commit that touches this row; see `sql/schema.sql`. */
  readonly revision: number;
  readonly createdAt: string;
  readonly updatedAt: string;
}

/** What happened to one row, or, for a TRUNCATE, to all of them. */
export type ServiceChange =
  | { readonly tag: "written"; readonly service: Service }
  /** Without a revision when the server shows no more of a deleted row than its key. */
  | { readonly tag: "deleted"; readonly id: number; readonly revision: number | undefined }
  | { readonly tag: "truncated" };

/** The lists of the board. A row with any other status is not on it. */
export const LISTS = [
  { statusId: 1, title: "Pending" },
  { statusId: 2, title: "In progress" },
  { statusId: 3, title: "Concluded" },
] as const;

export const isListed = (statusId: number): boolean => LISTS.some((list) => list.statusId === statusId);
