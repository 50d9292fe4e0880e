import { existsSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import { SkaldError, isSkaldError } from "../errors.ts";
import { syncFolder } from "./folder.ts";
import { openSqlite, storageError, syncFile, type Sqlite } from "./sqlite.ts";

export const TABLES_FILE = "tables.sqlite";

/** Whose tables a file has. */
export interface TablesOwner {
  /** The db's uid, in hex. */
  readonly uid: string;
  readonly epoch: number;
}

/** What a file holds: the state of a branch (by its id) after a commit; `schema` is the seq of the last schema statement. */
export interface TablesHead {
  readonly branch: number;
  readonly seq: number;
  readonly schema: number;
}

/** A value as SQLite has it; an integer beyond 2^53 is a bigint. */
export type SqlValue = null | number | bigint | string | Uint8Array;

/** A prepared statement. */
export interface TablesStatement {
  run(...values: SqlValue[]): { readonly changes: number };
  get(...values: SqlValue[]): unknown;
  all(...values: SqlValue[]): unknown[];
}

/** What a statement failed with that has to do with its rows: SQLite's extended code and words. */
export interface RowFailure {
  readonly code: string;
  readonly message: string;
}

/**
 * Opens the file for writing. Throws DB_MISSING, and DERIVED_DAMAGED when it is none of ours, of another owner, of
 * another version, damaged or was not finished.
 */
export function openTables(file: string, owner: TablesOwner): TablesFile {
  let sqlite: Sqlite | undefined;
  try {
    sqlite = openSqlite(file, { kind: "tables" });
    const tables = new TablesFile(sqlite, file);
    const { uid, epoch } = tables.meta();
    if (uid !== owner.uid || epoch !== String(owner.epoch) || !tables.head())
      throw damaged(file, "it is not of this db as it is now");
    return tables;
  } catch (error) {
    sqlite?.close();
    if (isSkaldError(error) && error.code === "DB_MISSING") throw error;
    throw tablesError(error, file);
  }
}

/**
 * Makes a file beside the one that has the name: `finish` puts it in its place. What breaks off before leaves nothing
 * that is taken for a file of tables. `life` tells it from all that were there before.
 */
export function makeTables(file: string, owner: TablesOwner, life: string): TablesFile {
  const making = `${file}.new`;
  removeFiles(making);
  const sqlite = openSqlite(making, { kind: "tables", create: true });
  try {
    // It is not there before it is whole, so nothing has to be undone or to last: the half of all writes.
    sqlite.pragma("journal_mode = MEMORY");
    sqlite.pragma("synchronous = OFF");
    sqlite.pragma("cache_size = -16000");
    const put = sqlite.prepare("INSERT INTO skald_meta VALUES (?, ?)");
    put.run("uid", owner.uid);
    put.run("epoch", String(owner.epoch));
    put.run("life", life);
    return new TablesFile(sqlite, making, file);
  } catch (error) {
    sqlite.close();
    throw tablesError(error, file);
  }
}

/**
 * Makes a file of what another holds at this moment. Not by its bytes: a file that this process has open must not be
 * read past SQLite. Throws DB_MISSING, DERIVED_DAMAGED, STORAGE_FULL.
 */
export function copyTables(file: string, to: string): void {
  let sqlite: Sqlite | undefined;
  try {
    sqlite = openSqlite(file, { kind: "tables", readonly: true });
    sqlite.prepare("VACUUM INTO ?").run(to);
  } catch (error) {
    if (isSkaldError(error) && error.code === "DB_MISSING") throw error;
    throw tablesError(error, file);
  } finally {
    sqlite?.close();
  }
}

/**
 * Names of the tables, indexes and views of two files that are not the same, or whose rows are others or in another
 * order. What tells one file from another under its name is left out.
 */
export function differingTables(one: string, other: string): string[] {
  const files = [one, other].map((file) => openSqlite(file, { kind: "tables", readonly: true }));
  try {
    const [a, b] = files.map((sqlite) => new Map(sqlite.prepare(NAMED).raw().all() as [string, string][]));
    const names = [...new Set([...(a?.keys() ?? []), ...(b?.keys() ?? [])])];
    return names.filter((name) => {
      const sql = a?.get(name);
      if (sql === undefined || sql !== b?.get(name)) return true;
      if (!/^CREATE (?:VIRTUAL )?TABLE/i.test(sql) || name === "skald_meta") return false;
      const rows = files.map((sqlite) =>
        sqlite
          .prepare(`SELECT * FROM "${name.replaceAll('"', '""')}"`)
          .raw()
          .safeIntegers()
          .iterate(),
      );
      return !sameRows(rows as [Rows, Rows]);
    });
  } catch (error) {
    throw tablesError(error, one);
  } finally {
    for (const sqlite of files) sqlite.close();
  }
}

type Rows = IterableIterator<SqlValue[]>;

/** How a full-text index lies in tables of its own is its own affair. */
const NAMED = `SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND NOT EXISTS (
  SELECT 1 FROM sqlite_schema AS text WHERE text.sql LIKE 'CREATE VIRTUAL%' AND sqlite_schema.name IN
    (text.name || '_data', text.name || '_idx', text.name || '_content', text.name || '_docsize', text.name || '_config')
) ORDER BY type, name`;

function sameRows([one, other]: [Rows, Rows]): boolean {
  try {
    for (;;) {
      const [a, b] = [one.next(), other.next()];
      if (a.done || b.done) return a.done === b.done;
      if (!a.value.every((cell, i) => sameCell(cell, b.value[i] as SqlValue))) return false;
    }
  } finally {
    one.return?.();
    other.return?.();
  }
}

function sameCell(a: SqlValue, b: SqlValue): boolean {
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b) === 0;
  return Object.is(a, b);
}

/** Removes the tables of a db and all that is made of them; the next use makes them anew. */
export function dropTables(folder: string): void {
  const file = path.join(folder, TABLES_FILE);
  const points = path.join(folder, POINTS_FOLDER);
  if (![file, `${file}.new`, `${file}-wal`, points].some((name) => existsSync(name))) return;
  dropFile(file);
  rmSync(points, { recursive: true, force: true });
  syncFolder(folder);
}

/** Whether a db has tables: SQL was used on it. */
export function hasTables(folder: string): boolean {
  return existsSync(path.join(folder, TABLES_FILE));
}

/** Where files of other points than the head of `main` are kept. */
export const POINTS_FOLDER = "points";

/** Removes one file, finished or not. */
export function dropFile(file: string): void {
  for (const name of [file, `${file}.new`]) removeFiles(name);
}

function removeFiles(file: string): void {
  // The write-ahead log goes first: beside another file it would be taken for a part of it.
  for (const name of [`${file}-wal`, `${file}-shm`, `${file}-journal`, file]) rmSync(name, { force: true });
}

/** A file of tables that is open for writing. What it throws is DERIVED_DAMAGED or STORAGE_FULL, but for `attempt`. */
export class TablesFile {
  /** Where it is once it is finished. */
  readonly file: string;
  readonly #sqlite: Sqlite;
  readonly #at: string;

  constructor(sqlite: Sqlite, at: string, file = at) {
    this.#sqlite = sqlite;
    this.#at = at;
    this.file = file;
    sqlite.pragma("foreign_keys = OFF");
    sqlite.pragma("recursive_triggers = OFF");
  }

  /** Undefined for one that is not finished. */
  head(): TablesHead | undefined {
    return this.#named(() => this.#sqlite.prepare("SELECT branch, seq, schema FROM skald_head").get()) as
      TablesHead | undefined;
  }

  meta(): Readonly<Record<string, string | undefined>> {
    const rows = this.#named(() => this.#sqlite.prepare("SELECT name, value FROM skald_meta").raw().all());
    return Object.fromEntries(rows as [string, string][]);
  }

  begin(): void {
    this.#named(() => this.#sqlite.exec("BEGIN IMMEDIATE"));
  }

  /** Ends what `begin` began: from now on the file holds this. */
  commit(head: TablesHead): void {
    this.#named(() => {
      const put = this.#sqlite.prepare("INSERT OR REPLACE INTO skald_head VALUES (1, ?, ?, ?)");
      put.run(head.branch, head.seq, head.schema);
      this.#sqlite.exec("COMMIT");
    });
  }

  rollback(): void {
    if (this.#sqlite.inTransaction) this.#named(() => this.#sqlite.exec("ROLLBACK"));
  }

  exec(sql: string): void {
    this.#named(() => this.#sqlite.exec(sql));
  }

  prepare(sql: string): TablesStatement {
    return this.#named(() => this.#sqlite.prepare(sql));
  }

  /** The same for values: rows come as lists, integers as bigint. */
  prepareValues(sql: string): TablesStatement {
    return this.#named(() => this.#sqlite.prepare(sql).raw().safeIntegers());
  }

  /** Runs what may fail for the row that it writes, and gives how. Throws what has nothing to do with the row. */
  attempt(work: () => void): RowFailure | undefined {
    try {
      work();
      return undefined;
    } catch (error) {
      const failure = error as RowFailure;
      if (OF_A_ROW.test(failure.code)) return { code: failure.code, message: failure.message };
      throw tablesError(error, this.file);
    }
  }

  /** Runs work of which nothing stays when it fails as `attempt` says. */
  attemptWhole(work: () => void): RowFailure | undefined {
    this.exec("SAVEPOINT attempt");
    const failure = this.attempt(work);
    if (failure) this.exec("ROLLBACK TO attempt");
    this.exec("RELEASE attempt");
    return failure;
  }

  /**
   * Gives freed space back and moves everything that was written to its place. False when somebody who reads keeps
   * some of what was removed from going.
   */
  tidy(): boolean {
    return this.#named(() => {
      this.#sqlite.pragma("incremental_vacuum");
      const [row] = this.#sqlite.pragma("wal_checkpoint(TRUNCATE)") as { busy: number }[];
      return row?.busy === 0;
    });
  }

  /** Puts a file that was made in the place of whatever has its name, and closes it: from then on it can be opened. */
  finish(): void {
    this.close();
    this.#named(() => {
      syncFile(this.#at);
      removeFiles(this.file);
      renameSync(this.#at, this.file);
      syncFolder(path.dirname(this.file));
    });
  }

  close(): void {
    this.#named(() => this.#sqlite.close());
  }

  #named<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw tablesError(error, this.file);
    }
  }
}

/** What a row, or a statement over rows, can fail with, and nothing is wrong with the file. */
const OF_A_ROW = /^SQLITE_(?:CONSTRAINT|ERROR|MISMATCH|TOOBIG|RANGE)/;

const OF_THE_FILE = /^SQLITE_(?:CORRUPT|NOTADB|IOERR|CANTOPEN|READONLY|FORMAT|SCHEMA|CONSTRAINT)/;

/**
 * What writing a file failed with, where no row can be to blame: whatever SQLite says of it, it is not as it was made.
 */
export function writingError(error: unknown, file: string): unknown {
  if (isSkaldError(error)) return error;
  const found = tablesError(error, file);
  const code = (found as { code?: unknown } | null)?.code;
  return typeof code === "string" && code.startsWith("SQLITE_")
    ? damaged(file, (error as Error).message, error)
    : found;
}

/** All that can be wrong with a derived file is mended in one way, unless the disk is full. */
function tablesError(error: unknown, file: string): unknown {
  const found = storageError(error, file);
  if (isSkaldError(found) && (found.code === "STORAGE_FULL" || found.code === "DERIVED_DAMAGED"))
    return found;
  const code = (error as { code?: unknown } | null)?.code;
  if (typeof code !== "string") return error;
  // Nothing is wrong with a file that somebody else is writing.
  if (code.startsWith("SQLITE_BUSY"))
    return new SkaldError("UNAVAILABLE", `The file ${file} is being written.`, { cause: error });
  if (code.startsWith("SQLITE_") && !OF_THE_FILE.test(code)) return error;
  return damaged(file, (error as Error).message, error);
}

function damaged(file: string, what: string, cause?: unknown): SkaldError {
  return new SkaldError("DERIVED_DAMAGED", `The file ${file} cannot be used: ${what}.`, {
    details: { file },
    ...(cause === undefined ? {} : { cause }),
  });
}
