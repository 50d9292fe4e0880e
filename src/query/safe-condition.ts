import { is, type Token } from "../tables/tokens.ts";

/**
 * Whether a condition fails for no row whatever it holds: SQLite may try parts of it on rows that other parts turn
 * away, and an error there would make rows matter that do not pass.
 */
export function isSafeCondition(tokens: readonly Token[], table: string): boolean {
  return tokens.every((token, i) => {
    const next = tokens[i + 1];
    if (token.kind === "sign") {
      if (token.text === "||") return false;
      if (token.text !== "->" && token.text !== "->>") return true;
      // What one such operator gives, the next may take apart.
      const left = tokens[i - 2]?.text === "->" && tokens[i - 1]?.kind === "string";
      return (left || isDocument(tokens[i - 1], table)) && (next?.kind === "number" || isPath(next, true));
    }
    if (token.kind === "name") return !is(next, "(");
    if (token.kind !== "word") return true;
    if (UNSAFE.has(token.word)) return false;
    if (token.word === "LIKE" || token.word === "GLOB")
      return next?.kind === "string" && next.value.length < 1000;
    if (!is(next, "(") || BEFORE_PARENTHESES.has(token.word) || SAFE.has(token.word)) return true;
    if (!OF_JSON.has(token.word)) return false;
    const value = is(tokens[i + 3], ".") ? i + 4 : i + 2;
    return isDocument(tokens[value], table) && isPathCall(tokens.slice(value + 1, value + 4));
  });
}

const UNSAFE: ReadonlySet<string> = new Set([
  "ESCAPE",
  "MATCH",
  "REGEXP",
  "EXISTS",
  "RAISE",
  "SELECT",
  "COLLATE",
  "FILTER",
  "OVER",
]);
/** Words that are no functions. */
const BEFORE_PARENTHESES: ReadonlySet<string> = new Set([
  "AND",
  "OR",
  "NOT",
  "IN",
  "IS",
  "BETWEEN",
  "CASE",
  "WHEN",
  "THEN",
  "ELSE",
  "CAST",
  "FROM",
  "DISTINCT",
]);
const SAFE: ReadonlySet<string> = new Set([
  "LOWER",
  "UPPER",
  "LENGTH",
  "COALESCE",
  "IFNULL",
  "NULLIF",
  "IIF",
  "INSTR",
  "TRIM",
  "LTRIM",
  "RTRIM",
  "TYPEOF",
  "SUBSTR",
  "SUBSTRING",
  "ROUND",
  "UNICODE",
  "LIKELY",
  "UNLIKELY",
  "MIN",
  "MAX",
  "DATE",
  "TIME",
  "DATETIME",
  "JULIANDAY",
  "UNIXEPOCH",
]);
const OF_JSON: ReadonlySet<string> = new Set(["JSON_EXTRACT", "JSON_TYPE", "JSON_ARRAY_LENGTH"]);

/** The only column that surely holds JSON. */
function isDocument(token: Token | undefined, table: string): boolean {
  return table === "documents" && token?.kind === "word" && token.value.toLowerCase() === "value";
}

const PATH = /^\$(?:\.[A-Za-z_][A-Za-z0-9_]*|\[\d+\])*$/;

function isPath(token: Token | undefined, orName: boolean): boolean {
  if (token?.kind !== "string") return false;
  return PATH.test(token.value) || (orName && /^[A-Za-z_][A-Za-z0-9_]*$/.test(token.value));
}

/** `, '$.a')` or `)` */
function isPathCall(tokens: readonly Token[]): boolean {
  if (is(tokens[0], ")")) return true;
  return is(tokens[0], ",") && isPath(tokens[1], false) && is(tokens[2], ")");
}
