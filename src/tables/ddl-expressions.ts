import { schemaInvalid } from "./ddl-refusal.ts";
import { is, type Token } from "./tokens.ts";

/**
 * Expressions in a schema (CHECK, DEFAULT, of an index) are worked out where the tables are written, in the server
 * itself and for every document: so they are made of functions that take no longer and give no more than what they are
 * given. `row`: what fails keeps a row out of its table. `total`: nothing may fail, since the row has to be there.
 */
export type Strictness = "row" | "total";

/** Throws SCHEMA_INVALID. */
export function checkExpression(tokens: readonly Token[], strictness: Strictness): void {
  let joins = 0;
  tokens.forEach((token, i) => {
    if (FORBIDDEN.has(token.word)) {
      throw schemaInvalid(
        `An expression of a schema has no ${token.word}.`,
        "It looks at one row alone; use a view for what looks further.",
      );
    }
    if (is(token, "||") && ++joins > JOINS) throw schemaInvalid(`It joins more than ${JOINS} texts.`);
    if (is(token, "->") || is(token, "->>")) {
      if (strictness === "total") checkArrow(tokens, i);
    }
    if (!isCall(tokens, i)) return;
    const name = token.value.toLowerCase();
    if (!(strictness === "total" ? TOTAL : FUNCTIONS).has(name)) {
      const all = strictness === "total" ? TOTAL : FUNCTIONS;
      throw schemaInvalid(
        `The function ${token.value} cannot be in a schema.`,
        `These can: ${[...all].join(", ")}.`,
      );
    }
    if (strictness === "total" && name === "json_extract") checkExtract(tokens, i);
  });
}

/** A name with a bracket behind it, which is no keyword. */
function isCall(tokens: readonly Token[], i: number): boolean {
  const token = tokens[i] as Token;
  if ((token.kind !== "word" && token.kind !== "name") || !is(tokens[i + 1], "(")) return false;
  // The type of a CAST may have brackets too.
  return !BEFORE_BRACKET.has(token.word) && !is(tokens[i - 1], "AS");
}

const BEFORE_BRACKET: ReadonlySet<string> = new Set(
  "AND OR NOT IN BETWEEN LIKE GLOB IS CASE WHEN THEN ELSE CAST ESCAPE COLLATE NULL".split(" "),
);
const FORBIDDEN: ReadonlySet<string> = new Set(
  "SELECT WITH VALUES EXISTS OVER FILTER RAISE MATCH REGEXP".split(" "),
);
const TOTAL: ReadonlySet<string> = new Set(
  "json_extract lower upper length substr substring trim ltrim rtrim instr coalesce ifnull nullif iif if typeof min max unicode sign round".split(
    " ",
  ),
);
const FUNCTIONS: ReadonlySet<string> = new Set([
  ...TOTAL,
  ..."abs json json_valid json_type json_array_length octet_length date time datetime julianday unixepoch strftime timediff ceil ceiling floor trunc ln log10 sqrt pow power mod glob like likely unlikely".split(
    " ",
  ),
]);
/** Each may double what it is given. */
const JOINS = 8;

const PATH = /^\$(?:\.(?:"[^"\\]*"|[^."[\]\\]+)|\[(?:\d+|#(?:-\d+)?)\])*$/;

/** `json_extract(value, '$.a')` of the documents' own value never fails. */
function checkExtract(tokens: readonly Token[], i: number): void {
  const [value, comma, path, end] = tokens.slice(i + 2, i + 6);
  if (isValue(value) && is(comma, ",") && path?.kind === "string" && PATH.test(path.value) && is(end, ")"))
    return;
  throw schemaInvalid(
    "Here json_extract takes value and one path.",
    "Such as json_extract(value, '$.title').",
  );
}

/** `value -> 'a' -> 'b' ->> 'c'` neither. */
function checkArrow(tokens: readonly Token[], i: number): void {
  const [before, left, right] = [tokens[i - 2], tokens[i - 1], tokens[i + 1]];
  const chained = isLiteral(left) && is(before, "->");
  const path = right?.kind === "number" || (right?.kind === "string" && isPath(right.value));
  if ((isValue(left) || chained) && path) return;
  throw schemaInvalid("Here -> and ->> start at value and take plain paths.", "Such as value ->> 'title'.");
}

const isPath = (text: string): boolean => !text.startsWith("$") || PATH.test(text);
const isValue = (token: Token | undefined): boolean =>
  (token?.kind === "word" || token?.kind === "name") && token.value.toLowerCase() === "value";
const isLiteral = (token: Token | undefined): boolean => token?.kind === "string" || token?.kind === "number";
