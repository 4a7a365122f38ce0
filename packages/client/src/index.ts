export { comparePositions } from "./position.ts";
export { resumable, type Resumable, type ResumableOptions } from "./resumable.ts";
export type { Gap, PositionStorage } from "./resume-state.ts";
