import { SkaldError } from "../errors.ts";

/**
 * `word` is a keyword or a plain name, `name` a quoted one; `sign` an operator or punctuation.
 * A double-quoted text is always a name here: SQLite is built without taking it for a string.
 */
export type TokenKind = "word" | "name" | "string" | "blob" | "number" | "variable" | "sign";

export interface Token {
  readonly kind: TokenKind;
  /** As it was written. */
  readonly text: string;
  /** Of a word, a name and a string what it stands for, without quotes; else as it was written. */
  readonly value: string;
  /** Of a word, in capitals: what a keyword is compared with. "" for all else. */
  readonly word: string;
  /** Where it begins, in UTF-16 code units. */
  readonly at: number;
}

/**
 * The tokens of SQL text as SQLite's own tokenizer takes it apart, without spaces and comments. Source: tokenize.c.
 * A `;` is a token; a NUL ends no text here, it is refused. Throws SQL_ERROR with `offset` for what is no token.
 */
export function tokensOf(sql: string): Token[] {
  const found: Token[] = [];
  for (let at = 0; at < sql.length;) {
    const skipped = spaceAt(sql, at);
    if (skipped > at) {
      at = skipped;
      continue;
    }
    const token = tokenAt(sql, at);
    found.push(token);
    at += token.text.length;
  }
  return found;
}

/** Whether a token is this keyword, in capitals, or this sign. */
export function is(token: Token | undefined, text: string): boolean {
  return token !== undefined && (token.kind === "sign" ? token.text === text : token.word === text);
}

/** Whether a token may stand where a name is asked for: SQLite takes strings there as well. */
export function isName(token: Token | undefined): token is Token {
  return token !== undefined && (token.kind === "word" || token.kind === "name" || token.kind === "string");
}

/** A name so that it reads as one wherever it is put. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

const SPACE = /[ \t\n\f\r]+/y;
const LINE_COMMENT = /--[^\n]*/y;
const WORD = /[A-Za-z_\u0080-\uffff][A-Za-z0-9_$\u0080-\uffff]*/y;
const NUMBER = /0[xX][0-9A-Fa-f]+|(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][+-]?\d[\d_]*)?/y;
const BLOB = /[xX]'(?:[0-9A-Fa-f]{2})*'/y;
const VARIABLE =
  /\?\d*|[:@#][A-Za-z0-9_$\u0080-\uffff]+|\$[A-Za-z0-9_$\u0080-\uffff]+(?:::[A-Za-z0-9_$\u0080-\uffff]+)*(?:\([^\s)]*\))?/y;
const SIGN = /->>|->|\|\||<<|>>|<=|<>|>=|==|!=|[-+*/%&|~<>=(),.;]/y;
const AFTER_NUMBER = /[A-Za-z0-9_$\u0080-\uffff]/;

function match(pattern: RegExp, sql: string, at: number): string | undefined {
  pattern.lastIndex = at;
  return pattern.exec(sql)?.[0];
}

function spaceAt(sql: string, at: number): number {
  const space = match(SPACE, sql, at) ?? match(LINE_COMMENT, sql, at);
  if (space !== undefined) return at + space.length;
  if (!sql.startsWith("/*", at)) return at;
  const end = sql.indexOf("*/", at + 2);
  // SQLite takes a comment that nobody ends for one up to the end.
  return end < 0 ? sql.length : end + 2;
}

function tokenAt(sql: string, at: number): Token {
  const first = sql[at] as string;
  if (first === "'" || first === '"' || first === "`") return textAt(sql, at, first);
  if (first === "[") {
    const end = sql.indexOf("]", at);
    if (end < 0) throw unknownToken(sql, at);
    return { kind: "name", text: sql.slice(at, end + 1), value: sql.slice(at + 1, end), word: "", at };
  }
  const blob = match(BLOB, sql, at);
  if (blob !== undefined) return plain("blob", blob, at);
  if ((first === "x" || first === "X") && sql[at + 1] === "'") throw unknownToken(sql, at);
  const word = match(WORD, sql, at);
  if (word !== undefined) return { kind: "word", text: word, value: word, word: upper(word), at };
  const number = match(NUMBER, sql, at);
  if (number !== undefined) {
    if (AFTER_NUMBER.test(sql[at + number.length] ?? "")) throw unknownToken(sql, at);
    return plain("number", number, at);
  }
  const variable = match(VARIABLE, sql, at);
  if (variable !== undefined) return plain("variable", variable, at);
  const sign = match(SIGN, sql, at);
  if (sign !== undefined) return plain("sign", sign, at);
  throw unknownToken(sql, at);
}

function plain(kind: TokenKind, text: string, at: number): Token {
  return { kind, text, value: text, word: "", at };
}

/** A text between quotes, which stands for itself when it is doubled. */
function textAt(sql: string, at: number, quote: string): Token {
  for (let end = at + 1; ; end += 2) {
    end = sql.indexOf(quote, end);
    if (end < 0) throw unknownToken(sql, at);
    if (sql[end + 1] === quote) continue;
    const text = sql.slice(at, end + 1);
    const value = text.slice(1, -1).replaceAll(quote + quote, quote);
    return { kind: quote === "'" ? "string" : "name", text, value, word: "", at };
  }
}

/** SQLite compares keywords by ASCII letters alone. */
function upper(word: string): string {
  return word.replace(/[a-z]+/g, (letters) => letters.toUpperCase());
}

function unknownToken(sql: string, at: number): SkaldError {
  return new SkaldError("SQL_ERROR", `unrecognized token: "${sql.slice(at, at + 40)}"`, {
    details: { offset: at },
  });
}
