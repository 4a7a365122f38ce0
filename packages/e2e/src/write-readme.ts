import { writeFileSync } from "node:fs";
import { readmePath, readReadme, withSettings } from "./readme.ts";

writeFileSync(readmePath, withSettings(readReadme()));
