import { RE2JS } from "re2js";
import { RegexSyntaxError, translateRegex } from "./regex-syntax.ts";

const programLimit = 200;

export interface Regex {
  /** How many steps the engine needs at most: its program's size times the text's length. */
  steps(text: string): number;
  test(text: string): boolean;
}

/**
 * Compiles a POSIX regular expression of PostgreSQL's `~` or `~*` for re2js, whose time grows with the length of pattern and
 * text and never explodes. It can still be long when both are, and others wait meanwhile: callers are to look at the number of
 * steps. Throws RegexSyntaxError.
 */
export function compileRegex(pattern: string, { ignoreCase }: { readonly ignoreCase: boolean }): Regex {
  const translated = translateRegex(pattern);
  const isCaseless = translated.ignoreCase ?? ignoreCase;
  const regex = compile(translated.source, RE2JS.DOTALL | (isCaseless ? RE2JS.CASE_INSENSITIVE : 0));
  const size = regex.programSize();
  if (size > programLimit) throw new RegexSyntaxError("regular expression is too complex");
  return { steps: (text) => text.length * size, test: (text) => regex.test(text) };
}

/** What is wrong in PostgreSQL's eyes was found before: what is left is what the engine cannot do. */
function compile(source: string, flags: number): RE2JS {
  try {
    return RE2JS.compile(source, flags);
  } catch (cause) {
    throw new RegexSyntaxError("regular expression is too complex", { cause });
  }
}
