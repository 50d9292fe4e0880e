import { SkaldError } from "../errors.ts";
import {
  getKey,
  isObject,
  parseJson,
  setKey,
  stringifyJson,
  toPointer,
  type Json,
  type JsonObject,
} from "../documents/json-value.ts";
import { bytesForm } from "../documents/materialise.ts";
import type { SqlValue } from "../store/sqlite-tables.ts";

export type { SqlValue } from "../store/sqlite-tables.ts";

/** A column that is a field of the document: the top-level one of exactly this name. */
export interface Column {
  readonly name: string;
  /** The declared type in capitals, "" without one. */
  readonly type: string;
}

/** What of a table has to do with documents. */
export interface TableShape {
  /** The collection's name as well. */
  readonly name: string;
  /** The column that is the document's key. */
  readonly key: string;
  readonly keyType: "TEXT" | "INTEGER" | "";
  /** The others that are stored, in their order. */
  readonly columns: readonly Column[];
}

/** A row by the names of its columns. */
export type Row = Readonly<Record<string, SqlValue>>;

/** What the key column holds for a document's key; undefined when the table cannot hold it. */
export function keyValueOf(
  { keyType }: Pick<TableShape, "keyType">,
  key: string,
): string | number | bigint | undefined {
  if (keyType !== "INTEGER") return key;
  if (!/^(?:0|-?[1-9]\d{0,18})$/.test(key)) return undefined;
  const value = BigInt(key);
  return BigInt.asIntN(64, value) === value ? value : undefined;
}

/** The document's key of a row's; undefined for what is none. */
export function keyOf({ keyType }: Pick<TableShape, "keyType">, value: SqlValue): string | undefined {
  if (typeof value === "string") return keyType === "INTEGER" ? undefined : value;
  if (typeof value === "bigint" || Number.isSafeInteger(value)) return String(value);
  return undefined;
}

/** A document's fields: its JSON is an object always. */
export function fieldsOf(json: string): JsonObject {
  // Only what is nested can hold digits that a double has no room for and that are to stay as they are.
  const value = MANY_DIGITS.test(json) ? parseJson(json, ANY_DEPTH) : (JSON.parse(json) as Json);
  return isObject(value) ? value : {};
}

const MANY_DIGITS = /\d{16}/;
/** Documents of other writers may be deeper than what is written here. */
const ANY_DEPTH = 1000;

/** The values of columns in a document, in their order. */
export function valuesOf(columns: readonly Column[], fields: JsonObject): SqlValue[] {
  const values: SqlValue[] = [];
  for (const { name } of columns) values.push(sqlValueOf(getKey(fields, name)));
  return values;
}

/** What a column holds for a field: see the table in specs/24-tables.md. */
export function sqlValueOf(value: Json | undefined): SqlValue {
  switch (typeof value) {
    case "string":
      return value;
    case "number":
      // A number that is bound is a REAL, a bigint is an INTEGER.
      return Number.isSafeInteger(value) ? BigInt(value) : value;
    case "bigint":
      return Number(value);
    case "boolean":
      return value ? 1n : 0n;
    default:
      return value === null || value === undefined ? null : stringifyJson(value);
  }
}

/** One step of a JSON patch (RFC 6902). */
export type PatchStep =
  | { readonly op: "add" | "replace"; readonly path: string; readonly value: Json }
  | { readonly op: "remove"; readonly path: string };

/**
 * What has to become of a document so that these columns hold these values: columns that hold theirs already, and
 * fields without a column, stay as they are. Empty when nothing has to. Throws VALUE_INVALID for what no JSON holds.
 */
export function patchOf(columns: readonly Column[], before: JsonObject, changed: Row): PatchStep[] {
  const steps: PatchStep[] = [];
  for (const column of columns) {
    const { name } = column;
    const value = Object.hasOwn(changed, name) ? changed[name] : undefined;
    if (value === undefined) continue;
    const old = getKey(before, name);
    if (sameValue(sqlValueOf(old), value)) continue;
    const path = toPointer([name]);
    if (value === null) steps.push({ op: "remove", path });
    else steps.push({ op: old === undefined ? "add" : "replace", path, value: jsonOf(column, value, old) });
  }
  return steps;
}

/** The document that a new row is. Throws VALUE_INVALID for what no JSON holds. */
export function documentOf(columns: readonly Column[], row: Row): JsonObject {
  const fields: JsonObject = {};
  for (const column of columns) {
    const value = Object.hasOwn(row, column.name) ? row[column.name] : null;
    if (value !== null && value !== undefined) setKey(fields, column.name, jsonOf(column, value, undefined));
  }
  return fields;
}

function sameValue(a: SqlValue, b: SqlValue): boolean {
  if (a instanceof Uint8Array || b instanceof Uint8Array) return false;
  if (isNumber(a) && isNumber(b)) return Number(a) === Number(b) && typeof exact(a) === typeof exact(b);
  return a === b;
}

const isNumber = (value: SqlValue): value is number | bigint =>
  typeof value === "number" || typeof value === "bigint";

/** An integer that a double has no room for stays a bigint: 2^53 + 1 is not 2^53. */
const exact = (value: number | bigint): number | bigint =>
  typeof value === "bigint" && Number.isSafeInteger(Number(value)) ? Number(value) : value;

const BOOLEAN = /^BOOL(?:EAN)?\b/;
const JSON_TYPE = /^JSONB?\b/;

/** The JSON of a column's value; `old` is what the field was. */
function jsonOf({ name, type }: Column, value: Exclude<SqlValue, null>, old: Json | undefined): Json {
  if (typeof value === "string") {
    const nested = typeof old === "object" && old !== null;
    return nested || JSON_TYPE.test(type) ? (parsed(value) ?? value) : value;
  }
  if (value instanceof Uint8Array) return bytesForm(value);
  const number = exact(value);
  if ((number === 0 || number === 1) && (typeof old === "boolean" || BOOLEAN.test(type))) return number === 1;
  if (typeof number === "number" && !Number.isFinite(number))
    throw new SkaldError("VALUE_INVALID", `The column ${name} is infinite, and JSON has no such number.`, {
      details: { column: name },
    });
  return number;
}

/** Undefined for a text that is no JSON. Throws VALUE_INVALID for JSON that no document can hold. */
function parsed(text: string): Json | undefined {
  try {
    JSON.parse(text);
  } catch {
    return undefined;
  }
  return parseJson(text, -1);
}
