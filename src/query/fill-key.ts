import { is, isName, quoted, type Token } from "../tables/tokens.ts";

/**
 * `INSERT` without a key. The key of a table is its document's key, and its tables have no rowid that SQLite could
 * take for one, so the statement is written anew with a call that makes a key. Nothing else of it changes.
 */

/** A table that an INSERT names, as far as this needs it. */
export interface FilledTable {
  /** The columns that an INSERT without a list of them gives values for, in order. */
  readonly columns: readonly string[];
  /** What a column gets that the statement leaves out, as SQL; those that SQLite fills itself are not in here. */
  readonly missing: ReadonlyMap<string, string>;
}

/** The parts of an INSERT, as places in its text. */
export interface Insert {
  readonly table: string;
  /** Where the list of columns belongs, and up to where it goes if there is one. */
  readonly list: { readonly at: number; readonly end: number };
  /** Names in the list of columns; undefined when there is none. */
  readonly columns: readonly string[] | undefined;
  /** `DEFAULT VALUES`, rows in parentheses (where each begins, after its parenthesis), or anything else. */
  readonly source: "default" | readonly number[] | "select";
  readonly from: number;
  /** Where the source ends: before ON CONFLICT or RETURNING. */
  readonly to: number;
}

/** The parts of an INSERT or REPLACE; undefined for every other statement, and for what SQLite will not take. */
export function readInsert(tokens: readonly Token[], sql: string): Insert | undefined {
  let at = skipWith(tokens, 0);
  if (is(tokens[at], "INSERT")) {
    at += 1;
    if (is(tokens[at], "OR")) at += 2;
  } else if (is(tokens[at], "REPLACE")) at += 1;
  else return undefined;
  if (!is(tokens[at], "INTO")) return undefined;
  at += 1;
  if (is(tokens[at + 1], ".")) at += 2;
  const name = tokens[at];
  if (!isName(name)) return undefined;
  at += 1;
  if (is(tokens[at], "AS")) at += 2;
  const before = tokens[at - 1] as Token;
  const list = { at: before.at + before.text.length, end: before.at + before.text.length };
  let columns: string[] | undefined;
  if (is(tokens[at], "(") && !isSelect(tokens[at + 1])) {
    const close = closing(tokens, at);
    columns = tokens.slice(at + 1, close).flatMap((token) => (isName(token) ? [token.value] : []));
    list.end = (tokens[close]?.at ?? sql.length) + 1;
    at = close + 1;
  }
  const first = tokens[at];
  if (!first) return undefined;
  if (is(first, "DEFAULT"))
    return {
      table: name.value,
      list,
      columns,
      source: "default",
      from: first.at,
      to: endOf(tokens[at + 1], sql),
    };
  const rows: number[] = [];
  let plain = is(first, "VALUES");
  let depth = 0;
  let end = at;
  for (; end < tokens.length; end += 1) {
    const token = tokens[end] as Token;
    if (depth === 0 && end > at) {
      if (is(token, "RETURNING") || is(token, ";")) break;
      if (is(token, "ON") && is(tokens[end + 1], "CONFLICT")) break;
      if (!is(token, "(") && !is(token, ",") && !is(token, ")")) plain = false;
    }
    if (is(token, "(")) {
      if (depth === 0) rows.push(token.at + 1);
      depth += 1;
    } else if (is(token, ")")) depth -= 1;
  }
  const last = tokens[end - 1] as Token;
  const to = last.at + last.text.length;
  return { table: name.value, list, columns, source: plain ? rows : "select", from: first.at, to };
}

/** The statement with values for the columns that it leaves out; undefined when it leaves out none. */
export function fillMissing(sql: string, insert: Insert, table: FilledTable): string | undefined {
  const { list, source } = insert;
  const columns = source === "default" ? [] : insert.columns;
  if (!columns) return undefined;
  const given = new Set(columns.map((name) => name.toLowerCase()));
  const added = [...table.missing].filter(([name]) => !given.has(name.toLowerCase()));
  if (added.length === 0) return undefined;
  const names = [...added.map(([name]) => name), ...columns].map(quoted).join(", ");
  const values = added.map(([, value]) => value).join(", ");
  const head = `${sql.slice(0, list.at)} (${names}) `;
  const tail = sql.slice(insert.to);
  if (source === "default") return `${head}VALUES (${values})${tail}`;
  const text = sql.slice(insert.from, insert.to);
  if (source === "select") return `${head}SELECT ${values}, * FROM (${text}\n) WHERE true${tail}`;
  let filled = "";
  let done = insert.from;
  for (const row of source) {
    filled += `${sql.slice(done, row)}${values}, `;
    done = row;
  }
  return `${head}${filled}${sql.slice(done, insert.to)}${tail}`;
}

/** The statement with values in the place of NULL in those columns; undefined when it gives none for any of them. */
export function fillNulls(sql: string, insert: Insert, table: FilledTable): string | undefined {
  const { list, source } = insert;
  if (source === "default") return undefined;
  const columns = insert.columns ?? table.columns;
  const values = columns.map((name, i) => {
    const value = [...table.missing].find(([missing]) => missing.toLowerCase() === name.toLowerCase())?.[1];
    return { value, text: value === undefined ? `c${i}` : `coalesce(c${i}, ${value})` };
  });
  if (values.every(({ value }) => value === undefined)) return undefined;
  const head = `${sql.slice(0, list.at)} (${columns.map(quoted).join(", ")}) `;
  const rows = `WITH skald_rows (${columns.map((_, i) => `c${i}`).join(", ")}) AS (${sql.slice(insert.from, insert.to)}\n)`;
  const texts = values.map(({ text }) => text).join(", ");
  return `${head}${rows} SELECT ${texts} FROM skald_rows WHERE true${sql.slice(insert.to)}`;
}

/** The place of the statement's own verb, after WITH and what it names. */
export function skipWith(tokens: readonly Token[], start: number): number {
  if (!is(tokens[start], "WITH")) return start;
  let at = start + 1;
  if (is(tokens[at], "RECURSIVE")) at += 1;
  for (;;) {
    at += 1;
    if (is(tokens[at], "(")) at = closing(tokens, at) + 1;
    if (!is(tokens[at], "AS")) return at;
    at += 1;
    if (is(tokens[at], "NOT")) at += 1;
    if (is(tokens[at], "MATERIALIZED")) at += 1;
    at = closing(tokens, at) + 1;
    if (!is(tokens[at], ",")) return at;
    at += 1;
  }
}

/** The place of the parenthesis that closes the one at `open`; the end when none does. */
function closing(tokens: readonly Token[], open: number): number {
  let depth = 0;
  for (let at = open; at < tokens.length; at += 1) {
    if (is(tokens[at], "(")) depth += 1;
    else if (is(tokens[at], ")")) {
      depth -= 1;
      if (depth === 0) return at;
    }
  }
  return tokens.length;
}

function isSelect(token: Token | undefined): boolean {
  return is(token, "SELECT") || is(token, "VALUES") || is(token, "WITH");
}

function endOf(token: Token | undefined, sql: string): number {
  return token ? token.at + token.text.length : sql.length;
}
