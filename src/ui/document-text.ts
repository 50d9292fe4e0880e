import { isObject, printJson, readJson, type JsonObject } from "./exact-json.ts";

export interface TextError {
  readonly message: string;
  readonly offset: number;
  readonly line: number;
  readonly column: number;
}

export type Read = { readonly value: JsonObject } | { readonly error: TextError };

/** A document as it is edited. `notObject` is what is said of a text that is JSON and no object. */
export function readDocument(text: string, notObject: string): Read {
  try {
    const value = readJson(text);
    return isObject(value) ? { value } : { error: errorAt(text, 0, notObject) };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { error: errorAt(text, firstFault(text), plainMessage(message)) };
  }
}

export function documentText(value: unknown): string {
  return `${printJson(value, 2)}\n`;
}

/** Without where it is, which every engine says in another way. */
function plainMessage(message: string): string {
  return message
    .replace(/^JSON\.parse: /, "")
    .replace(/,? ?(?:\.\.\.)?"[^]*" is not valid JSON$/, "")
    .replace(/ (?:in JSON )?at (?:position|line) [^]*$/, "");
}

function errorAt(text: string, offset: number, message: string): TextError {
  const before = text.slice(0, offset).split("\n");
  return { message, offset, line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}

const SPACE = /[ \t\n\r]*/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const SCALAR = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;

/** Where a text stops being JSON: the place of the first character that cannot stand there. */
export function firstFault(text: string): number {
  let at = 0;
  const skip = (pattern: RegExp): boolean => {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (!found || found[0] === "") return false;
    at += found[0].length;
    return true;
  };
  /** What is open: "}" or "]". */
  const open: string[] = [];
  let expects: "value" | "first" | "key" | "after" = "value";
  for (;;) {
    skip(SPACE);
    const char = text[at];
    if (char === undefined) return at;
    if (expects === "after") {
      const closes = open.at(-1);
      if (closes === undefined) return at;
      if (char === closes) open.pop();
      else if (char === ",") expects = closes === "}" ? "key" : "value";
      else return at;
      at += 1;
      continue;
    }
    if (expects === "first" && char === open.at(-1)) {
      open.pop();
      at += 1;
      expects = "after";
      continue;
    }
    if (expects === "key" || (expects === "first" && open.at(-1) === "}")) {
      if (!skip(STRING)) return at;
      skip(SPACE);
      if (text[at] !== ":") return at;
      at += 1;
      expects = "value";
      continue;
    }
    if (char === "{" || char === "[") {
      open.push(char === "{" ? "}" : "]");
      at += 1;
      expects = "first";
    } else if (skip(STRING) || skip(SCALAR)) expects = "after";
    else return at;
  }
}
