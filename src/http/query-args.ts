import { SkaldError } from "../errors.ts";
import { itemTexts, memberTexts } from "../protocol/json-source.ts";
import type { SqlValue } from "./query-formats.ts";

export type SqlArgs = readonly SqlValue[] | Readonly<Record<string, SqlValue>>;

/**
 * Arguments of a statement from the text of a request's list or object, so that no integer is rounded on the
 * way. Expects text that the request's schema has taken. Throws BAD_REQUEST for a number that SQLite does not
 * have.
 */
export function argsOf(text: string | undefined): SqlArgs {
  if (text === undefined) return [];
  if (text.startsWith("[")) return itemTexts(text).map((item, i) => valueOf(item, String(i + 1)));
  const named = Object.create(null) as Record<string, SqlValue>;
  for (const [name, value] of memberTexts(text)) named[bareName(name)] = valueOf(value, name);
  return named;
}

/** Lists of arguments from the text of `values`. */
export function valuesOf(text: string): SqlValue[][] {
  return itemTexts(text).map((row, i) => itemTexts(row).map((item, j) => valueOf(item, `${i + 1}.${j + 1}`)));
}

/**
 * Arguments from a URL: a JSON number, `null`, `true`, `false` and a JSON string in its quotes are that; anything
 * else is the text that it is.
 */
export function argsOfUrl(given: Iterable<readonly [string, string]>): Record<string, SqlValue> {
  const named = Object.create(null) as Record<string, SqlValue>;
  for (const [name, text] of given) {
    if (Object.hasOwn(named, name))
      throw new SkaldError("BAD_REQUEST", `The parameter "${name.slice(0, 80)}" is given twice.`);
    named[name] = LITERAL.test(text) ? valueOf(text, name) : (quotedText(text) ?? text);
  }
  return named;
}

const INTEGER = /^-?(?:0|[1-9]\d*)$/;
const LITERAL = /^(?:null|true|false|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)$/;

function quotedText(text: string): string | undefined {
  if (!/^".*"$/s.test(text)) return undefined;
  try {
    return JSON.parse(text) as string;
  } catch {
    return undefined;
  }
}

/** Callers write `:name` as it stands in the statement as often as the name alone. */
function bareName(name: string): string {
  return /^[:@$]/.test(name) ? name.slice(1) : name;
}

function valueOf(text: string, where: string): SqlValue {
  if (INTEGER.test(text)) return integerOf(text, where);
  const value = JSON.parse(text) as unknown;
  if (typeof value === "boolean") return value ? 1 : 0;
  if (typeof value === "number" && !Number.isFinite(value)) throw noSuchNumber(text, where);
  if (typeof value !== "object" || value === null) return value as SqlValue;
  return bytesOf(value) ?? text;
}

const LEAST = -(2n ** 63n);
const GREATEST = 2n ** 63n - 1n;

/** Always a bigint: a number would be bound as REAL, and 5 / 2 be 2.5. */
function integerOf(text: string, where: string): SqlValue {
  const exact = text.length > 20 ? GREATEST + 1n : BigInt(text);
  if (exact < LEAST || exact > GREATEST) throw noSuchNumber(text, where);
  return exact;
}

function noSuchNumber(text: string, where: string): SkaldError {
  return new SkaldError(
    "BAD_REQUEST",
    `The argument ${where} is a number that SQLite does not have: ${text.slice(0, 40)}.`,
    {
      hint: "Integers have 64 bits; write a larger one as a text.",
    },
  );
}

/** `{"/": {"bytes": …}}` as documents have it, and nothing else. */
function bytesOf(value: object): Uint8Array | undefined {
  const [only, ...others] = Object.entries(value);
  if (only?.[0] !== "/" || others.length > 0) return undefined;
  const [inner, ...more] = Object.entries((only[1] ?? {}) as object);
  if (inner?.[0] !== "bytes" || more.length > 0 || typeof inner[1] !== "string") return undefined;
  return /^[A-Za-z0-9+/]*={0,2}$/.test(inner[1])
    ? new Uint8Array(Buffer.from(inner[1], "base64"))
    : undefined;
}
