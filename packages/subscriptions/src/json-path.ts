import { skipJsonString, skipJsonValue } from "./json-scan.ts";

/** One arrow: into an object by key, or into an array by place, from the end when it is negative. */
export type JsonStep = string | number;

export interface JsonPath {
  readonly steps: readonly JsonStep[];
  /** `->>` at the end: the value's text instead of the value. */
  readonly asText: boolean;
}

/**
 * Reads what follows a JSON column's name in a filter: `->a->0->>b`. Digits are a place in an array, as PostgREST has it.
 * `undefined` when it is no path.
 */
export function parseJsonPath(text: string): JsonPath | undefined {
  const arrows = [...text.matchAll(/->(>?)((?:(?!->).)+)/gsu)];
  const asText = arrows.at(-1)?.[1] === ">";
  const isWhole = arrows.length > 0 && arrows.map(([arrow]) => arrow).join("") === text;
  if (!isWhole || arrows.slice(0, -1).some(([, isText]) => isText === ">")) return undefined;
  const steps = arrows.map(([, , step = ""]) => (/^-?\d{1,9}$/.test(step) ? Number(step) : step));
  return { steps, asText };
}

/** The value a path leads to as JSON text, cut out of `json` as it is; `undefined` when it leads nowhere. */
export function valueAt(json: string, steps: readonly JsonStep[]): string | undefined {
  let value: string | undefined = json.trim();
  for (const step of steps) {
    value = typeof step === "string" ? memberOf(value, step) : elementOf(value, step);
    if (value === undefined) return undefined;
  }
  return value;
}

function memberOf(json: string, key: string): string | undefined {
  if (!json.startsWith("{")) return undefined;
  let found: string | undefined;
  for (let at = skipSpace(json, 1); json[at] === '"'; at = skipSpace(json, at + 1)) {
    const keyEnd = skipJsonString(json, at);
    const start = json.indexOf(":", keyEnd) + 1;
    const end = skipJsonValue(json, start);
    // Of equal keys the last one counts.
    if (JSON.parse(json.slice(at, keyEnd)) === key) found = json.slice(start, end).trim();
    at = end;
  }
  return found;
}

function elementOf(json: string, place: number): string | undefined {
  if (!json.startsWith("[")) return undefined;
  const elements: string[] = [];
  for (let at = skipSpace(json, 1); at < json.length && json[at] !== "]"; at = skipSpace(json, at + 1)) {
    const end = skipJsonValue(json, at);
    elements.push(json.slice(at, end).trim());
    if (elements.length > place && place >= 0) break;
    at = end;
    if (json[at] === "]") break;
  }
  return elements.at(place);
}

function skipSpace(json: string, from: number): number {
  let at = from;
  while (at < json.length && " \t\n\r".includes(json.charAt(at))) at++;
  return at;
}
