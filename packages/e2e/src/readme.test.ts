import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";
import { readmePath, readReadme, withSettings } from "./readme.ts";

it("the README's settings are those of the schemas; `npm run docs` prints them anew", () => {
  expect(readReadme()).toBe(withSettings(readReadme()));
});

it("every file the README names exists", () => {
  const named = [...readReadme().matchAll(/`((?:services|packages|deploy|helm)\/[\w./-]+)`/gu)].map(
    ([, path]) => path ?? "",
  );
  expect(named.length).toBeGreaterThan(10);
  const root = dirname(readmePath);
  expect(named.filter((path) => !existsSync(join(root, path)))).toEqual([]);
});
