import { z } from "zod";
import { Secret } from "./secret.ts";

/** One environment variable: how its text is read, and what the README's table says of it. */
export interface Setting<T> {
  readonly schema: z.ZodType<T, string | undefined>;
  readonly description: string;
  /** What the table shows as default. */
  readonly shownDefault: string;
  /** May also be given as the path of a file, in `<NAME>_FILE`. */
  readonly isSecret: boolean;
}

export type Settings = Readonly<Record<string, Setting<unknown>>>;
export type Config<S extends Settings> = { readonly [K in keyof S]: S[K] extends Setting<infer T> ? T : never };

interface NumberOptions {
  readonly default: number;
  readonly min?: number;
  readonly max?: number;
  /** `ms`, `bytes`, … as the table shows it. */
  readonly unit?: string;
}

export function integer(description: string, options: NumberOptions): Setting<number> {
  const range = z
    .int()
    .min(options.min ?? 0)
    .max(options.max ?? Number.MAX_SAFE_INTEGER);
  const schema = z
    .string()
    .default(String(options.default))
    .transform((text, context) => {
      const parsed = /^-?\d+$/.test(text.trim()) ? range.safeParse(Number(text)) : undefined;
      if (parsed?.success === true) return parsed.data;
      const bounds = `between ${options.min ?? 0} and ${options.max ?? "2^53"}`;
      context.addIssue({ code: "custom", message: `must be a whole number ${bounds}, is "${text}"` });
      return z.NEVER;
    });
  const shownDefault = options.unit === undefined ? `${options.default}` : `${options.default} ${options.unit}`;
  return { schema, description, shownDefault, isSecret: false };
}

/** A share of a whole, from 0 to 1. */
export function ratio(description: string, options: { readonly default: number }): Setting<number> {
  const schema = z
    .string()
    .default(String(options.default))
    .transform((text, context) => {
      const parsed = /^\s*\d*\.?\d+\s*$/.test(text) ? Number(text) : Number.NaN;
      if (parsed <= 1) return parsed;
      context.addIssue({ code: "custom", message: `must be a number between 0 and 1, is "${text}"` });
      return z.NEVER;
    });
  return { schema, description, shownDefault: String(options.default), isSecret: false };
}

/** What is on by default is switched off by `false` alone, as Supabase reads its switches; what is off, by words for it. */
export function flag(description: string, options: { readonly default: boolean }): Setting<boolean> {
  const schema = z
    .string()
    .default(String(options.default))
    .transform((text, context) => {
      const given = text.trim().toLowerCase();
      if (options.default) return given !== "false";
      if (["true", "1", "yes", "on"].includes(given)) return true;
      if (["false", "0", "no", "off", ""].includes(given)) return false;
      context.addIssue({ code: "custom", message: `must be true or false, is "${text}"` });
      return z.NEVER;
    });
  return { schema, description, shownDefault: String(options.default), isSecret: false };
}

export function text(description: string, options: { readonly default: string }): Setting<string> {
  const schema = z.string().default(options.default);
  return { schema, description, shownDefault: options.default || "–", isSecret: false };
}

export function optionalText(description: string, shownDefault = "–"): Setting<string | undefined> {
  const schema = z
    .string()
    .optional()
    .transform((value) => (value === "" ? undefined : value));
  return { schema, description, shownDefault, isSecret: false };
}

/** Names separated by commas, without those that are empty; in lower case, and each once. */
export function names(
  description: string,
  { refused = [] }: { readonly refused?: readonly string[] } = {},
): Setting<readonly string[]> {
  const schema = z
    .string()
    .default("")
    .transform((given, context) => {
      const all = given.split(",").map((name) => name.trim().toLowerCase());
      const wrong = all.find((name) => refused.includes(name) || !/^[\w-]*$/u.test(name));
      if (wrong === undefined) return [...new Set(all.filter((name) => name !== ""))];
      context.addIssue({ code: "custom", message: `must be names separated by commas, and may not have "${wrong}"` });
      return z.NEVER;
    });
  return { schema, description, shownDefault: "–", isSecret: false };
}

export function choice<const T extends string>(
  description: string,
  options: { readonly of: readonly [T, ...T[]]; readonly default: T },
): Setting<T> {
  const schema = z
    .string()
    .default(options.default)
    .pipe(z.enum(options.of, { error: `must be one of ${options.of.join(", ")}` }));
  return {
    schema,
    description: `${description} (${options.of.join(", ")})`,
    shownDefault: options.default,
    isSecret: false,
  };
}

export function secret(description: string, options: { readonly default?: string } = {}): Setting<Secret | undefined> {
  const schema = z
    .string()
    .optional()
    .transform((value) => {
      const given = value === undefined || value === "" ? options.default : value;
      return given === undefined ? undefined : new Secret(given);
    });
  return { schema, description, shownDefault: options.default ?? "–", isSecret: true };
}

/** JSON text of a given shape, as `PUBLICATIONS='["a","b"]'`. */
export function json<T>(
  description: string,
  options: { readonly shape: z.ZodType<T>; readonly default: string },
): Setting<T> {
  const schema = z
    .string()
    .default(options.default)
    .transform((value, context): unknown => {
      try {
        return JSON.parse(value);
      } catch {
        context.addIssue({ code: "custom", message: `must be JSON, is "${value}"` });
        return z.NEVER;
      }
    })
    .pipe(options.shape);
  return { schema, description, shownDefault: `\`${options.default}\``, isSecret: false };
}
