/** One binding as it is asked for. */
export interface BindingWish {
  readonly event: string;
  readonly schema: string;
  readonly table: string;
  /** Empty: none. */
  readonly filter: string;
}

/** What the form asks for. */
export interface ChannelWish {
  /** Without `realtime:`. */
  readonly topic: string;
  readonly isPrivate: boolean;
  readonly bindings: readonly BindingWish[];
}

export const events = ["*", "INSERT", "UPDATE", "DELETE"] as const;

export const anyBinding: BindingWish = { event: "*", schema: "public", table: "*", filter: "" };

/** What the form holds at first: a link may say it, as `#table=todos&filter=done=eq.false`. */
export function initialWish(hash: string): ChannelWish {
  const given = new URLSearchParams(hash.replace(/^#/u, ""));
  const event = given.get("event")?.toUpperCase() ?? "";
  return {
    topic: given.get("topic") ?? "inspector",
    isPrivate: given.get("private") === "true",
    bindings: [
      {
        event: events.find((one) => one === event) ?? anyBinding.event,
        schema: given.get("schema") ?? anyBinding.schema,
        table: given.get("table") ?? anyBinding.table,
        filter: given.get("filter") ?? anyBinding.filter,
      },
    ],
  };
}

/** As realtime-js takes it. */
export const toRequest = ({ event, schema, table, filter }: BindingWish) => ({
  event: event as "*",
  schema,
  table,
  ...(filter.trim() === "" ? {} : { filter: filter.trim() }),
});

/** One line: `INSERT public.todos done=eq.false`. */
export const wishText = ({ event, schema, table, filter }: BindingWish): string =>
  `${event === "*" ? "any" : event} ${schema}.${table}${filter.trim() === "" ? "" : ` ${filter.trim()}`}`;
