import { documentedValues } from "./documented-values.ts";

const begin = "<!-- values: printed by `npm run docs` -->";
const end = "<!-- end of values -->";

/** The chart's README with its table of values printed anew. */
export function withValues(readme: string, valuesYaml: string): string {
  const [before, rest] = readme.split(begin);
  const after = rest?.split(end)[1];
  if (before === undefined || after === undefined) throw new Error(`the README needs the lines ${begin} and ${end}`);
  return `${before}${begin}\n\n${valuesTable(valuesYaml)}\n\n${end}${after}`;
}

function valuesTable(yaml: string): string {
  const rows = documentedValues(yaml)
    .filter(({ isSection, description }) => !isSection || description !== "")
    .map(({ path, default: value, description, isSection }) => {
      const shown = isSection ? "" : `\`${JSON.stringify(value)}\``;
      return `| \`${path}\` | ${shown} | ${description.replaceAll("|", "\\|")} |`;
    });
  return ["| Value | Default | Meaning |", "| --- | --- | --- |", ...rows].join("\n");
}
