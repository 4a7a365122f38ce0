import { RE2JS } from "re2js";
import { RegexSyntaxError, translateRegex } from "./regex-syntax.ts";

/** How many steps the engine may need for one value: its program's size times the value's length. */
const stepsLimit = 4_000_000;
const programLimit = 200;

/**
 * Compiles a POSIX regular expression of PostgreSQL's `~` or `~*` for re2js, whose time grows with the length of pattern and
 * text and never explodes. It can still be long when both are: the limits keep one value's test to some 50 milliseconds,
 * as others wait meanwhile. `undefined`: the value is too long for this pattern. Throws RegexSyntaxError.
 */
export function compileRegex(
  pattern: string,
  { ignoreCase }: { readonly ignoreCase: boolean },
): (text: string) => boolean | undefined {
  const translated = translateRegex(pattern);
  const isCaseless = translated.ignoreCase ?? ignoreCase;
  const regex = compile(translated.source, RE2JS.DOTALL | (isCaseless ? RE2JS.CASE_INSENSITIVE : 0));
  const size = regex.programSize();
  if (size > programLimit) throw new RegexSyntaxError("regular expression is too complex");
  return (text) => (text.length * size > stepsLimit ? undefined : regex.test(text));
}

/** What is wrong in PostgreSQL's eyes was found before: what is left is what the engine cannot do. */
function compile(source: string, flags: number): RE2JS {
  try {
    return RE2JS.compile(source, flags);
  } catch (cause) {
    throw new RegexSyntaxError("regular expression is too complex", { cause });
  }
}
