import { stringifyJson, type Json } from "../documents/json-value.ts";
import { countValues, equal, isMap } from "./json.ts";
import { invalid } from "./invalid.ts";

/** An assertion on one value alone. `undefined` stands for what is not there: it has no type. */
export interface Check {
  readonly keyword: string;
  readonly holds: (value: Json | undefined) => boolean;
  /** What the value does not do when it does not hold, for people. */
  readonly wants: string;
  /** Steps of work that looking costs. */
  readonly cost: number;
}

const TYPES = ["null", "boolean", "object", "array", "number", "string", "integer"] as const;

function isOfType(value: Json | undefined, type: string): boolean {
  switch (type) {
    case "null":
      return value === null;
    case "array":
      return Array.isArray(value);
    case "object":
      return isMap(value);
    case "number":
      return isNumber(value);
    case "integer":
      return typeof value === "bigint" || (typeof value === "number" && Number.isInteger(value));
    default:
      return typeof value === type;
  }
}

function isNumber(value: Json | undefined): value is number | bigint {
  return typeof value === "number" || typeof value === "bigint";
}

/** Values of a schema that are compared whole are cut off here: each place compares all of it. */
const COUNTED = 1 << 20;

/** Makes a check of a keyword, or gives undefined for one that is none. Throws JSON_SCHEMA_INVALID. */
export function checkOf(keyword: string, given: Json, at: string): Check | undefined {
  const make = MAKERS[keyword];
  return make && { keyword, cost: 1, ...make(given, () => invalid(at, keyword, WANTED[keyword] as string)) };
}

type Made = Pick<Check, "holds" | "wants"> & { readonly cost?: number };
type Maker = (given: Json, wrong: () => Error) => Made;

const WANTED: Readonly<Record<string, string>> = {
  type: `one of ${TYPES.join(", ")}, or a list of them`,
  const: "a value",
  enum: "a list",
  required: "a list of names",
  ...Object.fromEntries(
    ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"].map((name) => [name, "a number"]),
  ),
  multipleOf: "a number above 0",
  ...Object.fromEntries(
    ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"].map((name) => [
      name,
      "a whole number of 0 or more",
    ]),
  ),
};

const range =
  (words: string, holds: (value: number | bigint, bound: number | bigint) => boolean): Maker =>
  (given, wrong) => {
    if (!isNumber(given)) throw wrong();
    return {
      wants: `has to be ${words} ${given}`,
      holds: (value) => !isNumber(value) || holds(value, given),
    };
  };

const count =
  (words: string, holds: (value: Json | undefined, bound: number) => boolean): Maker =>
  (given, wrong) => {
    if (typeof given !== "number" || !Number.isSafeInteger(given) || given < 0) throw wrong();
    return { wants: `needs ${words.replace("#", String(given))}`, holds: (value) => holds(value, given) };
  };

const MAKERS: Readonly<Record<string, Maker>> = {
  __proto__: null as never,
  type: (given, wrong) => {
    const list: readonly Json[] = Array.isArray(given) ? given : [given];
    const types = TYPES.filter((type) => list.includes(type));
    if (list.length === 0 || !list.every((type) => types.includes(type as never))) throw wrong();
    return {
      wants: `has to be of type ${types.join(" or ")}`,
      holds: (value) => types.some((type) => isOfType(value, type)),
    };
  },
  const: (given) => ({
    wants: `has to be equal to ${shown(given)}`,
    cost: countValues(given, COUNTED),
    holds: (value) => value !== undefined && equal(given, value),
  }),
  enum: (given, wrong) => {
    if (!Array.isArray(given)) throw wrong();
    const scalars = new Set<Json>(
      given.filter((item) => typeof item !== "object" && typeof item !== "bigint"),
    );
    const others = given.filter((item) => !scalars.has(item));
    const has = (value: Json): boolean => scalars.has(value) || others.some((item) => equal(item, value));
    return {
      wants: `has to be one of ${shown(given)}`,
      cost: countValues(others, COUNTED) + 1,
      holds: (value) =>
        value !== undefined &&
        (has(value) || (typeof value === "bigint" && has(Number(value)) && BigInt(Number(value)) === value)),
    };
  },
  required: (given, wrong) => {
    if (!Array.isArray(given) || !given.every((name) => typeof name === "string")) throw wrong();
    const names = given as string[];
    return {
      wants: `needs ${names.join(", ")}`,
      cost: names.length + 1,
      holds: (value) => !isMap(value) || names.every((name) => Object.hasOwn(value, name)),
    };
  },
  minimum: range("at least", (value, bound) => value >= bound),
  maximum: range("at most", (value, bound) => value <= bound),
  exclusiveMinimum: range("more than", (value, bound) => value > bound),
  exclusiveMaximum: range("less than", (value, bound) => value < bound),
  multipleOf: (given, wrong) => {
    if (!isNumber(given) || given <= 0) throw wrong();
    return {
      wants: `has to be a multiple of ${given}`,
      holds: (value) => !isNumber(value) || isMultiple(value, given),
    };
  },
  minLength: count(
    "at least # characters",
    (value, bound) => typeof value !== "string" || hasPoints(value, bound),
  ),
  maxLength: count(
    "at most # characters",
    (value, bound) => typeof value !== "string" || !hasPoints(value, bound + 1),
  ),
  minItems: count("at least # items", (value, bound) => !Array.isArray(value) || value.length >= bound),
  maxItems: count("at most # items", (value, bound) => !Array.isArray(value) || value.length <= bound),
  minProperties: count("at least # properties", (value, bound) => !isMap(value) || hasKeys(value, bound)),
  maxProperties: count("at most # properties", (value, bound) => !isMap(value) || !hasKeys(value, bound + 1)),
};

function shown(value: Json): string {
  const text = stringifyJson(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** Whether a text has this many code points; looks at no more of it than that takes. */
function hasPoints(text: string, wanted: number): boolean {
  if (text.length < wanted) return false;
  if (text.length >= 2 * wanted) return true;
  let points = 0;
  for (const _ of text) if ((points += 1) >= wanted) return true;
  return points >= wanted;
}

function hasKeys(map: object, wanted: number): boolean {
  let keys = 0;
  for (const key in map) if (Object.hasOwn(map, key) && (keys += 1) >= wanted) return true;
  return keys >= wanted;
}

/** In whole numbers exactly; with fractions as doubles divide. */
function isMultiple(value: number | bigint, of: number | bigint): boolean {
  const isWhole = (n: number | bigint): boolean => typeof n === "bigint" || Number.isSafeInteger(n);
  if (isWhole(value) && isWhole(of)) return BigInt(value) % BigInt(of) === 0n;
  return Number.isInteger(Number(value) / Number(of));
}
