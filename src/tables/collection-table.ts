import { blake3 } from "../ids/hash.ts";
import type { RowFailure, SqlValue, TablesFile, TablesStatement } from "../store/sqlite-tables.ts";
import { ftsColumns, type CreateFts } from "./ddl.ts";
import { fieldsOf, keyValueOf, valuesOf, type Row, type TableShape } from "./rows.ts";
import { quoted } from "./tokens.ts";

/** Why a document is not in its table. */
export interface Violation {
  readonly code: string;
  readonly detail: string;
}

/** A collection's table in an open file, with the full-text tables over it. */
export class CollectionTable {
  readonly shape: TableShape;
  readonly #file: TablesFile;
  readonly #names: readonly string[];
  readonly #insert: TablesStatement;
  readonly #remove: TablesStatement;
  readonly #select: TablesStatement;
  readonly #texts: readonly FullText[];

  constructor(file: TablesFile, shape: TableShape, texts: readonly CreateFts[]) {
    this.shape = shape;
    this.#file = file;
    this.#names = [shape.key, ...shape.columns.map(({ name }) => name)];
    const [table, key] = [quoted(shape.name), quoted(shape.key)];
    const columns = this.#names.map(quoted).join(", ");
    const marks = this.#names.map(() => "?").join(", ");
    // OR ABORT goes before whatever a constraint of the user's says that is to happen.
    this.#insert = file.prepare(`INSERT OR ABORT INTO ${table} (${columns}) VALUES (${marks})`);
    this.#remove = file.prepare(`DELETE FROM ${table} WHERE ${key} = ?`);
    this.#select = file.prepareValues(`SELECT ${columns} FROM ${table} WHERE ${key} = ?`);
    this.#texts = texts.map((text) => new FullText(file, text, this.#names));
  }

  /** Puts a document in that is not there; gives why it cannot be. */
  put(key: string, json: string): Violation | undefined {
    const { shape } = this;
    const keyValue = keyValueOf(shape, key);
    if (keyValue === undefined)
      return { code: "KEY", detail: `the key ${JSON.stringify(key)} is no INTEGER` };
    const values: SqlValue[] = [bound(keyValue), ...valuesOf(shape.columns, fieldsOf(json))];
    const failure = this.#file.attempt(() => this.#insert.run(...values));
    if (failure) return violationOf(failure);
    for (const text of this.#texts) text.put(key, values);
    return undefined;
  }

  /** Whether there was one. */
  remove(key: string): boolean {
    const keyValue = keyValueOf(this.shape, key);
    if (keyValue === undefined || this.#remove.run(bound(keyValue)).changes === 0) return false;
    for (const text of this.#texts) text.remove(key);
    return true;
  }

  row(key: string): Row | undefined {
    const keyValue = keyValueOf(this.shape, key);
    const row = keyValue === undefined ? undefined : this.#select.get(bound(keyValue));
    return row === undefined ? undefined : rowOf(this.#names, row as SqlValue[]);
  }

  clear(): void {
    this.#file.exec(`DELETE FROM ${quoted(this.shape.name)}`);
    for (const text of this.#texts) text.clear();
  }
}

/** Names and values as a row; integers are bigint only where a number has no room for them. */
export function rowOf(names: readonly string[], values: readonly SqlValue[]): Row {
  const row: Record<string, SqlValue> = {};
  names.forEach((name, i) => {
    const value = values[i] as SqlValue;
    const plain = typeof value === "bigint" && Number.isSafeInteger(Number(value)) ? Number(value) : value;
    Object.defineProperty(row, name, { value: plain, enumerable: true, configurable: true, writable: true });
  });
  return row;
}

/** A number that is bound is a REAL. */
const bound = (key: string | number | bigint): SqlValue => (typeof key === "number" ? BigInt(key) : key);

const CODES: Readonly<Record<string, string>> = {
  SQLITE_CONSTRAINT_NOTNULL: "NOT_NULL",
  SQLITE_CONSTRAINT_UNIQUE: "UNIQUE",
  SQLITE_CONSTRAINT_PRIMARYKEY: "UNIQUE",
  SQLITE_CONSTRAINT_DATATYPE: "TYPE",
  SQLITE_MISMATCH: "TYPE",
};

/** What else a row can fail with is an expression of the schema's that does not work out. */
function violationOf({ code, message }: RowFailure): Violation {
  return { code: CODES[code] ?? "CHECK", detail: message };
}

/** A full-text table: kept in step with the rows of its table, under numbers that follow from their keys alone. */
class FullText {
  readonly #file: TablesFile;
  readonly #name: string;
  readonly #places: readonly number[];
  readonly #insert: TablesStatement;
  readonly #remove: TablesStatement;

  constructor(file: TablesFile, { name, columns }: CreateFts, of: readonly string[]) {
    this.#file = file;
    this.#name = quoted(name);
    const all = ftsColumns(of[0] as string, columns);
    this.#places = all.map((column) => of.findIndex((other) => other.toLowerCase() === column.toLowerCase()));
    const marks = all.map(() => ", ?").join("");
    this.#insert = file.prepare(
      `INSERT OR REPLACE INTO ${this.#name} (rowid, ${all.map(quoted).join(", ")}) VALUES (?${marks})`,
    );
    this.#remove = file.prepare(`DELETE FROM ${this.#name} WHERE rowid = ?`);
  }

  put(key: string, values: readonly SqlValue[]): void {
    this.#insert.run(numberOf(key), ...this.#places.map((place) => values[place] ?? null));
  }

  remove(key: string): void {
    this.#remove.run(numberOf(key));
  }

  clear(): void {
    this.#file.exec(`DELETE FROM ${this.#name}`);
  }
}

/** 62 bits of the key's hash: the same on every machine, whatever came before. */
export function numberOf(key: string): bigint {
  const digest = blake3(Buffer.from(key));
  return Buffer.from(digest.buffer, digest.byteOffset, 8).readBigUInt64BE() >> 2n;
}
