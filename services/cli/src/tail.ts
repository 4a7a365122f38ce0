import { EventSource } from "eventsource";
import { readToken } from "./config.ts";
import { TailRefusedError } from "./errors.ts";
import type { TailFlags } from "./program.ts";

/** Prints until the process is ended. Throws TailRefusedError when the gateway does not let it in. */
export async function runTail(table: string, options: TailFlags): Promise<void> {
  const token = readToken();
  const source = new EventSource(urlOf(table, options), {
    fetch: (input, init) =>
      fetch(input, {
        ...init,
        headers: { ...init.headers, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
      }),
  });
  const print = (line: string): void => void process.stdout.write(`${line}\n`);
  source.addEventListener("change", ({ data }) => print(options.json ? String(data) : describe(String(data))));
  source.addEventListener("system", ({ data }) => {
    const { status, message } = JSON.parse(String(data)) as { status: string; message: string };
    if (status !== "ok") process.stderr.write(`${message}\n`);
  });
  await new Promise<never>((_, reject) => {
    const refuse = (reason: string): void => {
      source.close();
      reject(new TailRefusedError(reason));
    };
    source.addEventListener("refused", ({ data }) => refuse((JSON.parse(String(data)) as { reason: string }).reason));
    // A gateway that is away is tried again by the library; one that answers with a status is not.
    source.addEventListener("error", ({ code, message }) => {
      if (code !== undefined) refuse(`HTTP status ${code}${message === undefined ? "" : `: ${message}`}`);
    });
  });
}

function urlOf(table: string, { url, filter, event, from }: TailFlags): URL {
  const target = new URL("/sse", url);
  const dot = table.indexOf(".");
  const [schema, name] = dot === -1 ? ["public", table] : [table.slice(0, dot), table.slice(dot + 1)];
  const given = { schema, table: name, filter, event, from };
  for (const [key, value] of Object.entries(given)) if (value !== undefined) target.searchParams.set(key, value);
  return target;
}

interface Change {
  readonly type: string;
  readonly schema: string;
  readonly table: string;
  readonly position: string;
}

/** The rows as they are spelled: numbers of any size keep their digits. */
function describe(data: string): string {
  const { type, schema, table, position } = JSON.parse(data) as Change;
  const rows = /"(?:record|old_record)":.*(?=,"errors":)/s.exec(data)?.[0] ?? "";
  return `${position}  ${type}  ${schema}.${table}  ${rows}`;
}
