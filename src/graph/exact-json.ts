import type { Json } from "../documents/json-value.ts";

/**
 * Parses JSON text of a document or a schema, however deep, and keeps integers outside ±(2^53 - 1) as bigint.
 * Throws SyntaxError.
 */
export function exactJson(text: string): Json {
  if (!/\d{16}/.test(text)) return JSON.parse(text) as Json;
  let mark = "\\u0000n";
  while (text.includes(mark)) mark += "n";
  const said = JSON.parse(`"${mark}"`) as string;
  const root: [Json] = [JSON.parse(marked(text, mark)) as Json];
  const todo: (Json[] | Record<string, Json>)[] = [root];
  for (let next = todo.pop(); next; next = todo.pop()) {
    const map = next as Record<string, Json>;
    for (const key of Object.keys(map)) {
      const value = map[key] as Json;
      if (typeof value === "object" && value !== null) todo.push(value);
      else if (typeof value === "string" && value.startsWith(said))
        // The key is there: also one that is called __proto__ is set like any other.
        Object.defineProperty(map, key, { ...FIELD, value: BigInt(value.slice(said.length)) });
    }
  }
  return root[0];
}

const FIELD = { enumerable: true, configurable: true, writable: true };

/** The text with each large integer as a string that begins with `mark`. */
function marked(text: string, mark: string): string {
  const out: string[] = [];
  let copied = 0;
  const number = /-?\d[\d.eE+-]*/y;
  for (let at = 0; at < text.length;) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = afterString(text, at);
    } else if (code === MINUS || (code >= ZERO && code <= NINE)) {
      number.lastIndex = at;
      const token = number.exec(text)?.[0] ?? "-";
      if (/^-?\d{16,}$/.test(token) && !Number.isSafeInteger(Number(token))) {
        out.push(text.slice(copied, at), `"${mark}${token}"`);
        copied = at + token.length;
      }
      at += token.length;
    } else at += 1;
  }
  out.push(text.slice(copied));
  return out.join("");
}

const [QUOTE, BACKSLASH, MINUS, ZERO, NINE] = [0x22, 0x5c, 0x2d, 0x30, 0x39];

function afterString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === BACKSLASH) at += 1;
    else if (code === QUOTE) return at + 1;
  }
  return text.length;
}
