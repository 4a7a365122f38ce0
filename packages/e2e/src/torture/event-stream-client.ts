import { setTimeout as pause } from "node:timers/promises";
import { hearSystem, type Heard, type ClientSpec, type StartClient } from "./client-kind.ts";

/** Server-sent events: comes back with the id of the last event, as browsers do. */
export const eventStream: StartClient = (spec, heard) => {
  const state: State = { lastEventId: undefined, isReady: false, isOpen: false };
  void (async () => {
    for (;;) {
      await stream(spec, heard, state).catch(() => undefined); // cut off, or refused: it comes back
      state.isOpen = false;
      await pause(300 + Math.random() * 1_000);
    }
  })();
  return { isReady: () => state.isReady, state: () => JSON.stringify(state) };
};

interface State {
  lastEventId: string | undefined;
  isReady: boolean;
  isOpen: boolean;
}

async function stream({ port, token, table, filter }: ClientSpec, heard: Heard, state: State): Promise<void> {
  const query = new URLSearchParams({ event: "INSERT", table, ...(filter === undefined ? {} : { filter }) });
  const response = await fetch(`http://127.0.0.1:${port}/sse?${query.toString()}`, {
    headers: {
      authorization: `Bearer ${token}`,
      ...(state.lastEventId === undefined ? {} : { "last-event-id": state.lastEventId }),
    },
  });
  state.isOpen = response.ok;
  if (!response.ok) heard.complaint(`${response.status}: ${await response.text()}`);
  else for await (const event of eventsOf(response)) take(event, heard, state);
}

function take(event: ReadonlyMap<string, string>, heard: Heard, state: State): void {
  const [id, kind, data] = [event.get("id"), event.get("event"), event.get("data")];
  if (data === undefined) return;
  if (id !== undefined) state.lastEventId = id;
  const content = JSON.parse(data) as { record?: { id: number }; status?: string; message?: string };
  if (kind === "change") return heard.row(Number(content.record?.id));
  if (kind === "refused") return heard.complaint(data);
  state.isReady ||= content.message === "Subscribed to PostgreSQL";
  hearSystem(heard, content);
}

/** The fields of each event (HTML Standard, "Server-sent events"), as far as the gateway uses them. */
async function* eventsOf({ body }: Response): AsyncGenerator<ReadonlyMap<string, string>> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of body ?? []) {
    text += decoder.decode(chunk as Uint8Array, { stream: true });
    const events = text.split("\n\n");
    text = events.pop() ?? "";
    for (const event of events) {
      yield new Map(event.split("\n").map((line) => line.split(/: (.*)/su, 2) as [string, string]));
    }
  }
}
