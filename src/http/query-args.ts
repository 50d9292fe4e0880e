import { SkaldError } from "../errors.ts";
import { itemTexts, memberTexts } from "../protocol/json-source.ts";
import type { Arg, Args } from "../query/args.ts";

/**
 * Arguments of a statement from the text of a request's list or object, so that no integer is rounded on the
 * way. Expects text that the request's schema has taken. Throws BAD_REQUEST for a number that SQLite does not
 * have.
 */
export function argsOf(text: string | undefined): Args | undefined {
  if (text === undefined) return undefined;
  if (text.startsWith("[")) return itemTexts(text).map((item, i) => argOf(item, String(i + 1)));
  return named([...memberTexts(text)].map(([name, value]) => [name, argOf(value, name)]));
}

/** Lists of arguments from the text of `values`. */
export function valuesOf(text: string): Arg[][] {
  return itemTexts(text).map((row, i) => itemTexts(row).map((item, j) => argOf(item, `${i + 1}.${j + 1}`)));
}

/**
 * Arguments from a URL: a JSON number, `null`, `true`, `false` and a JSON string in its quotes are that; anything
 * else is the text that it is.
 */
export function argsOfUrl(given: Readonly<Record<string, string>>): Args {
  return named(
    Object.entries(given).map(([name, text]) => [
      name,
      LITERAL.test(text) ? argOf(text, name) : (quotedText(text) ?? text),
    ]),
  );
}

const INTEGER = /^-?(?:0|[1-9]\d*)$/;
const LITERAL = /^(?:null|true|false|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)$/;

/** `__proto__` is a name like any other. */
function named(entries: readonly (readonly [string, Arg])[]): Readonly<Record<string, Arg>> {
  return Object.assign(Object.create(null) as Record<string, Arg>, Object.fromEntries(entries));
}

function quotedText(text: string): string | undefined {
  if (!/^".*"$/s.test(text)) return undefined;
  try {
    return JSON.parse(text) as string;
  } catch {
    return undefined;
  }
}

function argOf(text: string, where: string): Arg {
  if (INTEGER.test(text) && !Number.isSafeInteger(Number(text))) {
    if (text.length > 20 || BigInt.asIntN(64, BigInt(text)) !== BigInt(text)) throw noSuchNumber(text, where);
    return BigInt(text);
  }
  const value = JSON.parse(text) as Arg;
  if (typeof value === "number" && !Number.isFinite(value)) throw noSuchNumber(text, where);
  // Its text as it was sent: the numbers in it keep their digits.
  return typeof value === "object" && value !== null && !holdsBytes(value) ? text : value;
}

function holdsBytes(value: object): boolean {
  return typeof (value as { "/"?: { bytes?: unknown } })["/"]?.bytes === "string";
}

function noSuchNumber(text: string, where: string): SkaldError {
  return new SkaldError(
    "BAD_REQUEST",
    `The argument ${where} is a number that SQLite does not have: ${text.slice(0, 40)}.`,
    { hint: "Integers have 64 bits; write a larger one as a text." },
  );
}
