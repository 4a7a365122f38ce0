import { once } from "node:events";
import { waitUntil } from "@walcast/testkit";
import { WebSocket } from "ws";

/** What a process needs when nothing in it is garbage, in MiB. */
export interface Footprint {
  readonly rss: number;
  readonly heap: number;
}

/** Collects the garbage of a process that was started with `--inspect=<port>`, and measures it (Chrome DevTools protocol). */
export async function footprintOf(inspectorPort: number): Promise<Footprint> {
  const response = await fetch(`http://127.0.0.1:${inspectorPort}/json`);
  const [target] = (await response.json()) as { webSocketDebuggerUrl: string }[];
  if (target === undefined) throw new Error("nothing to inspect");
  const socket = new WebSocket(target.webSocketDebuggerUrl);
  const answers = new Map<number, { readonly result?: { readonly value?: string } }>();
  socket.on("message", (data: Buffer) => {
    const answer = JSON.parse(data.toString()) as { id: number; result: { result?: { value?: string } } };
    answers.set(answer.id, answer.result);
  });
  await once(socket, "open");
  let asked = 0;
  const ask = async (method: string, params: object = {}): Promise<string | undefined> => {
    const id = ++asked;
    socket.send(JSON.stringify({ id, method, params }));
    const answer = await waitUntil(() => answers.get(id), { what: `the answer to ${method}`, timeoutMs: 30_000 });
    return answer.result?.value;
  };
  // Twice: what the first finds to be finalised goes with the second.
  for (let i = 0; i < 2; i++) await ask("HeapProfiler.collectGarbage");
  const value = await ask("Runtime.evaluate", { expression: "JSON.stringify(process.memoryUsage())" });
  socket.close();
  const { rss, heapUsed } = JSON.parse(value ?? "{}") as { rss: number; heapUsed: number };
  return { rss: Math.round(rss / 2 ** 20), heap: Math.round(heapUsed / 2 ** 20) };
}
