export type Fields = Readonly<Record<string, string | number | undefined>>;

/** One line per event: a constant phrase, then the facts. */
export interface Log {
  info(phrase: string, fields?: Fields): void;
  warn(phrase: string, fields?: Fields): void;
  error(phrase: string, fields?: Fields): void;
}

export function createLog(write: (line: string) => void): Log {
  const line = (level: string, phrase: string, fields: Fields = {}): void => {
    const facts = Object.entries(fields).filter(([, value]) => value !== undefined);
    const text = facts.map(([name, value]) => `  ${name}=${typeof value === "number" ? value : JSON.stringify(value)}`);
    write(`${new Date().toISOString()} ${level.padEnd(5)} ${phrase}${text.join("")}\n`);
  };
  return {
    info: (phrase, fields) => line("info", phrase, fields),
    warn: (phrase, fields) => line("warn", phrase, fields),
    error: (phrase, fields) => line("error", phrase, fields),
  };
}
