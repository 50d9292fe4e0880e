/**
 * JSON whose integers keep all their digits. `JSON.parse` rounds those beyond 2^53, and a document may hold them;
 * here each becomes a text that no document can hold, which `printJson` writes as the number again.
 */
const MARK = `\u0000${crypto.randomUUID()}:`;
const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const MARKED = new RegExp(`"${JSON.stringify(MARK).slice(1, -1).replaceAll("\\", "\\\\")}(-?\\d+)"`, "g");

/** Throws SyntaxError like `JSON.parse`. */
export function readJson(text: string): unknown {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  // Of the text as it is, so that what is wrong is said of what was written.
  JSON.parse(text);
  return JSON.parse(
    text.replace(TOKENS, (token) =>
      /^-?\d+$/.test(token) && !Number.isSafeInteger(Number(token)) ? JSON.stringify(MARK + token) : token,
    ),
  );
}

export function printJson(value: unknown, indent?: number): string {
  const text = JSON.stringify(value, null, indent) ?? "";
  return text.includes("\\u0000") ? text.replace(MARKED, "$1") : text;
}

export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function equalJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((item, i) => equalJson(item, b[i]));
  if (!isObject(a) || !isObject(b)) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && equalJson(a[key], b[key]))
  );
}

/** Sets a key whatever its name: an assignment of `__proto__` makes none. */
export function setKey(of: object, key: string, value: unknown): void {
  Object.defineProperty(of, key, { value, configurable: true, enumerable: true, writable: true });
}
