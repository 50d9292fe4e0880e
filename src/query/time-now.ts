import { is, tokensOf } from "../tables/tokens.ts";

const NAMES: ReadonlySet<string> = new Set([
  "date",
  "datetime",
  "julianday",
  "strftime",
  "time",
  "unixepoch",
]);

/**
 * Whether a statement asks a date function for the time now by leaving the time out: `date()`, `strftime('%s')`. The
 * program does not show how many arguments a function has. `'now'` as a text is seen there.
 */
export function leavesTimeOut(sql: string): boolean {
  const tokens = tokensOf(sql);
  return tokens.some((token, i) => {
    const name = token.value.toLowerCase();
    if (!NAMES.has(name) || !is(tokens[i + 1], "(")) return false;
    let depth = 0;
    for (let at = i + 1; at < tokens.length; at += 1) {
      const one = tokens[at];
      if (is(one, "(")) depth += 1;
      else if (is(one, ")") && --depth === 0) return at === i + 2 || name === "strftime";
      else if (is(one, ",") && depth === 1) return false;
    }
    return false;
  });
}

/** Whether an argument, given to a date function, is the time now. */
export function isNow(value: unknown): boolean {
  return typeof value === "string" && /^\s*now\s*$/i.test(value);
}
