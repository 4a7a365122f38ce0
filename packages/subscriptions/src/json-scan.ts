// Finding the ends of values in JSON text that is known to be well-formed, without parsing it.

/** From an opening quote to behind the closing one. */
export function skipJsonString(json: string, start: number): number {
  let at = start + 1;
  while (at < json.length && json[at] !== '"') at += json[at] === "\\" ? 2 : 1;
  return at + 1;
}

/** To the comma or bracket behind the value that begins here, white space included. */
export function skipJsonValue(json: string, start: number): number {
  let depth = 0;
  for (let at = start; at < json.length; at++) {
    const char = json[at];
    if (char === '"') at = skipJsonString(json, at) - 1;
    else if (char === "{" || char === "[") depth++;
    else if (char === "}" || char === "]") {
      if (depth === 0) return at;
      depth--;
    } else if (char === "," && depth === 0) return at;
  }
  return json.length;
}
