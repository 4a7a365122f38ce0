export { applyFixes, type AppliedFix } from "./apply-fixes.ts";
export { collect, examine } from "./examine.ts";
export type { Facts } from "./facts.ts";
export type { Finding, Fix, Severity } from "./finding.ts";
export type { DoctorSettings, ExaminedService, NatsSettings, TokenSettings } from "./settings.ts";
