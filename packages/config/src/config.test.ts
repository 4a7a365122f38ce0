import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { ConfigError, documentSettings, flag, integer, json, names, loadConfig, secret, text, z } from "./index.ts";

const settings = {
  PORT: integer("Where to listen.", { default: 4000, min: 1, max: 65_535 }),
  SECURE_CHANNELS: flag("Tokens are verified.", { default: true }),
  DB_HOST: text("The server.", { default: "localhost" }),
  DB_PASSWORD: secret("The password."),
  PUBLICATIONS: json("What to stream.", { shape: z.array(z.string()), default: '["supabase_realtime"]' }),
};

const problemsOf = (environment: Record<string, string>, ownPrefix?: string): readonly string[] => {
  try {
    loadConfig(settings, environment, ownPrefix === undefined ? {} : { ownPrefix });
    return [];
  } catch (error) {
    return error instanceof ConfigError ? error.problems : expect.fail(String(error));
  }
};

describe("loadConfig", () => {
  it("fills defaults and freezes", () => {
    const config = loadConfig(settings, {});
    expect(config).toMatchObject({
      PORT: 4000,
      SECURE_CHANNELS: true,
      DB_HOST: "localhost",
      PUBLICATIONS: ["supabase_realtime"],
    });
    expect(Object.isFrozen(config)).toBe(true);
  });

  it("reads a switch that is on as Supabase does: only `false` is off", () => {
    expect(loadConfig(settings, { SECURE_CHANNELS: "false" }).SECURE_CHANNELS).toBe(false);
    expect(loadConfig(settings, { SECURE_CHANNELS: "no" }).SECURE_CHANNELS).toBe(true);
  });

  it("switches on what is off only when told so", () => {
    const read = (ALLOW_OPEN: string): boolean =>
      loadConfig({ ALLOW_OPEN: flag("Open.", { default: false }) }, { ALLOW_OPEN }).ALLOW_OPEN;
    expect(["true", "1", "Yes", "on"].map(read)).toEqual([true, true, true, true]);
    expect(["", "false", "0", "no", "off"].map(read)).toEqual([false, false, false, false, false]);
    expect(() => read("perhaps")).toThrow('ALLOW_OPEN: must be true or false, is "perhaps"');
  });

  it("reports every problem at once, by name", () => {
    const problems = problemsOf({ PORT: "70000", PUBLICATIONS: "[" });
    expect(problems).toEqual([
      'PORT: must be a whole number between 1 and 65535, is "70000"',
      'PUBLICATIONS: must be JSON, is "["',
    ]);
  });

  it("refuses unknown names of its own prefix", () => {
    expect(problemsOf({ GATEWAY_PROT: "1", OTHER: "1" }, "GATEWAY_")).toEqual(["GATEWAY_PROT: no such setting"]);
  });

  it("reads a secret from a file and never prints it", () => {
    const file = join(mkdtempSync(join(tmpdir(), "walcast-config-")), "password");
    writeFileSync(file, "hunter2\n");
    const { DB_PASSWORD } = loadConfig(settings, { DB_PASSWORD_FILE: file });
    expect(DB_PASSWORD?.reveal()).toBe("hunter2");
    expect(`${String(DB_PASSWORD)} ${JSON.stringify({ DB_PASSWORD })} ${inspect(DB_PASSWORD)}`).not.toContain(
      "hunter2",
    );
    expect(problemsOf({ DB_PASSWORD_FILE: file, DB_PASSWORD: "" })).toEqual([]); // as compose files pass on what is not set
    expect(problemsOf({ DB_PASSWORD_FILE: file, DB_PASSWORD: "x" })).toEqual([expect.stringContaining("not both")]);
    expect(problemsOf({ DB_PASSWORD_FILE: "/nowhere" })[0]).toMatch(/^DB_PASSWORD_FILE: cannot read \/nowhere/);
  });

  it("reads names, and refuses what is none or not to be named", () => {
    const one = { NAMES: names("Names.", { refused: ["cookie"] }) };
    const read = (NAMES?: string): unknown => loadConfig(one, NAMES === undefined ? {} : { NAMES }).NAMES;
    expect(read()).toEqual([]);
    expect(read(" X-Device ,,x-tenant,x-device")).toEqual(["x-device", "x-tenant"]);
    for (const wrong of ["a b", "x,Cookie", "x:y"]) expect(() => read(wrong)).toThrow("NAMES: must be names");
  });

  it("prints its table", () => {
    expect(documentSettings(settings)).toContain("| `DB_PASSWORD`, `DB_PASSWORD_FILE` | – | The password. |");
  });
});
