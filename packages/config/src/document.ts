import type { Settings } from "./settings.ts";

/** The settings as rows of a Markdown table: what the README prints, checked by a test. */
export function documentSettings(settings: Settings): string {
  const rows = Object.entries(settings).map(([name, { description, shownDefault, isSecret }]) => {
    const names = isSecret ? `\`${name}\`, \`${name}_FILE\`` : `\`${name}\``;
    return `| ${names} | ${shownDefault} | ${description} |`;
  });
  return ["| Variable | Default | Meaning |", "| --- | --- | --- |", ...rows].join("\n");
}
