import { blake3 } from "../ids/hash.ts";
import type { RowFailure, SqlValue, TablesFile, TablesStatement } from "../store/sqlite-tables.ts";
import { ftsColumns, ftsSql, type CreateFts } from "./ddl.ts";
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
    this.#texts = texts.map((text) => new FullText(file, text, shape));
  }

  /** Puts a document in that is not there; gives why it cannot be. `alone` leaves full text to `fillTexts`. */
  put(key: string, json: string, alone?: "alone"): Violation | undefined {
    const { shape } = this;
    const keyValue = keyValueOf(shape, key);
    if (keyValue === undefined)
      return { code: "KEY", detail: `the key ${JSON.stringify(key)} is no INTEGER` };
    const values: SqlValue[] = [bound(keyValue), ...valuesOf(shape.columns, fieldsOf(json))];
    const failure = this.#file.attempt(() => this.#insert.run(...values));
    if (failure) return violationOf(failure);
    if (!alone) for (const text of this.#texts) text.put(key, bound(keyValue));
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

  /** Puts every row into the full-text tables, which are empty. */
  fillTexts(): void {
    for (const text of this.#texts) text.fill();
  }

  /** What was put and removed goes into the full-text tables. */
  flush(): void {
    for (const text of this.#texts) text.flush();
  }

  /** Takes out of the full-text tables what is left in them of rows that are not there any more, or were others. */
  cleanTexts(): void {
    for (const text of this.#texts) text.clean();
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

/**
 * A full-text table: kept in step with the rows of its table, under numbers that follow from their keys alone. They are
 * written in the order of these numbers, many at once: FTS5 begins a part of its index whenever one is smaller than
 * the one before, and has to merge all of them.
 */
class FullText {
  readonly #file: TablesFile;
  readonly #text: CreateFts;
  readonly #shape: TableShape;
  readonly #places: readonly number[];
  readonly #insert: TablesStatement;
  readonly #remove: TablesStatement;
  readonly #select: TablesStatement;
  /** By number: the key of the row that is to be there, and whether something is that has to go. */
  readonly #waiting = new Map<bigint, { key?: SqlValue; was: boolean }>();

  constructor(file: TablesFile, text: CreateFts, shape: TableShape) {
    this.#file = file;
    this.#text = text;
    this.#shape = shape;
    const of = [shape.key, ...shape.columns.map(({ name }) => name)];
    const all = ftsColumns(shape.key, text.columns);
    this.#places = all.map((column) => of.findIndex((other) => other.toLowerCase() === column.toLowerCase()));
    const marks = all.map(() => ", ?").join("");
    const name = quoted(text.name);
    this.#insert = file.prepare(
      `INSERT OR REPLACE INTO ${name} (rowid, ${all.map(quoted).join(", ")}) VALUES (?${marks})`,
    );
    this.#remove = file.prepare(`DELETE FROM ${name} WHERE rowid = ?`);
    // What the table has, after its affinities, and not what was put into it.
    this.#select = file.prepareValues(
      `SELECT ${of.map(quoted).join(", ")} FROM ${quoted(shape.name)} WHERE ${quoted(shape.key)} = ?`,
    );
  }

  /** `value` is the key as the table has it. */
  put(key: string, value: SqlValue): void {
    const number = numberOf(key);
    const was = this.#waiting.get(number)?.was ?? false;
    this.#waiting.set(number, { key: value, was });
  }

  remove(key: string): void {
    const number = numberOf(key);
    const waiting = this.#waiting.get(number);
    this.#waiting.set(number, { was: waiting?.was ?? true });
  }

  flush(): void {
    const numbers = [...this.#waiting.keys()].sort(ascending);
    for (const number of numbers) {
      const { key, was } = this.#waiting.get(number) as { key?: SqlValue; was: boolean };
      if (was) this.#remove.run(number);
      if (key !== undefined) this.#write(number, key);
    }
    this.#waiting.clear();
  }

  /** Faster by far than taking its rows out. */
  clear(): void {
    this.#waiting.clear();
    this.#file.exec(`DROP TABLE ${quoted(this.#text.name)}`);
    this.#file.exec(ftsSql(this.#text, this.#shape.key));
  }

  fill(): void {
    const [table, key] = [quoted(this.#shape.name), quoted(this.#shape.key)];
    const keys = this.#file.prepareValues(`SELECT ${key} FROM ${table}`).all() as [string | bigint][];
    const numbers = keys.map(([value]) => ({ value, number: numberOf(String(value)) }));
    numbers.sort((a, b) => ascending(a.number, b.number));
    for (const { value, number } of numbers) this.#write(number, value);
  }

  clean(): void {
    const name = quoted(this.#text.name);
    this.#file.exec(`INSERT INTO ${name} (${name}) VALUES ('rebuild')`);
  }

  #write(number: bigint, key: SqlValue): void {
    const values = this.#select.get(key) as SqlValue[];
    this.#insert.run(number, ...this.#places.map((place) => values[place] ?? null));
  }
}

const ascending = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0);

/** 62 bits of the key's hash: the same on every machine, whatever came before. */
export function numberOf(key: string): bigint {
  const digest = blake3(Buffer.from(key));
  return Buffer.from(digest.buffer, digest.byteOffset, 8).readBigUInt64BE() >> 2n;
}
