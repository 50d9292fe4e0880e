import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";

/**
 * JSON as the document workers hold it. A bigint stands for an integer outside ±(2^53 - 1): JSON.parse
 * would round it without a word, and documents written by other Automerge clients may hold one.
 */
export type Json = null | boolean | number | bigint | string | Json[] | JsonObject;
export interface JsonObject {
  [key: string]: Json;
}

/** Levels of maps and lists a value written through Skald may have, the root counted. */
export const LEVELS = LIMITS.document.levels.value;

/** One problem of a value: where (JSON pointer) and what. */
export interface ValueProblem {
  pointer: string;
  detail: string;
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `object[key] = value` for every key: a plain assignment to `__proto__` sets the prototype instead. */
export function setKey(object: JsonObject, key: string, value: Json): void {
  if (key === "__proto__") {
    Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
  } else {
    object[key] = value;
  }
}

/** The own value under `key`, never an inherited one. */
export function getKey(object: JsonObject, key: string): Json | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/** Equal as JSON. 0 and -0 differ, since a document keeps them apart. */
export function sameJson(a: Json, b: Json): boolean {
  if (Object.is(a, b)) return true;
  if (Array.isArray(a)) {
    return Array.isArray(b) && a.length === b.length && a.every((item, i) => sameJson(item, b[i] as Json));
  }
  if (!isObject(a) || !isObject(b)) return false;
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  return keys.every((key) => Object.hasOwn(b, key) && sameJson(a[key] as Json, b[key] as Json));
}

/** UTF-16 order puts U+E000…U+FFFF after the surrogates; code point order, which Automerge uses, before. */
function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}

/** Own keys in Unicode code point order. */
export function sortedKeys(object: object): string[] {
  const keys = Object.keys(object);
  for (let i = 1; i < keys.length; i++) {
    if (compareKeys(keys[i - 1] as string, keys[i] as string) > 0) return keys.sort(compareKeys);
  }
  return keys;
}

/** JSON text with keys in code point order and no spaces: equal values give equal texts. */
export function stringifyJson(value: Json): string {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value);
    case "number":
      return numberText(value);
    case "bigint":
    case "boolean":
      return String(value);
    default:
  }
  if (value === null) return "null";
  if (Array.isArray(value)) {
    let text = "[";
    for (let i = 0; i < value.length; i++) text += (i === 0 ? "" : ",") + stringifyJson(value[i] as Json);
    return text + "]";
  }
  let text = "{";
  for (const key of sortedKeys(value)) {
    text += `${text.length === 1 ? "" : ","}${JSON.stringify(key)}:${stringifyJson(value[key] as Json)}`;
  }
  return text + "}";
}

/**
 * A float beyond 2^53 is written with an exponent, so that it comes back as a float: written as digits it
 * would look like an integer that JSON cannot carry.
 */
function numberText(value: number): string {
  if (Object.is(value, -0)) return "-0";
  if (!Number.isFinite(value)) return "null";
  return Number.isInteger(value) && !Number.isSafeInteger(value) ? value.toExponential() : String(value);
}

/**
 * Parses JSON text from a client and refuses what no document can hold: more than LEVELS levels below
 * `spareLevels`, lone surrogates, numbers beyond the range of a double.
 * @throws SkaldError BAD_JSON, VALUE_INVALID
 */
export function parseJson(text: string, spareLevels = 0): Json {
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch (error) {
    throw new SkaldError("BAD_JSON", `The value is not JSON: ${(error as Error).message}`, { cause: error });
  }
  const problems: ValueProblem[] = [];
  // A lone surrogate comes from an escape or from a string that was never UTF-8; most texts have neither.
  const surrogates = /\\u[dD][89a-fA-F]/.test(text) || LONE_SURROGATE.test(text);
  inspect(value, [], LEVELS + spareLevels, surrogates, problems);
  refuseProblems(problems);
  return /\d{16}/.test(text) ? new ExactParser(text).value() : value;
}

export function refuseProblems(problems: readonly ValueProblem[]): void {
  const first = problems[0];
  if (first === undefined) return;
  throw new SkaldError("VALUE_INVALID", `At ${JSON.stringify(first.pointer)}: ${first.detail}.`, {
    details: { errors: problems },
  });
}

const LONE_SURROGATE = /\p{Surrogate}/u;
const MAX_PROBLEMS = 20;
/** Characters of a pointer in an error: keys may be megabytes long, and each problem below one names it. */
const MAX_POINTER = 1000;

function inspect(
  value: Json,
  path: (string | number)[],
  levels: number,
  surrogates: boolean,
  problems: ValueProblem[],
): void {
  if (problems.length >= MAX_PROBLEMS) return;
  if (typeof value === "number") {
    if (!Number.isFinite(value)) problem("the number is beyond the range of a double");
  } else if (typeof value === "string") {
    if (surrogates && LONE_SURROGATE.test(value)) problem("the string has half a surrogate pair");
  } else if (typeof value === "object" && value !== null) {
    if (levels === 0) return problem(`more than ${LEVELS} levels`);
    if (Array.isArray(value)) {
      value.forEach((item, i) => below(item, i));
    } else {
      for (const key of Object.keys(value)) {
        if (surrogates && LONE_SURROGATE.test(key)) problem("a key has half a surrogate pair");
        below(value[key] as Json, key);
      }
    }
  }

  function below(child: Json, step: string | number): void {
    path.push(step);
    inspect(child, path, levels - 1, surrogates, problems);
    path.pop();
  }

  function problem(detail: string): void {
    const pointer = toPointer(path);
    problems.push({
      pointer: pointer.length > MAX_POINTER ? `${pointer.slice(0, MAX_POINTER)}…` : pointer,
      detail,
    });
  }
}

/** Levels of maps and lists in `value`. */
export function depthOf(value: Json): number {
  if (typeof value !== "object" || value === null) return 0;
  let deepest = 0;
  for (const item of Array.isArray(value) ? value : Object.values(value)) {
    deepest = Math.max(deepest, depthOf(item));
  }
  return deepest + 1;
}

/** JSON pointer (RFC 6901) of a path. */
export function toPointer(path: readonly (string | number)[]): string {
  return path.map((step) => "/" + String(step).replaceAll("~", "~0").replaceAll("/", "~1")).join("");
}

/** The steps of a JSON pointer (RFC 6901), or undefined when it is not one. */
export function parsePointer(pointer: string): string[] | undefined {
  if (pointer === "") return [];
  if (!pointer.startsWith("/") || /~(?![01])/.test(pointer)) return undefined;
  return pointer
    .slice(1)
    .split("/")
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** The index a pointer step names in a list: digits without a leading zero. */
export function parseIndex(step: string): number | undefined {
  return /^(0|[1-9]\d*)$/.test(step) ? Number(step) : undefined;
}

/** The value a pointer leads to, or undefined. */
export function valueAt(root: Json, steps: readonly string[]): Json | undefined {
  let value: Json | undefined = root;
  for (const step of steps) {
    if (Array.isArray(value)) value = value[parseIndex(step) ?? -1];
    else if (isObject(value)) value = getKey(value, step);
    else return undefined;
  }
  return value;
}

/**
 * Reads text that JSON.parse has accepted, and keeps integers outside ±(2^53 - 1) as bigint. Used only when
 * the text has sixteen digits in a row, since it is an order of magnitude slower than JSON.parse.
 */
class ExactParser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(): Json {
    this.#skip(SPACE);
    const first = this.#text[this.#at];
    if (first === "{") return this.#object();
    if (first === "[") return this.#list();
    if (first === '"') return this.#string();
    const token = this.#skip(SCALAR);
    if (/^-?\d{16,}$/.test(token) && !Number.isSafeInteger(Number(token))) return BigInt(token);
    return JSON.parse(token) as Json;
  }

  #object(): JsonObject {
    const object: JsonObject = {};
    while (this.#next("}")) {
      const key = this.#string();
      this.#skip(SPACE);
      this.#at++; // the colon
      setKey(object, key, this.value());
    }
    return object;
  }

  #list(): Json[] {
    const list: Json[] = [];
    while (this.#next("]")) list.push(this.value());
    return list;
  }

  /** Steps over the bracket or comma before an element; false after the closing bracket. */
  #next(close: string): boolean {
    this.#skip(SPACE);
    if (this.#text[this.#at] !== close) {
      this.#at++;
      this.#skip(SPACE);
      if (this.#text[this.#at] !== close) return true;
    }
    this.#at++;
    return false;
  }

  #string(): string {
    const start = this.#at++;
    for (; this.#text[this.#at] !== '"'; this.#at++) {
      if (this.#text[this.#at] === "\\") this.#at++;
    }
    return JSON.parse(this.#text.slice(start, ++this.#at)) as string;
  }

  #skip(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const token = pattern.exec(this.#text)?.[0] ?? "";
    this.#at += token.length;
    return token;
  }
}

const SPACE = /[ \t\n\r]*/y;
const SCALAR = /[-+.\w]+/y;
