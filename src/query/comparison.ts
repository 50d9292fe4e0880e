/**
 * How SQLite compares a column with a value (https://www.sqlite.org/datatype3.html, sections 3 and 4), as far as it
 * can be said without SQLite: whatever is not surely so is `undefined`, and whoever asks must take it for anything.
 */
export type Comparable = null | number | bigint | string | Uint8Array;

export type Affinity = "text" | "numeric" | "real" | "none";

/** Of a declared type; undefined when it depends on the table. */
export function affinityOf(declared: string): Affinity | undefined {
  const type = declared.toUpperCase();
  // In a STRICT table it converts nothing, elsewhere numbers.
  if (type === "ANY") return undefined;
  if (type.includes("INT")) return "numeric";
  if (/CHAR|CLOB|TEXT/.test(type)) return "text";
  if (type === "" || type.includes("BLOB")) return "none";
  if (/REAL|FLOA|DOUB/.test(type)) return "real";
  return "numeric";
}

/** The value as it is compared with, or stored in, a column of that affinity; undefined when that is not sure. */
export function converted(value: Comparable, affinity: Affinity): Comparable | undefined {
  // Half a surrogate pair is written as another character.
  if (typeof value === "string" && /\p{Cs}/u.test(value)) return undefined;
  if (value === null || affinity === "none") return value;
  if (affinity === "text") {
    if (typeof value === "bigint") return value.toString();
    // How SQLite writes reals is its own; a whole number may be one.
    return typeof value === "number" ? undefined : value;
  }
  const number = typeof value === "string" ? numberIn(value) : value;
  // What is stored there loses digits, what it is compared with does not.
  return affinity === "real" && typeof number === "bigint" && !isExact(number) ? undefined : number;
}

function isExact(integer: bigint): boolean {
  return BigInt(Number(integer)) === integer && integer <= 2n ** 53n && integer >= -(2n ** 53n);
}

/** What a text is to a column of numbers: itself when it is none. */
function numberIn(text: string): Comparable | undefined {
  const found = /^[ \t\n\v\f\r]*([+-]?)(\d+)(\.\d*)?(e[+-]?\d+)?[ \t\n\v\f\r]*$/i.exec(text);
  if (found) {
    const [, sign = "", digits = "", fraction, exponent] = found;
    // Reading longer ones rounds, each reader in its own way.
    if (digits.length > 15 || fraction !== undefined || exponent !== undefined) return undefined;
    return BigInt(sign === "-" ? `-${digits}` : digits);
  }
  // Forms that SQLite may take for a number: better not to know.
  return /^[\s\0]*[+-]?\.?\d/.test(text) ? undefined : text;
}

/** Of values that are not null, in the order of SQLite: numbers, texts by their UTF-8, blobs. */
export function compare(a: Exclude<Comparable, null>, b: Exclude<Comparable, null>): number {
  const byClass = classOf(a) - classOf(b);
  if (byClass !== 0) return byClass;
  if (typeof a === "string") return compareText(a, b as string);
  if (a instanceof Uint8Array) return Buffer.compare(a, b as Uint8Array);
  // Exact, also between a bigint and a number.
  return a < (b as number) ? -1 : a > (b as number) ? 1 : 0;
}

function classOf(value: Exclude<Comparable, null>): number {
  if (typeof value === "string") return 1;
  return value instanceof Uint8Array ? 2 : 0;
}

/** JavaScript orders by UTF-16, where what needs two units comes before some that need one. */
function compareText(a: string, b: string): number {
  const { length } = a.length < b.length ? a : b;
  for (let i = 0; i < length; i += 1) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    const high = (unit: number): number => (unit >= 0xd800 && unit < 0xe000 ? unit + 0x10000 : unit);
    return high(x) - high(y);
  }
  return a.length - b.length;
}

/** The same text for what is equal in SQLite, and only for that. */
export function keyOf(value: Comparable): string {
  if (value === null) return "0";
  if (typeof value === "string") return `t${value}`;
  if (value instanceof Uint8Array)
    return `b${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("latin1")}`;
  if (typeof value === "bigint") return `n${value}`;
  return Number.isInteger(value) ? `n${BigInt(value)}` : `n${value}`;
}
