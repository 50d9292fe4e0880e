import { statSync } from "node:fs";
import { openForStatements } from "../store/sqlite-query.ts";
import { openForTrial } from "../store/sqlite-trial.ts";
import type { Sqlite, Statement } from "../store/sqlite.ts";
import type { Column, TableShape } from "../tables/rows.ts";
import { quoted } from "../tables/tokens.ts";
import { CLEAR_NOTE, NOTE_TABLE, READ_NOTE, triggersOf, type Noted } from "./capture.ts";
import type { FilledTable } from "./fill-key.ts";
import { HIDDEN } from "./open-tables.ts";
import type { Openable } from "./walls.ts";

/** A table that statements may write: a collection's, or `documents` itself. */
export interface TrialTable extends TableShape {
  /** Among all of them; `documents` is 0. */
  readonly place: number;
  /** Root pages of indexes that tell rows apart by something else than the key. */
  readonly unique: ReadonlySet<number>;
  readonly filled: FilledTable;
}

/**
 * A tables file open for statements that write, with triggers that note what they do. One for each state of the
 * schema: the triggers are of the connection, and the file is not changed by them.
 */
export class TrialTables {
  readonly sqlite: Sqlite;
  readonly tables: readonly TrialTable[];
  readonly openable: Openable;
  /** Makes the key of a row that comes without one, for the table at a place. */
  newKey: (place: number) => string | bigint = () => "";
  /** Reads the file as it is outside of the trial. */
  readonly #outside: Sqlite;
  readonly #before: Statement;
  readonly #file: string;
  readonly #inode: string;
  readonly #version: number;
  readonly #readVersion: Statement;
  readonly #head: Statement;
  readonly #readNote: Statement;
  readonly #clearNote: Statement;
  readonly #made = new Map<string, Statement>();

  constructor(file: string) {
    this.#file = file;
    this.#inode = inodeOf(file);
    this.sqlite = openForTrial(file);
    this.#outside = openForStatements(file);
    try {
      const { sqlite } = this;
      this.#before = this.#outside
        .prepare("SELECT value FROM documents WHERE collection = ? AND key = ?")
        .pluck();
      this.#readVersion = sqlite.prepare("PRAGMA schema_version").pluck();
      this.#version = this.#readVersion.get() as number;
      this.#head = sqlite.prepare("SELECT branch, seq FROM skald_head").raw();
      // Registered once: SQLite prepares every statement anew when a function is put in the place of another.
      sqlite.function("skald_key", { safeIntegers: true }, (place) => this.newKey(Number(place)));
      this.openable = openableOf(sqlite);
      this.tables = tablesIn(sqlite);
      sqlite.exec(NOTE_TABLE);
      for (const { name, key, place } of this.tables)
        for (const trigger of triggersOf(name, key, place)) sqlite.exec(trigger);
      this.#readNote = sqlite.prepare(READ_NOTE).raw().safeIntegers();
      this.#clearNote = sqlite.prepare(CLEAR_NOTE);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Whether another file has taken its place, or its schema is another by now. Outside of a transaction. */
  get stale(): boolean {
    return inodeOf(this.#file) !== this.#inode || this.#readVersion.get() !== this.#version;
  }

  /** Within a transaction. */
  head(): { readonly branch: number; readonly seq: number } {
    const [branch, seq] = this.#head.get() as [number, number];
    return { branch, seq };
  }

  /** The table of a name as statements write it: without regard to the case of ASCII letters. */
  table(name: string): TrialTable | undefined {
    const wanted = lower(name);
    return this.tables.find((table) => lower(table.name) === wanted);
  }

  /** What was noted since it was last asked for. */
  takeNote(): Noted[] {
    const noted = this.#readNote.all() as unknown as Noted[];
    if (noted.length > 0) this.#clearNote.run();
    return noted;
  }

  clearNote(): void {
    this.#clearNote.run();
  }

  /** A statement of our own; rows come as lists, integers as bigint. */
  own(sql: string): Statement {
    let made = this.#made.get(sql);
    if (!made) {
      made = this.sqlite.prepare(sql);
      if (made.reader) made.raw().safeIntegers();
      this.#made.set(sql, made);
    }
    return made;
  }

  /** The JSON of a document before anything was tried. Within a transaction, which keeps it as it is. */
  documentBefore(collection: string, key: string): string | undefined {
    return this.#before.get(collection, key) as string | undefined;
  }

  close(): void {
    this.#outside.close();
    this.sqlite.close();
  }
}

const lower = (name: string): string => name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());

function inodeOf(file: string): string {
  const stat = statSync(file, { throwIfNoEntry: false });
  return stat === undefined ? "" : `${stat.dev}-${stat.ino}`;
}

const FOLLOWING: ReadonlySet<string> = new Set(["commits", "changes", "schema_violations"]);

interface Listed {
  readonly schema: string;
  readonly name: string;
  readonly type: string;
}

interface ColumnInfo {
  readonly name: string;
  readonly type: string;
  readonly dflt_value: string | null;
  readonly pk: number;
  /** 2 and 3: worked out from others. */
  readonly hidden: number;
}

/** What may be opened: every table that statements see. */
function openableOf(sqlite: Sqlite): Openable {
  const virtual = new Map<string, string>();
  const shadows = new Set<string>();
  for (const { schema, name, type } of sqlite.pragma("main.table_list") as Listed[]) {
    if (schema !== "main") continue;
    if (type === "shadow") shadows.add(name);
    if (type === "virtual" && !HIDDEN.test(name)) addVirtual(name);
  }
  for (const name of ["json_each", "json_tree", "jsonb_each", "jsonb_tree"]) addVirtual(name);
  const roots = new Map<number, string>();
  const rows = sqlite
    .prepare("SELECT rootpage, tbl_name FROM main.sqlite_schema WHERE rootpage > 1")
    .raw()
    .all();
  for (const [root, table] of rows as [number, string][])
    if (!shadows.has(table) && !HIDDEN.test(table)) roots.set(root, table);
  return { roots, virtual };

  function addVirtual(name: string): void {
    const program = sqlite
      .prepare(`EXPLAIN SELECT 1 FROM ${quoted(name)}`)
      .raw()
      .all() as unknown[][];
    for (const [, opcode, , , , p4] of program) if (opcode === "VOpen") virtual.set(String(p4), name);
  }
}

function tablesIn(sqlite: Sqlite): TrialTable[] {
  const names = (sqlite.pragma("main.table_list") as Listed[])
    .filter(({ schema, name, type }) => schema === "main" && type === "table" && !HIDDEN.test(name))
    .map(({ name }) => name)
    .filter((name) => name !== DOCUMENTS && !FOLLOWING.has(name))
    .toSorted();
  return [documents(sqlite), ...names.map((name, i) => tableOf(sqlite, name, i + 1))];
}

export const DOCUMENTS = "documents";

function documents(sqlite: Sqlite): TrialTable {
  const columns: Column[] = [
    { name: "value", type: "TEXT" },
    { name: "collection", type: "TEXT" },
  ];
  const missing = new Map([
    ["seq", "0"],
    ["key", "skald_key(0)"],
  ]);
  const filled = { columns: ["collection", "key", "value", "seq"], missing };
  return {
    name: DOCUMENTS,
    key: "key",
    keyType: "TEXT",
    columns,
    place: 0,
    unique: uniqueIn(sqlite, DOCUMENTS),
    filled,
  };
}

function tableOf(sqlite: Sqlite, name: string, place: number): TrialTable {
  const infos = sqlite.pragma(`main.table_xinfo(${quoted(name)})`) as ColumnInfo[];
  const key = infos.find(({ pk }) => pk > 0) as ColumnInfo;
  const type = key.type.toUpperCase();
  const own = infos.filter(({ hidden }) => hidden === 0);
  const fills = key.dflt_value === null;
  return {
    name,
    key: key.name,
    keyType: type === "INTEGER" || type === "TEXT" ? type : "",
    columns: own
      .filter((column) => column !== key)
      .map((column) => ({ name: column.name, type: column.type.toUpperCase() })),
    place,
    unique: uniqueIn(sqlite, name),
    filled: {
      columns: own.map((column) => column.name),
      missing: new Map(fills ? [[key.name, `skald_key(${place})`]] : []),
    },
  };
}

/** Indexes that refuse a row for another's sake, but the one of the key. */
function uniqueIn(sqlite: Sqlite, table: string): ReadonlySet<number> {
  const list = sqlite.pragma(`main.index_list(${quoted(table)})`) as {
    name: string;
    unique: number;
    origin: string;
  }[];
  const root = sqlite
    .prepare("SELECT rootpage FROM main.sqlite_schema WHERE type = 'index' AND name = ?")
    .pluck();
  return new Set(
    list
      .filter(({ unique, origin }) => unique === 1 && origin !== "pk")
      .map(({ name }) => root.get(name) as number),
  );
}
