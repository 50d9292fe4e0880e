import { usageError } from "./failure.ts";

/**
 * A word of the command line as the JSON text of an argument: a JSON number, `null`, `true`, `false` and a JSON
 * string in its quotes are that; anything else is the text that it is. Digits are never read and written again.
 */
export function argumentJson(word: string): string {
  if (/^(?:null|true|false|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)$/.test(word)) return word;
  if (/^".*"$/s.test(word)) {
    try {
      JSON.parse(word);
      return word;
    } catch {
      // A text that happens to stand between quotes.
    }
  }
  return JSON.stringify(word);
}

/** The `args` of a statement: those in order, or those with names; undefined for none. Throws USAGE. */
export function argumentsJson(words: readonly string[], named: readonly string[]): string | undefined {
  if (named.length === 0) return words.length === 0 ? undefined : `[${words.map(argumentJson).join()}]`;
  if (words.length > 0) throw usageError("A statement takes arguments in their order or --param, not both.");
  const members = new Map<string, string>();
  for (const given of named) {
    const [, name, value] = /^[:@$]?([^=]+)=([^]*)$/.exec(given) ?? [];
    if (name === undefined || value === undefined)
      throw usageError(`--param takes name=value, not "${given}".`);
    if (members.has(name)) throw usageError(`--param ${name} is given twice.`);
    members.set(name, argumentJson(value));
  }
  return `{${[...members].map(([name, text]) => `${JSON.stringify(name)}:${text}`).join()}}`;
}

/** What SQLite takes for a text, a name, a comment or anything else; a `;` within one of the first is no end. */
const PIECE = /'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|\/\*[^]*?(?:\*\/|$)|;|[^]/g;

/** The statements of a file, each without its `;`. Comments alone are no statement. */
export function statementsOf(text: string): string[] {
  const found: string[] = [];
  let statement = "";
  let says = false;
  for (const [piece] of text.matchAll(PIECE)) {
    if (piece === ";") {
      if (says) found.push(statement.trim());
      statement = "";
      says = false;
      continue;
    }
    statement += piece;
    says ||= !/^(?:--|\/\*|\s)/.test(piece);
  }
  if (says) found.push(statement.trim());
  return found;
}

/** Whether a statement makes, alters or drops something, by its first word behind comments. */
export function isOfSchema(sql: string): boolean {
  return /^(?:\s|--[^\n]*(?:\n|$)|\/\*[^]*?\*\/)*(?:create|alter|drop)\b/i.test(sql);
}
