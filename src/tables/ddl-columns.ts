import { checkExpression } from "./ddl-expressions.ts";
import { schemaInvalid } from "./ddl-refusal.ts";
import type { Column, TableShape } from "./rows.ts";
import { is, isName, type Token } from "./tokens.ts";

/** What a CREATE TABLE says of how rows and documents go together. */
export type DeclaredTable = Omit<TableShape, "name">;

/** Takes apart what stands between the brackets of a CREATE TABLE, or the one column of an ALTER TABLE. Throws SCHEMA_INVALID. */
export function columnsIn(body: readonly Token[], only?: "column"): DeclaredTable {
  const columns: Column[] = [];
  const keys: string[] = [];
  const parts = splitAtCommas(body);
  for (const part of parts) {
    const [first] = part;
    if (!isName(first)) throw schemaInvalid("A column has a name.");
    if (only === undefined && CONSTRAINTS.has(first.word)) keys.push(...keysOf(part));
    else {
      const column = columnOf(part);
      columns.push(column);
      if (hasPair(part, "PRIMARY", "KEY")) keys.push(column.name);
    }
    checkExpressions(part);
  }
  if (only !== undefined) {
    if (columns.length !== 1 || keys.length > 0)
      throw schemaInvalid("A further column is no key.", "Make another table.");
    return { key: "", keyType: "", columns };
  }
  const [key] = keys;
  if (key === undefined || keys.length > 1)
    throw schemaInvalid(
      keys.length > 1 ? "The PRIMARY KEY has several columns." : "The table has no PRIMARY KEY.",
      "One column is the PRIMARY KEY: it is the document's key, as in id TEXT PRIMARY KEY.",
    );
  for (const part of parts)
    if (part.some(({ word }) => word === "COLLATE") && (hasPair(part, "PRIMARY", "KEY") || isOf(part, key)))
      throw schemaInvalid(
        "The PRIMARY KEY has a COLLATE.",
        "Keys of documents are told apart by every letter.",
      );
  const column = columns.find(({ name }) => name.toLowerCase() === key.toLowerCase());
  const type = column?.type ?? "";
  if (!column || (type !== "TEXT" && type !== "INTEGER" && type !== ""))
    throw schemaInvalid(
      `The key ${key} is ${type === "" ? "no column" : type}.`,
      "The PRIMARY KEY is declared TEXT or INTEGER: it is the document's key.",
    );
  return { key: column.name, keyType: type, columns: columns.filter((other) => other !== column) };
}

const isOf = ([first]: readonly Token[], column: string): boolean =>
  first !== undefined && !CONSTRAINTS.has(first.word) && first.value.toLowerCase() === column.toLowerCase();

function columnOf(part: readonly Token[]): Column {
  const [name, ...rest] = part as [Token, ...Token[]];
  const type: string[] = [];
  let depth = 0;
  for (const token of rest) {
    if (is(token, "(")) depth += 1;
    if (depth === 0 && (!isName(token) || ENDS_TYPE.has(token.word))) break;
    const sized = token.kind === "sign" || token.kind === "number";
    if (sized) type.push(`${type.pop() ?? ""}${token.text}`);
    else type.push(token.value);
    if (is(token, ")")) depth -= 1;
  }
  return { name: name.value, type: type.join(" ").toUpperCase() };
}

/** The columns that a constraint of the table makes its key. */
function keysOf(part: readonly Token[]): string[] {
  const at = part.findIndex((token, i) => is(token, "PRIMARY") && is(part[i + 1], "KEY"));
  if (at < 0) return [];
  if (!is(part[at + 2], "(")) throw schemaInvalid("The PRIMARY KEY names its column.");
  const end = part.findIndex((token, i) => i > at && is(token, ")"));
  return splitAtCommas(part.slice(at + 3, end)).map(([name]) => {
    if (!isName(name)) throw schemaInvalid("The PRIMARY KEY names a column.");
    return name.value;
  });
}

function checkExpressions(part: readonly Token[]): void {
  part.forEach((token, i) => {
    if (token.word === "AUTOINCREMENT")
      throw schemaInvalid(
        "Keys are not counted.",
        "Leave AUTOINCREMENT out: a document's key is given to it.",
      );
    const generated =
      token.word === "GENERATED" || (is(token, "AS") && is(part[i + 1], "(") && depthAt(part, i) === 0);
    if (generated && i > 0)
      throw schemaInvalid("A column is a field of the document, never worked out.", "Work it out in a view.");
    if ((is(token, "CHECK") || is(token, "DEFAULT")) && is(part[i + 1], "(") && depthAt(part, i) === 0)
      checkExpression(part.slice(i + 2, endOf(part, i + 1)), "row");
  });
}

function depthAt(part: readonly Token[], end: number): number {
  let depth = 0;
  for (const token of part.slice(0, end)) depth += is(token, "(") ? 1 : is(token, ")") ? -1 : 0;
  return depth;
}

/** Where the bracket that stands at `from` is closed. */
function endOf(part: readonly Token[], from: number): number {
  let depth = 0;
  for (let at = from; at < part.length; at += 1) {
    depth += is(part[at], "(") ? 1 : is(part[at], ")") ? -1 : 0;
    if (depth === 0) return at;
  }
  return part.length;
}

const hasPair = (part: readonly Token[], a: string, b: string): boolean =>
  part.some((token, i) => is(token, a) && is(part[i + 1], b) && depthAt(part, i) === 0);

/** What may stand behind the columns: words in capitals. Throws SCHEMA_INVALID. */
export function tableOptions(tokens: readonly Token[]): ReadonlySet<string> {
  const options = new Set<string>();
  if (tokens.length === 0) return options;
  for (const part of splitAtCommas(tokens)) {
    const option = part.map(({ word }) => word).join(" ");
    if (option !== "STRICT" && option !== "WITHOUT ROWID")
      throw schemaInvalid("Behind the columns stand STRICT and WITHOUT ROWID or nothing.");
    options.add(option);
  }
  return options;
}

/** The parts between commas that stand in no brackets. */
export function splitAtCommas(tokens: readonly Token[]): Token[][] {
  const parts: Token[][] = [[]];
  let depth = 0;
  for (const token of tokens) {
    if (is(token, "(")) depth += 1;
    else if (is(token, ")")) depth -= 1;
    if (depth === 0 && is(token, ",")) parts.push([]);
    else parts.at(-1)?.push(token);
  }
  return parts;
}

const CONSTRAINTS: ReadonlySet<string> = new Set("CONSTRAINT PRIMARY UNIQUE CHECK FOREIGN".split(" "));
const ENDS_TYPE: ReadonlySet<string> = new Set(
  "CONSTRAINT PRIMARY NOT NULL UNIQUE CHECK DEFAULT COLLATE REFERENCES GENERATED AS DEFERRABLE ON AUTOINCREMENT".split(
    " ",
  ),
);
