import type { StartClient } from "./client-kind.ts";
import { eventStream } from "./event-stream-client.ts";
import { keepsRows } from "./live-rows-client.ts";
import { addOn, stock } from "./realtime-client.ts";

/** Those who keep changes, each of which it must have had. */
export const changeKinds = {
  "stock 2.119.0": stock("2.119.0"),
  "stock 1.7.5": stock("1.7.5"),
  "add-on 2.119.0": addOn("2.119.0"),
  "add-on 1.7.5": addOn("1.7.5"),
  "event stream": eventStream,
} satisfies Readonly<Record<string, StartClient>>;

/** Those who keep rows. */
export const rowKinds = {
  "live rows 2.119.0": keepsRows("2.119.0"),
  "live rows 1.7.5": keepsRows("1.7.5"),
} satisfies Readonly<Record<string, StartClient>>;

export const clientKinds = new Map<string, StartClient>(Object.entries({ ...changeKinds, ...rowKinds }));

/** The gateways remember for them how far they are, once a second: what came since comes again. */
export const mayRepeat = (kind: string): boolean => kind.startsWith("stock");
