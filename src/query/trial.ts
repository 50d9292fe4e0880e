import { SkaldError } from "../errors.ts";
import { isObject, parseJson, stringifyJson, type JsonObject } from "../documents/json-value.ts";
import { checkCollection, checkKey, parseDocName } from "../ids/names.ts";
import {
  documentOf,
  fieldsOf,
  keyOf,
  keyValueOf,
  patchOf,
  valuesOf,
  type Row,
  type SqlValue,
} from "../tables/rows.ts";
import { quoted } from "../tables/tokens.ts";
import { effectsOf, SEQ_WRITTEN, type Effect, type Happened, type Noted } from "./capture.ts";
import type { NewKeys } from "./new-keys.ts";
import { patched, Pending, type DocumentEdit } from "./pending.ts";
import type { Cell } from "./rows-text.ts";
import { DOCUMENTS, type TrialTable, type TrialTables } from "./trial-tables.ts";
import type { WriteStatement } from "./write-statement.ts";

/**
 * Statements run in a transaction that is undone, and what becomes of documents by them. After each run the documents
 * and the rows of their tables are brought in step again, so that the next statement sees what the last one did
 * whichever way it looks; a table's constraints hold also for what is written through `documents`.
 */
export class Trial {
  readonly #tables: TrialTables;
  readonly #pending: Pending;
  readonly #keys: NewKeys;
  readonly #most: number;
  /** Whether a statement looks at `documents`, which then has to have what others wrote into tables. */
  readonly #readsDocuments: boolean;
  /** The last integer given for a key, by the table's place. */
  readonly #counters = new Map<number, bigint>();
  readonly #violated = new Map<string, boolean>();
  readonly #looked = new Set<string>();
  #lookedAtAll = false;
  #touched = 0;

  constructor(tables: TrialTables, statements: readonly WriteStatement[], keys: NewKeys, most: number) {
    this.#tables = tables;
    this.#keys = keys;
    this.#most = most;
    this.#readsDocuments = statements.some(({ verdict }) => verdict.tables.includes(DOCUMENTS));
    this.#pending = new Pending((doc) => {
      const { collection, key } = parseDocName(doc);
      const value = tables.documentBefore(collection, key);
      return value === undefined ? undefined : fieldsOf(value);
    });
    tables.newKey = (place) => this.#newKey(place);
  }

  /** Runs a statement once; `changes` are the rows that it changed. Throws what refuses it; then nothing may go on. */
  run(statement: WriteStatement, args: unknown[]): { changes: number; rows: Cell[][] | undefined } {
    for (const { place } of statement.makesKeys) this.#startCounter(place);
    const ran = this.#runFilled(statement, args);
    const noted = this.#tables.takeNote();
    this.#noteLooked(statement, noted.length > 0);
    if (noted.length > 0) this.#follow(noted);
    return ran;
  }

  edits(): DocumentEdit[] {
    return this.#pending.edits();
  }

  get collections(): readonly string[] | "all" {
    return this.#lookedAtAll ? "all" : [...this.#looked].sort();
  }

  #runFilled(statement: WriteStatement, args: unknown[]): { changes: number; rows: Cell[][] | undefined } {
    try {
      return this.#runOnce(statement.statement, args);
    } catch (error) {
      const filled = missesKey(error, this.#tables) ? statement.withoutNulls?.() : undefined;
      if (!filled) throw error;
      this.#tables.clearNote();
      for (const table of this.#tables.tables)
        if (statement.verdict.written.includes(table.name)) {
          this.#startCounter(table.place);
          this.#look(table.name);
        }
      return this.#runOnce(filled, args);
    }
  }

  #runOnce(statement: WriteStatement["statement"], args: unknown[]) {
    if (!statement.reader) return { changes: statement.run(...args).changes, rows: undefined };
    const rows = statement.all(...args) as Cell[][];
    const changes = statement.readonly ? 0 : Number(this.#tables.own("SELECT changes()").pluck().get());
    return { changes, rows };
  }

  /** Which tables the answer depends on as a whole; of the others the documents that are written are enough. */
  #noteLooked({ looksAt, verdict }: WriteStatement, changed: boolean): void {
    if (looksAt === "own rows" || (looksAt === "own rows, if it changes some" && changed)) return;
    for (const name of verdict.tables) this.#look(name);
  }

  #look(name: string): void {
    if (name !== DOCUMENTS && this.#tables.tables.some((table) => table.name === name))
      this.#looked.add(name);
    // Full text follows a table that its name does not tell, and history is of all commits.
    else if (!EVERYWHERE.has(name)) this.#lookedAtAll = true;
  }

  #follow(noted: readonly Noted[]): void {
    const byTable = new Map<number, Happened[]>();
    for (const note of noted) {
      const [place, what] = [Number(note[0]), Number(note[1])];
      if (what === SEQ_WRITTEN)
        throw new SkaldError(
          "SQL_NOT_ALLOWED",
          "The column seq of documents is not written: it follows from commits.",
        );
      const table = this.#tables.tables[place] as TrialTable;
      const [, , key, before, collection, collectionBefore] = note;
      const happened = {
        what,
        name: this.#nameOf(table, key, collection),
        before: this.#nameOf(table, before, collectionBefore),
      };
      const list = byTable.get(place);
      if (list) list.push(happened);
      else byTable.set(place, [happened]);
    }
    for (const [place, happened] of byTable) {
      const effects = effectsOf(happened);
      this.#touched += effects.length;
      // A document may be touched by many statements: what is refused in the end is counted exactly.
      if (this.#touched > this.#most * TOUCHES)
        throw new SkaldError("QUERY_LIMIT", `One commit writes at most ${this.#most} documents.`, {
          details: { limit: "documents", max: this.#most },
          hint: "Write fewer rows at a time: with a range of keys, or in several batches.",
        });
      const table = this.#tables.tables[place] as TrialTable;
      if (table.name === DOCUMENTS) this.#followDocuments(effects);
      else this.#followTable(table, effects);
    }
    if (this.#readsDocuments) this.#tables.clearNote();
  }

  #nameOf(table: TrialTable, key: unknown, collection: unknown): string {
    if (table.name === DOCUMENTS) return `${checkCollection(String(collection))}/${checkKey(String(key))}`;
    const text = keyOf(table, key as SqlValue);
    if (text === undefined)
      throw new SkaldError("SQL_CONSTRAINT", `The key of a row of ${table.name} is ${keyKind(table)}.`);
    return `${table.name}/${checkKey(text)}`;
  }

  /** Rows of a collection's table were written: its documents follow. */
  #followTable(table: TrialTable, effects: readonly Effect[]): void {
    const select = this.#tables.own(
      `SELECT ${table.columns.map(({ name }) => quoted(name)).join(", ") || "NULL"} FROM main.${quoted(table.name)} WHERE ${quoted(table.key)} = ?`,
    );
    const after = effects.map(({ name, from, isNew }) => {
      const row = select.get(keyValueOf(table, parseDocName(name).key)) as SqlValue[] | undefined;
      if (isNew) this.#checkHidden(table.name, name);
      return row && this.#documentOf(table, name, from, rowOf(table, row));
    });
    effects.forEach(({ name }, i) => this.#pending.set(name, after[i]));
    if (this.#readsDocuments) for (const { name } of effects) this.#putDocument(name);
  }

  #documentOf(table: TrialTable, name: string, from: string | undefined, row: Row): JsonObject {
    const base = this.#pending.now(from ?? name);
    if (base === undefined) return documentOf(table.columns, row);
    // A row that replaced another is a new one; what its fields were says how the values are written.
    const kept = from === undefined ? onlyColumns(base, table) : base;
    return patched(kept, patchOf(table.columns, kept, row));
  }

  /** A document that is there, and not in its table, is not what the statement means. */
  #checkHidden(collection: string, name: string): void {
    if (this.#pending.now(name) === undefined && !this.#isViolated(collection, name)) return;
    throw new SkaldError(
      "SQL_CONSTRAINT",
      `The document ${name} is there, and breaks a constraint of the table: it is not a row.`,
      {
        hint: "See schema_violations; mend it through `documents`, or delete it there.",
        details: { doc: name },
      },
    );
  }

  #isViolated(collection: string, name: string): boolean {
    let any = this.#violated.get(collection);
    if (any === undefined) {
      any =
        this.#tables.own("SELECT 1 FROM schema_violations WHERE collection = ? LIMIT 1").get(collection) !==
        undefined;
      this.#violated.set(collection, any);
    }
    if (!any) return false;
    const { key } = parseDocName(name);
    const row = this.#tables.own("SELECT code FROM schema_violations WHERE collection = ? AND key = ?");
    const found = row.get(collection, key) as [string] | undefined;
    // One that is in `documents` was seen there, as it is by now.
    return found !== undefined && UNREADABLE.test(found[0]);
  }

  #putDocument(name: string): void {
    const { collection, key } = parseDocName(name);
    const now = this.#pending.now(name);
    if (now === undefined)
      this.#tables.own("DELETE FROM main.documents WHERE collection = ? AND key = ?").run(collection, key);
    else
      this.#tables
        .own(
          "INSERT INTO main.documents VALUES (?, ?, ?, 0) ON CONFLICT DO UPDATE SET value = excluded.value, seq = 0",
        )
        .run(collection, key, stringifyJson(now));
  }

  /** Rows of `documents` were written: the rows of their collections' tables follow. */
  #followDocuments(effects: readonly Effect[]): void {
    const select = this.#tables.own("SELECT value FROM documents WHERE collection = ? AND key = ?").pluck();
    const changed: string[] = [];
    for (const { name, isNew } of effects) {
      const { collection, key } = parseDocName(name);
      const value = select.get(collection, key) as string | undefined;
      if (isNew && this.#isViolated(collection, name)) this.#checkHidden(collection, name);
      const now = value === undefined ? undefined : documentIn(name, value);
      this.#pending.set(name, now);
      changed.push(name);
    }
    // All are taken out first: rows may have given each other what only one of them can have.
    changed.sort();
    for (const name of changed) this.#removeRow(name);
    for (const name of changed) this.#putRow(name);
  }

  #removeRow(name: string): void {
    const { collection, key } = parseDocName(name);
    const table = this.#collectionTable(collection);
    const value = table && keyValueOf(table, key);
    if (!table || value === undefined) return;
    this.#tables.own(`DELETE FROM main.${quoted(table.name)} WHERE ${quoted(table.key)} = ?`).run(value);
    this.#tables.clearNote();
  }

  #putRow(name: string): void {
    const { collection, key } = parseDocName(name);
    const fields = this.#pending.now(name);
    const table = this.#collectionTable(collection);
    if (!table || fields === undefined) return;
    const keyValue = keyValueOf(table, key);
    if (keyValue === undefined)
      throw new SkaldError("SQL_CONSTRAINT", `The key of a row of ${table.name} is ${keyKind(table)}.`);
    const names = [table.key, ...table.columns.map((column) => column.name)];
    this.#tables
      .own(
        `INSERT INTO main.${quoted(table.name)} (${names.map(quoted).join(", ")}) VALUES (${names.map(() => "?").join(", ")})`,
      )
      .run(keyValue, ...valuesOf(table.columns, fields));
    this.#tables.clearNote();
  }

  /** The table of a collection has exactly its name. */
  #collectionTable(collection: string): TrialTable | undefined {
    return collection === DOCUMENTS ? undefined : this.#tables.tables.find(({ name }) => name === collection);
  }

  #startCounter(place: number): void {
    const table = this.#tables.tables[place] as TrialTable;
    if (table.keyType !== "INTEGER") return;
    const [greatest] = this.#tables
      .own(`SELECT max(${quoted(table.key)}) FROM main.${quoted(table.name)}`)
      .get() as [unknown];
    const [hidden] = this.#tables
      .own("SELECT max(CAST(key AS INTEGER)) FROM schema_violations WHERE collection = ?")
      .get(table.name) as [unknown];
    const known = [greatest, hidden].map((value) => (typeof value === "bigint" ? value : 0n));
    this.#counters.set(
      place,
      known.reduce((a, b) => (a > b ? a : b)),
    );
  }

  #newKey(place: number): string | bigint {
    const table = this.#tables.tables[place] as TrialTable;
    if (table.keyType !== "INTEGER") return this.#keys.next();
    const next = (this.#counters.get(place) ?? 0n) + 1n;
    this.#counters.set(place, next);
    return next;
  }
}

/** Tables that are the same in every db. */
const EVERYWHERE: ReadonlySet<string> = new Set(["json_each", "json_tree", "jsonb_each", "jsonb_tree"]);
/** Times that a document may be touched on average before it is refused that they are too many. */
const TOUCHES = 16;
/** Of documents that are in no table at all. */
const UNREADABLE = /^(?:DOC|WORK)_/;

function rowOf({ columns }: TrialTable, values: readonly SqlValue[]): Row {
  const row: Record<string, SqlValue> = Object.create(null) as Record<string, SqlValue>;
  columns.forEach(({ name }, i) => {
    row[name] = values[i] as SqlValue;
  });
  return row;
}

function onlyColumns(fields: JsonObject, { columns }: TrialTable): JsonObject {
  const names = new Set(columns.map(({ name }) => name));
  return Object.fromEntries(Object.entries(fields).filter(([name]) => names.has(name)));
}

function documentIn(name: string, value: string): JsonObject {
  const fields = parseJson(value);
  if (isObject(fields)) return fields;
  throw new SkaldError("VALUE_INVALID", `The value of ${name} is no object, and a document is one.`, {
    details: { doc: name },
  });
}

function keyKind({ keyType }: TrialTable): string {
  return keyType === "INTEGER" ? "an integer" : "a text";
}

/** Whether a row was refused for want of a key that can be made. */
function missesKey(error: unknown, { tables }: TrialTables): boolean {
  const { code, message } = error as { code?: unknown; message?: string };
  if (code !== "SQLITE_CONSTRAINT_NOTNULL") return false;
  return tables.some(({ name, filled }) =>
    [...filled.missing.keys()].some((column) => message === `NOT NULL constraint failed: ${name}.${column}`),
  );
}
