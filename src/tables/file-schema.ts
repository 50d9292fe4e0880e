import { isSkaldError } from "../errors.ts";
import type { SchemaStatement } from "../log/log.ts";
import type { TablesFile } from "../store/sqlite-tables.ts";
import { CollectionTable } from "./collection-table.ts";
import { ddlOf, ftsColumns, ftsSql, type CreateFts, type Ddl } from "./ddl.ts";
import type { TableShape } from "./rows.ts";
import { quoted } from "./tokens.ts";

/** What there is in a file under a name, in small letters. */
type Entry =
  | { readonly kind: "table"; readonly shape: TableShape }
  | { readonly kind: "text"; readonly text: CreateFts }
  | { readonly kind: "view" | "index"; readonly name: string };

/**
 * The schema of a file: the statements in force, in their order, and what they made. Whether one can be applied is a
 * matter of those before it alone, never of what is in the tables: so what it touches is emptied first, and filled
 * again by the caller. One that cannot be applied is kept with the reason and does nothing.
 */
export class FileSchema {
  readonly #file: TablesFile;
  readonly #entries = new Map<string, Entry>();
  readonly #tables = new Map<string, CollectionTable>();
  readonly #statements: SchemaStatement[] = [];

  constructor(file: TablesFile) {
    this.#file = file;
    const rows = file
      .prepare('SELECT seq, place AS "index", sql, problem FROM skald_schema ORDER BY n')
      .all();
    for (const { problem, ...statement } of rows as (SchemaStatement & { problem: string | null })[]) {
      this.#statements.push(statement);
      if (problem === null) this.#note(ddlOf(statement.sql));
    }
  }

  /** Those of `all` that come after those that the file has; undefined when it has others. */
  after(all: readonly SchemaStatement[]): readonly SchemaStatement[] | undefined {
    const has = this.#statements.every(({ seq, index, sql }, i) => {
      const other = all[i];
      return other?.seq === seq && other.index === index && other.sql === sql;
    });
    return has ? all.slice(this.#statements.length) : undefined;
  }

  /** Names of all collections' tables. */
  *tables(): Generator<string> {
    for (const entry of this.#entries.values()) if (entry.kind === "table") yield entry.shape.name;
  }

  /** The full-text tables over one. */
  textsOf(table: string): CreateFts[] {
    const texts: CreateFts[] = [];
    for (const entry of this.#entries.values())
      if (entry.kind === "text" && same(entry.text.table, table)) texts.push(entry.text);
    return texts;
  }

  /** The tables of collections that were in use since the schema changed. */
  used(): Iterable<CollectionTable> {
    return this.#tables.values();
  }

  /** The table of a collection, which has exactly its name. */
  table(collection: string): CollectionTable | undefined {
    const known = this.#tables.get(collection);
    if (known) return known;
    const entry = this.#entries.get(collection.toLowerCase());
    if (entry?.kind !== "table" || entry.shape.name !== collection) return undefined;
    const table = new CollectionTable(this.#file, entry.shape, this.textsOf(collection));
    this.#tables.set(collection, table);
    return table;
  }

  /** Takes a further statement in. `emptied` is the table that has to be filled. */
  add(statement: SchemaStatement): { readonly problem?: string; readonly emptied?: string } {
    const { seq, index, sql } = statement;
    const done = this.#apply(sql);
    this.#statements.push(statement);
    this.#file
      .prepare("INSERT INTO skald_schema VALUES (?, ?, ?, ?, ?)")
      .run(this.#statements.length, seq, index, sql, done.problem ?? null);
    // What was prepared before speaks of the tables as they were.
    this.#tables.clear();
    return done;
  }

  /** Takes everything away that statements made. */
  clear(): void {
    for (const entry of this.#entries.values()) {
      if (entry.kind === "view") this.#file.exec(`DROP VIEW IF EXISTS ${quoted(entry.name)}`);
      if (entry.kind === "text") this.#file.exec(`DROP TABLE IF EXISTS ${quoted(entry.text.name)}`);
      if (entry.kind === "table") this.#file.exec(`DROP TABLE IF EXISTS ${quoted(entry.shape.name)}`);
      if (entry.kind === "index") this.#file.exec(`DROP INDEX IF EXISTS ${quoted(entry.name)}`);
    }
    this.#file.exec("DELETE FROM skald_schema");
    this.#entries.clear();
    this.#tables.clear();
    this.#statements.length = 0;
  }

  #apply(sql: string): { readonly problem?: string; readonly emptied?: string } {
    let ddl: Ddl;
    try {
      ddl = ddlOf(sql);
    } catch (error) {
      if (!isSkaldError(error)) throw error;
      return { problem: error.message };
    }
    if (this.#isDone(ddl)) return {};
    const problem = this.#obstacle(ddl);
    if (problem !== undefined) return { problem };
    const emptied = this.#touchedBy(ddl);
    const failure = this.#file.attemptWhole(() => {
      if (emptied !== undefined) this.table(emptied)?.clear();
      for (const step of this.#steps(ddl)) this.#file.exec(step);
    });
    if (failure) return { problem: failure.message };
    this.#note(ddl);
    return emptied === undefined ? {} : { emptied };
  }

  /** Whether there is nothing to do. */
  #isDone(ddl: Ddl): boolean {
    if (ddl.kind === "drop") return ddl.ifExists && !this.#entries.has(ddl.name.toLowerCase());
    return "ifNotExists" in ddl && ddl.ifNotExists && this.#entries.has(ddl.name.toLowerCase());
  }

  /** What keeps a statement from being applied and SQLite does not know. */
  #obstacle(ddl: Ddl): string | undefined {
    if (ddl.kind === "create-fts") {
      const entry = this.#entries.get(ddl.table.toLowerCase());
      if (entry?.kind !== "table") return `no such table: ${ddl.table}`;
      const missing = ddl.columns.find((column) => !has(entry.shape, column));
      if (missing !== undefined) return `no such column: ${missing}`;
    }
    if (ddl.kind === "drop-column") {
      const text = this.textsOf(ddl.table).find(({ columns }) =>
        columns.some((name) => same(name, ddl.column)),
      );
      if (text) return `cannot drop column "${ddl.column}": ${text.name} has it`;
    }
    if (
      (ddl.kind === "add-column" || ddl.kind === "drop-column") &&
      this.#entries.get(ddl.table.toLowerCase())?.kind !== "table"
    )
      return `no such table: ${ddl.table}`;
    if (ddl.kind === "create-index") {
      const entry = this.#entries.get(ddl.table.toLowerCase());
      if (entry && entry.kind !== "table") return `${ddl.table} is no table`;
    }
    return undefined;
  }

  /** The table that a statement makes, or changes so that its rows may be others. */
  #touchedBy(ddl: Ddl): string | undefined {
    const name = ddl.kind === "create-table" ? ddl.name : "table" in ddl ? ddl.table : undefined;
    const entry = name === undefined ? undefined : this.#entries.get(name.toLowerCase());
    if (entry?.kind === "table") return entry.shape.name;
    return ddl.kind === "create-table" ? ddl.name : undefined;
  }

  #steps(ddl: Ddl): string[] {
    if (ddl.kind === "create-fts") {
      const { shape } = this.#entries.get(ddl.table.toLowerCase()) as { shape: TableShape };
      return [ftsSql(ddl, shape.key)];
    }
    if (ddl.kind === "drop" && ddl.what === "table") {
      const texts = this.textsOf(ddl.name).map(({ name }) => `DROP TABLE ${quoted(name)}`);
      return [...texts, ddl.sql];
    }
    return [ddl.sql];
  }

  #note(ddl: Ddl): void {
    if (this.#isDone(ddl)) return;
    const put = (name: string, entry: Entry): void => void this.#entries.set(name.toLowerCase(), entry);
    switch (ddl.kind) {
      case "create-table": {
        const { name, key, keyType, columns } = ddl;
        return put(name, { kind: "table", shape: { name, key, keyType, columns } });
      }
      case "create-view":
        return put(ddl.name, { kind: "view", name: ddl.name });
      case "create-index":
        return put(ddl.name, { kind: "index", name: ddl.name });
      case "create-fts":
        return put(ddl.name, { kind: "text", text: ddl });
      case "add-column":
        return this.#reshape(ddl.table, (columns) => [...columns, ddl.column]);
      case "drop-column":
        return this.#reshape(ddl.table, (columns) => columns.filter(({ name }) => !same(name, ddl.column)));
      case "drop":
        if (ddl.what === "table")
          for (const { name } of this.textsOf(ddl.name)) this.#entries.delete(name.toLowerCase());
        this.#entries.delete(ddl.name.toLowerCase());
    }
  }

  #reshape(table: string, change: (columns: TableShape["columns"]) => TableShape["columns"]): void {
    const entry = this.#entries.get(table.toLowerCase());
    if (entry?.kind !== "table") return;
    const { shape } = entry;
    this.#entries.set(table.toLowerCase(), {
      kind: "table",
      shape: { ...shape, columns: change(shape.columns) },
    });
  }
}

const same = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();
const has = ({ key, columns }: TableShape, column: string): boolean =>
  ftsColumns(
    key,
    columns.map(({ name }) => name),
  ).some((name) => same(name, column));
