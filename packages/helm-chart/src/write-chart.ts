import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { chartPaths } from "./chart-paths.ts";
import { withValues } from "./chart-readme.ts";
import { valuesSchema } from "./values-schema.ts";

// `npm run docs`: what in the chart is made from something else. A test compares.

const values = readFileSync(chartPaths.values, "utf8");
writeFileSync(chartPaths.schema, `${JSON.stringify(valuesSchema(values), undefined, 2)}\n`);
writeFileSync(chartPaths.readme, withValues(readFileSync(chartPaths.readme, "utf8"), values));
for (const { from, to } of chartPaths.copies) copyFileSync(from, to);
