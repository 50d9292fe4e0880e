import { is, type Token } from "../tables/tokens.ts";
import { affinityOf, converted, type Affinity, type Comparable } from "./comparison.ts";
import { isSafeCondition } from "./safe-condition.ts";
import type { Between, ColumnTest, OneOf } from "./row-index.ts";

/**
 * What a SELECT's result hangs on: the tables it reads, and when it reads one table alone, the rows of it that can
 * matter. Invariant: a commit that changes neither leaves the result as it is, bit for bit. Whatever is not surely
 * understood counts for more than it is: a condition that is passed over only lets more rows matter.
 */
export interface Dependency {
  /** As they are called in the schema. */
  readonly tables: readonly string[];
  /** Of the only table: a row that fails one of these before and after a commit does not matter. Never empty. */
  readonly tests?: readonly ColumnTest[];
}

export interface TableShape {
  readonly name: string;
  readonly columns: readonly { readonly name: string; readonly type: string; readonly plain: boolean }[];
  /** Whether some column is compared by another collation than BINARY. */
  readonly collated: boolean;
}

/** What a statement's variables stand for: by place, or by name without the sign before it. */
export type Args = readonly unknown[] | Readonly<Record<string, unknown>>;

/** `reads` are the tables under the statement, views taken apart; `shape` is that of the only one of them. */
export function dependencyOf(
  tokens: readonly Token[],
  args: Args,
  reads: readonly string[],
  shape: TableShape | undefined,
): Dependency {
  const tables = [...reads];
  if (tables.length !== 1 || !shape || shape.name !== tables[0] || shape.collated) return { tables };
  const where = whereOf(tokens, shape.name);
  if (!where || !isSafeCondition(where.condition, shape.name)) return { tables };
  const reader: Reader = { ...where, columns: columnsOf(shape), valueOf: valuesOf(tokens, args) };
  const tests = conjunctsOf(where.condition)
    .map((conjunct) => testOf(conjunct, reader))
    .filter((test) => test !== undefined);
  return tests.length === 0 ? { tables } : { tables, tests };
}

interface Where {
  /** What the table is called in the statement, in lower case. */
  readonly alias: string;
  readonly condition: readonly Token[];
}

/** Of `SELECT … FROM <table> [AS] [alias] WHERE …`; undefined for anything else. */
function whereOf(all: readonly Token[], table: string): Where | undefined {
  const tokens = is(all.at(-1), ";") ? all.slice(0, -1) : all;
  if (!is(tokens[0], "SELECT")) return undefined;
  const count = (word: string): number => tokens.filter((token) => token.word === word).length;
  if (count("SELECT") !== 1 || count("VALUES") > 0 || tokens.some((token) => is(token, ";")))
    return undefined;
  const top = topLevel(tokens);
  if (!top) return undefined;
  const froms = top.filter((i) => tokens[i]?.word === "FROM");
  if (froms.length !== 1) return undefined;
  let at = (froms[0] as number) + 1;
  if (is(tokens[at], "MAIN") && is(tokens[at + 1], ".")) at += 2;
  const named = tokens[at];
  if (!isIdentifier(named) || lower(named.value) !== lower(table)) return undefined;
  at += 1;
  let alias = named;
  if (is(tokens[at], "AS")) at += 1;
  if (!is(tokens[at], "WHERE")) {
    const other = tokens[at];
    if (!isIdentifier(other)) return undefined;
    alias = other;
    at += 1;
  }
  if (!is(tokens[at], "WHERE")) return undefined;
  const start = at + 1;
  const end = top.find((i) => i >= start && ENDS.has(tokens[i]?.word ?? "")) ?? tokens.length;
  // It may be a column's name as well.
  if (is(tokens[end], "WINDOW") && !is(tokens[end + 2], "AS")) return undefined;
  return { alias: lower(alias.value), condition: tokens.slice(start, end) };
}

const ENDS: ReadonlySet<string> = new Set([
  "GROUP",
  "HAVING",
  "WINDOW",
  "ORDER",
  "LIMIT",
  "UNION",
  "EXCEPT",
  "INTERSECT",
]);

/** Places of the tokens outside of parentheses and CASE; undefined when they do not match: END may be a column. */
function topLevel(tokens: readonly Token[]): number[] | undefined {
  const places: number[] = [];
  let depth = 0;
  for (const [i, token] of tokens.entries()) {
    if (is(token, ")") || is(token, "END")) depth -= 1;
    if (depth < 0) return undefined;
    if (depth === 0) places.push(i);
    if (is(token, "(") || is(token, "CASE")) depth += 1;
  }
  return depth === 0 ? places : undefined;
}

/** What is joined by AND at the top; nothing when there is an OR. */
function conjunctsOf(condition: readonly Token[]): (readonly Token[])[] {
  const top = topLevel(condition);
  if (!top) return [];
  const isAt = (i: number, word: string): boolean => condition[i]?.word === word;
  if (top.some((i) => isAt(i, "OR"))) return [];
  const found: (readonly Token[])[] = [];
  let start = 0;
  let between = 0;
  for (const i of top) {
    if (isAt(i, "BETWEEN")) between += 1;
    else if (isAt(i, "AND") && between > 0) between -= 1;
    else if (isAt(i, "AND")) {
      found.push(condition.slice(start, i));
      start = i + 1;
    }
  }
  found.push(condition.slice(start));
  return found.flatMap((conjunct) => {
    const last = conjunct.length - 1;
    const inner = topLevel(conjunct);
    // Wholly between one pair of parentheses.
    if (is(conjunct[0], "(") && inner?.length === 2 && inner[1] === last)
      return conjunctsOf(conjunct.slice(1, last));
    return [conjunct];
  });
}

interface Column {
  readonly name: string;
  readonly affinity: Affinity | undefined;
}

interface Reader extends Where {
  readonly columns: ReadonlyMap<string, Column>;
  /** Of a literal or a variable; undefined when it is neither, or not surely known. */
  readonly valueOf: (tokens: readonly Token[]) => Comparable | undefined;
}

function columnsOf(shape: TableShape): Map<string, Column> {
  return new Map(
    shape.columns.map(({ name, type, plain }) => [
      lower(name),
      { name, affinity: plain && name !== "__proto__" ? affinityOf(type) : undefined },
    ]),
  );
}

const FLIPPED: Readonly<Record<string, string>> = { "<": ">", "<=": ">=", ">": "<", ">=": "<=" };

function testOf(tokens: readonly Token[], reader: Reader): ColumnTest | undefined {
  const own = columnAt(tokens, reader);
  if (own) return comparison(own.column, tokens.slice(own.length), reader);
  // The value first: `5 < column`.
  const operator = tokens.findIndex((token) =>
    OPERATORS.has(token.kind === "sign" ? token.text : token.word),
  );
  if (operator < 1) return undefined;
  const right = columnAt(tokens.slice(operator + 1), reader);
  if (!right || operator + 1 + right.length !== tokens.length) return undefined;
  const sign = (tokens[operator] as Token).text;
  const turned = { ...(tokens[operator] as Token), text: FLIPPED[sign] ?? sign };
  return comparison(right.column, [turned, ...tokens.slice(0, operator)], reader);
}

const OPERATORS: ReadonlySet<string> = new Set(["=", "==", "<", "<=", ">", ">=", "IS"]);

function columnAt(
  tokens: readonly Token[],
  { alias, columns }: Reader,
): { column: Column; length: number } | undefined {
  const [first, dot, second] = tokens;
  if (!isIdentifier(first)) return undefined;
  const qualified = is(dot, ".");
  if (qualified && (lower(first.value) !== alias || !isIdentifier(second))) return undefined;
  const column = columns.get(lower((qualified ? (second as Token) : first).value));
  return column && { column, length: qualified ? 3 : 1 };
}

/** `tokens` are what follows the column. */
function comparison(
  { name, affinity }: Column,
  tokens: readonly Token[],
  { valueOf }: Reader,
): ColumnTest | undefined {
  if (affinity === undefined) return undefined;
  const test = (found: OneOf | Between): ColumnTest => ({ column: name, affinity, is: found });
  const value = (of: readonly Token[]): Comparable | undefined => {
    const known = valueOf(of);
    return known === undefined ? undefined : converted(known, affinity);
  };
  const [first, ...rest] = tokens;
  if (first === undefined) return undefined;
  const operator = first.kind === "sign" ? first.text : first.word;
  if (operator === "ISNULL") return rest.length === 0 ? test({ oneOf: [null] }) : undefined;
  if (operator === "IN") {
    if (!is(rest[0], "(") || !is(rest.at(-1), ")")) return undefined;
    const values = listOf(rest.slice(1, -1))?.map(value) ?? [undefined];
    if (values.includes(undefined)) return undefined;
    return test({ oneOf: values.filter((one) => one !== null) as Comparable[] });
  }
  if (operator === "BETWEEN") {
    const and = rest.findIndex((token) => is(token, "AND"));
    const low = value(rest.slice(0, and));
    const high = value(rest.slice(and + 1));
    if (and < 0 || low === undefined || high === undefined) return undefined;
    if (low === null || high === null) return test(NEVER);
    return test({ low: { value: low, inclusive: true }, high: { value: high, inclusive: true } });
  }
  if (!OPERATORS.has(operator)) return undefined;
  // `IS TRUE` asks whether it counts as true.
  if (operator === "IS" && /^(?:TRUE|FALSE)$/.test(rest[0]?.word ?? "")) return undefined;
  const given = value(rest);
  if (given === undefined) return undefined;
  if (operator === "IS") return test({ oneOf: [given] });
  if (given === null) return test(NEVER);
  if (operator === "=" || operator === "==") return test({ oneOf: [given] });
  const end = { value: given, inclusive: operator.endsWith("=") };
  return test(operator.startsWith("<") ? { high: end } : { low: end });
}

/** What is compared with NULL is never true. */
const NEVER: OneOf = { oneOf: [] };

function listOf(tokens: readonly Token[]): (readonly Token[])[] | undefined {
  if (tokens.length === 0) return [];
  const commas = topLevel(tokens)?.filter((i) => is(tokens[i], ","));
  if (!commas) return undefined;
  return [...commas, tokens.length].map((end, i) =>
    tokens.slice(i === 0 ? 0 : (commas[i - 1] as number) + 1, end),
  );
}

/** Gives what a literal or a variable of the statement is. */
function valuesOf(all: readonly Token[], args: Args): Reader["valueOf"] {
  const variables = all.filter(({ kind }) => kind === "variable");
  const counted = variables.every(({ text }) => text === "?");
  const numbered = variables.every(({ text }) => /^\?\d+$/.test(text));
  const named = variables.every(({ text }) => /^[:@$]\w+$/.test(text));
  const bound = (token: Token): unknown => {
    if (isList(args)) {
      if (counted) return args[variables.indexOf(token)];
      return numbered ? args[Number(token.text.slice(1)) - 1] : undefined;
    }
    const name = token.text.slice(1);
    return named && Object.hasOwn(args, name) ? args[name] : undefined;
  };
  return (tokens) => {
    const negative = is(tokens[0], "-");
    const [token, ...more] = negative || is(tokens[0], "+") ? tokens.slice(1) : tokens;
    if (token === undefined || more.length > 0) return undefined;
    if (token.kind === "number") return numberOf(token.text, negative);
    if (tokens.length !== 1) return undefined;
    if (token.kind === "string") return token.value;
    if (token.kind === "variable") return argumentOf(bound(token));
    return token.word === "NULL" ? null : undefined;
  };
}

function isList(args: Args): args is readonly unknown[] {
  return Array.isArray(args);
}

function argumentOf(value: unknown): Comparable | undefined {
  if (value === null || typeof value === "string" || typeof value === "bigint") return value;
  if (typeof value === "boolean") return value ? 1 : 0;
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}

/** Of a literal that everybody reads alike. */
function numberOf(text: string, negative: boolean): Comparable | undefined {
  if (/^\d{1,18}$/.test(text)) return negative ? -BigInt(text) : BigInt(text);
  const digits = /^(\d*)\.(\d*)$/.exec(text);
  if (!digits || text.length > 16) return undefined;
  return negative ? -Number(text) : Number(text);
}

function isIdentifier(token: Token | undefined): token is Token {
  return (
    token !== undefined && (token.kind === "name" || (token.kind === "word" && !RESERVED.has(token.word)))
  );
}

/** Words that may stand where a name is looked for and are none. */
const RESERVED: ReadonlySet<string> = new Set([
  "WHERE",
  "NOT",
  "NULL",
  "CASE",
  "CAST",
  "EXISTS",
  "IN",
  "IS",
  "AND",
  "OR",
  "BETWEEN",
  "SELECT",
  "VALUES",
  "TRUE",
  "FALSE",
  "INDEXED",
  "CURRENT_DATE",
  "CURRENT_TIME",
  "CURRENT_TIMESTAMP",
  "JOIN",
  "LEFT",
  "RIGHT",
  "FULL",
  "INNER",
  "CROSS",
  "NATURAL",
  "ON",
  "USING",
  "GROUP",
  "ORDER",
  "LIMIT",
  "HAVING",
  "UNION",
  "EXCEPT",
  "INTERSECT",
]);

/** SQLite takes ASCII letters of either case for the same. */
function lower(name: string): string {
  return name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
