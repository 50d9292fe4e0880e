/**
 * Where parts of a JSON text lie. A value taken out of `JSON.parse` and written again is not always the
 * same value: integers beyond 2^53 are rounded, 1e400 becomes null, -0 becomes 0, and deep nesting
 * overflows the stack. Documents' values are therefore handed on as the text that the client wrote.
 * All of it expects text that `JSON.parse` has accepted.
 */

const SPACE = /[ \t\n\r]*/y;
const SCALAR = /[-+.\w]+/y;

/** Texts of an object's values by key, a repeated key's last one, as `JSON.parse` reads it. */
export function memberTexts(text: string): Map<string, string> {
  const found = new Map<string, string>();
  for (let at = open(text); text[at] !== "}";) {
    const keyEnd = endOf(text, at);
    const start = skip(SPACE, text, skip(SPACE, text, keyEnd) + 1);
    const end = endOf(text, start);
    found.set(JSON.parse(text.slice(at, keyEnd)) as string, text.slice(start, end));
    at = next(text, end);
  }
  return found;
}

/** Texts of a list's items. */
export function itemTexts(text: string): string[] {
  const found: string[] = [];
  for (let at = open(text); text[at] !== "]";) {
    const end = endOf(text, at);
    found.push(text.slice(at, end));
    at = next(text, end);
  }
  return found;
}

/** Start of what follows the opening bracket. */
function open(text: string): number {
  return skip(SPACE, text, skip(SPACE, text, 0) + 1);
}

/** Start of the next element after one that ends at `at`, or of the closing bracket. */
function next(text: string, at: number): number {
  const after = skip(SPACE, text, at);
  return text[after] === "," ? skip(SPACE, text, after + 1) : after;
}

function endOf(text: string, start: number): number {
  const first = text[start];
  if (first === '"') return endOfString(text, start);
  if (first !== "{" && first !== "[") return skip(SCALAR, text, start);
  let depth = 0;
  for (let at = start; ; at += 1) {
    const char = text.charCodeAt(at);
    if (char === 0x22) at = endOfString(text, at) - 1;
    else if (char === 0x7b || char === 0x5b) depth += 1;
    else if ((char === 0x7d || char === 0x5d) && --depth === 0) return at + 1;
  }
}

/** After the first quote that an even number of backslashes precedes. */
function endOfString(text: string, start: number): number {
  for (let quote = start; ;) {
    quote = text.indexOf('"', quote + 1);
    let before = quote - 1;
    while (text[before] === "\\") before -= 1;
    if ((quote - before) % 2 === 1) return quote + 1;
  }
}

function skip(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return at + (pattern.exec(text)?.[0].length ?? 0);
}
