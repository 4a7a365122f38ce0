// Where the values of a JSON text stand in it. What is passed on keeps its spelling that way: a number beyond 2^53 or of many
// digits would not survive being parsed and printed. All of this expects text that JSON.parse has accepted.

/** The members of a JSON object, by name, each as it is written. The last of equal names counts, as with JSON.parse. */
export function memberSlices(text: string): ReadonlyMap<string, string> {
  const members = new Map<string, string>();
  for (let at = skip(text, skip(text, 0) + 1); text[at] === '"';) {
    const nameEnd = endOfString(text, at);
    const name = JSON.parse(text.slice(at, nameEnd)) as string;
    const start = skip(text, skip(text, nameEnd) + 1);
    const end = endOfValue(text, start);
    members.set(name, text.slice(start, end));
    at = skip(text, skip(text, end) + 1);
  }
  return members;
}

/** The elements of a JSON array, each as it is written. */
export function elementSlices(text: string): readonly string[] {
  const elements: string[] = [];
  let at = skip(text, skip(text, 0) + 1);
  while (at < text.length && text[at] !== "]") {
    const end = endOfValue(text, at);
    elements.push(text.slice(at, end));
    at = skip(text, end);
    if (text[at] === ",") at = skip(text, at + 1);
  }
  return elements;
}

const whiteSpace = /[^ \t\n\r]/gu;
const valueEnd = /[,\]} \t\n\r]/gu;
const bracket = /["[\]{}]/gu;
const stringEnd = /[\\"]/gu;

const find = (pattern: RegExp, text: string, from: number): number => {
  pattern.lastIndex = from;
  return pattern.exec(text)?.index ?? text.length;
};

const skip = (text: string, from: number): number => find(whiteSpace, text, from);

function endOfString(text: string, from: number): number {
  let at = find(stringEnd, text, from + 1);
  while (text[at] === "\\") at = find(stringEnd, text, at + 2);
  return at + 1;
}

function endOfValue(text: string, from: number): number {
  const first = text[from];
  if (first === '"') return endOfString(text, from);
  if (first !== "{" && first !== "[") return find(valueEnd, text, from);
  let depth = 0;
  for (let at = from; at < text.length;) {
    if (text[at] === '"') {
      at = endOfString(text, at);
    } else {
      depth += text[at] === "{" || text[at] === "[" ? 1 : -1;
      at++;
      if (depth === 0) return at;
    }
    at = find(bracket, text, at);
  }
  return text.length;
}
