import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { is, tokensOf, type Token } from "../tables/tokens.ts";

/** What a statement wants to do, by its words alone: who may ask for it and who carries it out depend on that. */
export type StatementKind = "read" | "write" | "schema" | "pragma" | "explain";

export interface Classified {
  readonly kind: StatementKind;
  readonly tokens: readonly Token[];
  /** The text without a trailing `;` and what stands behind it. */
  readonly sql: string;
  /** Of `explain`: the statement that is explained, and its kind. */
  readonly inner?: { readonly sql: string; readonly kind: "read" | "write" | "schema" };
}

/**
 * Takes one statement by its first words. Pure. Throws SQL_NOT_ALLOWED for what nobody may say and for a second
 * statement, SQL_ERROR for what is none, TOO_LARGE.
 */
export function classify(sql: string): Classified {
  const { value: max } = LIMITS.sql.statementBytes;
  if (sql.length > max || Buffer.byteLength(sql) > max)
    throw new SkaldError("TOO_LARGE", `The statement is longer than ${max} bytes.`, { details: { max } });
  const all = tokensOf(sql);
  // Its body has statements of its own, so it would be taken for several.
  if (is(all[0], "CREATE") && all.slice(1, 3).some((token) => is(token, "TRIGGER")))
    throw new SkaldError("SCHEMA_INVALID", "There are no triggers.", {
      hint: "A watch, a feed or a subscription tells of what was written.",
    });
  const end = all.findIndex((token) => is(token, ";"));
  if (end >= 0 && all.slice(end).some((token) => !is(token, ";")))
    throw new SkaldError("SQL_NOT_ALLOWED", "There is more than one statement in the text.", {
      details: { offset: all[end]?.at },
    });
  const tokens = end < 0 ? all : all.slice(0, end);
  const last = tokens.at(-1);
  if (last === undefined) throw new SkaldError("SQL_ERROR", "There is no statement in the text.");
  const text = sql.slice(0, last.at + last.text.length);
  if (!is(tokens[0], "EXPLAIN")) return { kind: kindOf(tokens), tokens, sql: text };
  const from = is(tokens[1], "QUERY") && is(tokens[2], "PLAN") ? 3 : 1;
  const inner = kindOf(tokens.slice(from));
  if (inner === "pragma") throw notAllowed(tokens[from] as Token);
  return {
    kind: "explain",
    tokens,
    sql: text,
    inner: { sql: text.slice(tokens[from]?.at ?? 0), kind: inner },
  };
}

function kindOf(tokens: readonly Token[]): "read" | "write" | "schema" | "pragma" {
  const first = tokens[0];
  if (first === undefined) throw new SkaldError("SQL_ERROR", "incomplete input");
  if (first.word === "WITH") return withKind(tokens);
  const kind = FIRST[first.word];
  if (kind !== undefined) return kind;
  if (NOBODY.has(first.word)) throw notAllowed(first);
  throw new SkaldError("SQL_ERROR", `near "${first.text.slice(0, 40)}": syntax error`, {
    details: { offset: first.at },
  });
}

/** Of a WITH: what the first word outside of all parentheses says, since its tables stand in them. */
function withKind(tokens: readonly Token[]): "read" | "write" {
  let depth = 0;
  for (const token of tokens) {
    if (token.text === "(" && token.kind === "sign") depth += 1;
    if (token.text === ")" && token.kind === "sign") depth -= 1;
    const kind = depth === 0 ? FIRST[token.word] : undefined;
    if (kind === "read" || kind === "write") return kind;
  }
  throw new SkaldError("SQL_ERROR", "incomplete input");
}

const FIRST: Readonly<Record<string, "read" | "write" | "schema" | "pragma">> = {
  SELECT: "read",
  VALUES: "read",
  INSERT: "write",
  REPLACE: "write",
  UPDATE: "write",
  DELETE: "write",
  CREATE: "schema",
  DROP: "schema",
  ALTER: "schema",
  PRAGMA: "pragma",
};

const NOBODY: ReadonlySet<string> = new Set([
  "ATTACH",
  "DETACH",
  "VACUUM",
  "ANALYZE",
  "REINDEX",
  "BEGIN",
  "COMMIT",
  "END",
  "ROLLBACK",
  "SAVEPOINT",
  "RELEASE",
  "EXPLAIN",
]);

function notAllowed(token: Token): SkaldError {
  return new SkaldError(
    "SQL_NOT_ALLOWED",
    `${token.text.toUpperCase()} is not for statements from outside.`,
    {
      details: { offset: token.at },
    },
  );
}
