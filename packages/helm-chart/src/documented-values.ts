import { parse } from "yaml";

/** One value of the chart, as values.yaml has it. */
export interface DocumentedValue {
  /** `gateway.service.port`. */
  readonly path: string;
  readonly default: unknown;
  /** The comment above it; empty where the name says it all. */
  readonly description: string;
  /** It has values below it, and those say more. */
  readonly isSection: boolean;
}

const keyLine = /^(?<indent> *)(?<key>[\w.-]+):(?<rest>.*)$/u;
const commentLine = /^ *# ?(?<text>.*)$/u;

/** Every value with the comment above it. The file is ours: two spaces a level, a key on each line, lists on one. */
export function documentedValues(yaml: string): DocumentedValue[] {
  const defaults: unknown = parse(yaml);
  const values: DocumentedValue[] = [];
  const path: string[] = [];
  let comment: string[] = [];
  for (const line of yaml.split("\n")) {
    const text = commentLine.exec(line)?.groups?.["text"];
    if (text !== undefined) {
      comment.push(text);
      continue;
    }
    const { indent, key, rest } = keyLine.exec(line)?.groups ?? {};
    if (indent !== undefined && key !== undefined && rest !== undefined) {
      path.length = indent.length / 2;
      path.push(key);
      const isSection = rest.trim() === "";
      const found = path.reduce((at, name) => (at as Record<string, unknown>)[name], defaults);
      values.push({ path: path.join("."), default: found, description: comment.join(" "), isSection });
    }
    comment = [];
  }
  return values;
}
