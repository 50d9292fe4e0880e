import { SkaldError } from "../errors.ts";
import type { Token } from "../tables/tokens.ts";

/** A value for a statement as it crosses to its process: `i` an integer in digits, `b` bytes in base64. */
export type WireValue = null | string | number | { readonly i: string } | { readonly b: string };
export type WireArgs = readonly WireValue[] | Readonly<Record<string, WireValue>>;

type Bound = null | string | number | bigint | Buffer;

/** Which values a statement's parameters take: made once, from its tokens. */
export interface Parameters {
  /** Numbers of those without a name, in their order. */
  readonly anonymous: readonly number[];
  /** Names as better-sqlite3 has them, without the sign in front, and their numbers. */
  readonly named: readonly (readonly [string, number])[];
  /** Numbers go from 1 to this. */
  readonly count: number;
}

/** Numbers parameters as SQLite does: `?5` is 5, `?` one more than the largest before, a name what it was at first. */
export function parametersOf(tokens: readonly Token[]): Parameters {
  const anonymous: number[] = [];
  const named = new Map<string, number>();
  const numbers = new Map<string, number>();
  let count = 0;
  for (const { kind, text } of tokens) {
    if (kind !== "variable") continue;
    if (text === "?") {
      count += 1;
      anonymous.push(count);
      continue;
    }
    const number = text.startsWith("?") ? Number(text.slice(1)) : (numbers.get(text) ?? count + 1);
    if (number < 1 || number > MOST_NUMBER)
      throw new SkaldError("SQL_ERROR", `variable number must be between ?1 and ?${MOST_NUMBER}`);
    numbers.set(text, number);
    named.set(text.slice(1), number);
    count = Math.max(count, number);
  }
  return { anonymous, named: [...named], count };
}

/** SQLite's own. */
const MOST_NUMBER = 32_766;

/** The arguments for better-sqlite3. Throws SQL_ERROR when there are not exactly those that the statement has. */
export function bind(parameters: Parameters, args: WireArgs): unknown[] {
  const { anonymous, named, count } = parameters;
  if (Array.isArray(args)) {
    if (args.length !== count)
      throw new SkaldError(
        "SQL_ERROR",
        `The statement has ${count} parameters; there are ${args.length} args.`,
      );
    const bound: unknown[] = anonymous.map((number) => boundOf(args[number - 1] as WireValue));
    if (named.length > 0)
      bound.push(objectOf(named.map(([name, number]) => [name, boundOf(args[number - 1] as WireValue)])));
    return bound;
  }
  const given = new Map(
    Object.entries(args as Readonly<Record<string, WireValue>>).map(([name, value]) => [bare(name), value]),
  );
  if (anonymous.length > 0 && given.size > 0)
    throw new SkaldError("SQL_ERROR", "Parameters without a name take `args` as a list.");
  const names = new Set(named.map(([name]) => name));
  for (const name of given.keys())
    if (!names.has(name))
      throw new SkaldError("SQL_ERROR", `The statement has no parameter named "${name}".`);
  for (const name of names)
    if (!given.has(name)) throw new SkaldError("SQL_ERROR", `The parameter "${name}" has no value in args.`);
  if (anonymous.length > 0)
    throw new SkaldError("SQL_ERROR", `The statement has ${count} parameters; there are 0 args.`);
  return names.size === 0
    ? []
    : [objectOf([...names].map((name) => [name, boundOf(given.get(name) as WireValue)]))];
}

/** NULL for every parameter: for a look at the program. */
export function bindNothing({ anonymous, named }: Parameters): unknown[] {
  const bound: unknown[] = anonymous.map(() => null);
  if (named.length > 0) bound.push(objectOf(named.map(([name]) => [name, null])));
  return bound;
}

const bare = (name: string): string => (/^[:@$]/.test(name) ? name.slice(1) : name);

/** better-sqlite3 takes plain objects only; `__proto__` is a name like any other. */
function objectOf(entries: readonly (readonly [string, Bound])[]): object {
  const object: Record<string, Bound> = {};
  for (const [name, value] of entries)
    Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
  return object;
}

/** A whole number is an INTEGER: better-sqlite3 makes a REAL of it, and 7 / 2 would be 3.5. */
function boundOf(value: WireValue): Bound {
  if (typeof value === "number") return Number.isSafeInteger(value) ? BigInt(value) : value;
  if (value === null || typeof value === "string") return value;
  if ("b" in value) return Buffer.from(value.b, "base64");
  const integer = BigInt(value.i);
  if (BigInt.asIntN(64, integer) !== integer)
    throw new SkaldError("SQL_ERROR", `The integer ${value.i.slice(0, 40)} does not fit into 64 bits.`);
  return integer;
}
