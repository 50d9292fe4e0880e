import type { SchemaStatement } from "../log/log.ts";
import type { SqlValue, TablesFile, TablesHead, TablesStatement } from "../store/sqlite-tables.ts";
import { rowOf, type Violation } from "./collection-table.ts";
import { FileSchema } from "./file-schema.ts";
import type { Applied, CommitState, DocumentState, Part, RowChange, SeqSpan } from "./steps.ts";
import type { Row } from "./rows.ts";

/**
 * Brings a file of tables from one point to another. What is in it afterwards is a function of the point, whatever it
 * held before: rows follow from their documents, one by one, and where they stand in each other's way (UNIQUE) a table
 * is filled anew in the order of keys. `begin`, parts in any order and number, `end`: all of it at once, or nothing.
 */
export class TablesWriter {
  readonly #file: TablesFile;
  readonly #schema: FileSchema;
  readonly #changes: Changes;
  readonly #put: Readonly<Record<"document" | "commit" | "change" | "violation", TablesStatement>>;
  readonly #remove: Readonly<Record<"document" | "violation", TablesStatement>>;
  readonly #select: Readonly<Record<"document" | "violation", TablesStatement>>;
  readonly #page: TablesStatement;
  /** Tables that are filled from the documents at the end. */
  readonly #refill = new Set<string>();
  /** Tables of which a document was erased: an index of text keeps words of rows that are gone until it merges them. */
  readonly #clean = new Set<string>();
  /** Documents by collection that a UNIQUE constraint keeps out, counted once they matter. */
  readonly #kept = new Map<string, number>();
  #schemaChanged = false;

  constructor(file: TablesFile) {
    this.#file = file;
    this.#schema = new FileSchema(file);
    this.#changes = new Changes();
    this.#put = {
      document: file.prepare(
        "INSERT INTO documents VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value, seq = excluded.seq",
      ),
      commit: file.prepare("INSERT OR REPLACE INTO commits VALUES (?, ?, ?, ?, ?, ?)"),
      change: file.prepare("INSERT OR REPLACE INTO changes VALUES (?, ?, ?, ?, ?, ?, ?, ?)"),
      violation: file.prepare("INSERT OR REPLACE INTO schema_violations VALUES (?, ?, ?, ?, ?)"),
    };
    this.#remove = {
      document: file.prepare("DELETE FROM documents WHERE collection = ? AND key = ?"),
      violation: file.prepare("DELETE FROM schema_violations WHERE collection = ? AND key = ?"),
    };
    this.#select = {
      document: file.prepareValues(
        "SELECT collection, key, value, seq FROM documents WHERE collection = ? AND key = ?",
      ),
      violation: file.prepare("SELECT code FROM schema_violations WHERE collection = ? AND key = ?"),
    };
    this.#page = file.prepare(
      "SELECT key, value, seq FROM documents WHERE collection = ? AND key > ? ORDER BY key LIMIT ?",
    );
  }

  get file(): TablesFile {
    return this.#file;
  }

  /** `wanted` are tables whose rows are to be told of. */
  begin(wanted: readonly string[]): void {
    this.#file.begin();
    this.#changes.begin(wanted);
    this.#refill.clear();
    this.#clean.clear();
    this.#kept.clear();
    this.#schemaChanged = false;
  }

  feed(part: Part): void {
    for (const span of part.forget ?? []) this.#forget(span);
    if (part.schema) this.#reschema(part.schema);
    for (const commit of part.commits ?? []) this.#commit(commit);
    for (const document of part.documents ?? []) this.#document(document);
    for (const name of part.erased ?? []) this.#erase(name);
    for (const table of this.#schema.used()) table.flush();
  }

  end(head: TablesHead): Applied {
    for (const collection of this.#refill) this.#fill(collection);
    for (const collection of this.#clean) this.#schema.table(collection)?.cleanTexts();
    const touched = this.#changes.end((table, key) => this.#row(table, key));
    this.#file.commit(head);
    return { seq: head.seq, schemaChanged: this.#schemaChanged, touched };
  }

  /** Nothing of what was fed since `begin` stays. */
  abort(): void {
    this.#file.rollback();
  }

  #forget({ first, last }: SeqSpan): void {
    this.#file.prepare("DELETE FROM commits WHERE seq BETWEEN ? AND ?").run(first, last);
    this.#file.prepare("DELETE FROM changes WHERE seq BETWEEN ? AND ?").run(first, last);
    this.#changes.all("commits");
    this.#changes.all("changes");
  }

  #reschema(all: readonly SchemaStatement[]): void {
    let later = this.#schema.after(all);
    if (later?.length === 0) return;
    this.#schemaChanged = true;
    if (!later) {
      for (const name of this.#schema.tables()) this.#unlist(name);
      this.#schema.clear();
      this.#file.exec("DELETE FROM schema_violations WHERE collection = ''");
      this.#refill.clear();
      later = all;
    }
    for (const statement of later) {
      const { seq, index } = statement;
      const { problem, emptied } = this.#schema.add(statement);
      if (emptied !== undefined) this.#refill.add(emptied);
      if (problem === undefined) continue;
      const key = index === 0 ? String(seq) : `${seq}.${index}`;
      this.#list("", key, seq, { code: "SCHEMA", detail: problem });
    }
    // One that is not there any more has no rows, and no documents that are kept out of it.
    const there = new Set(this.#schema.tables());
    for (const name of this.#refill) if (!there.has(name)) this.#refill.delete(name);
    this.#dropStale(there);
  }

  /** Documents that broke a constraint of a table that was dropped. */
  #dropStale(there: ReadonlySet<string>): void {
    const listed = this.#file
      .prepare("SELECT DISTINCT collection FROM schema_violations WHERE collection <> ''")
      .all() as { collection: string }[];
    for (const { collection } of listed) if (!there.has(collection)) this.#unlist(collection);
  }

  #commit({ seq, id, branch, time, author, message, entries }: CommitState): void {
    this.#put.commit.run(seq, id, branch, time, author, message);
    this.#changes.note("commits", String(seq), undefined);
    for (const { doc, deleted, changes } of entries) {
      const [collection, key] = partsOf(doc);
      this.#put.change.run(collection, key, seq, time, author, message, deleted ? 1 : 0, changes);
    }
    if (entries.length > 0) this.#changes.all("changes");
  }

  #document({ name, seq, json, problem }: DocumentState): void {
    const [collection, key] = partsOf(name);
    if (this.#changes.wants("documents")) this.#changes.note("documents", name, this.#row("documents", name));
    else this.#changes.all("documents");
    if (json === undefined) this.#remove.document.run(collection, key);
    else this.#put.document.run(collection, key, json, seq);
    this.#inTable(collection, key, seq, json);
    if (problem !== undefined) this.#list(collection, key, seq, { code: problem, detail: UNREADABLE });
  }

  #erase(name: string): void {
    this.#document({ name, seq: 0 });
    this.#clean.add(partsOf(name)[0]);
  }

  #inTable(collection: string, key: string, seq: number, json: string | undefined): void {
    const table = this.#schema.table(collection);
    if (!table || this.#refill.has(collection)) {
      // What is filled at the end is listed then, but for what cannot be read.
      this.#unlistOne(collection, key);
      return;
    }
    if (this.#changes.wants(collection)) this.#changes.note(collection, key, table.row(key));
    else this.#changes.all(collection);
    for (const { name } of this.#schema.textsOf(collection)) this.#changes.all(name);
    const wasKept = this.#unlistOne(collection, key) === "UNIQUE";
    const was = table.remove(key);
    const violation = json === undefined ? undefined : table.put(key, json);
    if (violation) this.#list(collection, key, seq, violation);
    // Whether it takes another's place, or frees one, is found by filling the table in the order of keys.
    if (violation?.code === "UNIQUE" || wasKept || (was && this.#keptOut(collection) > 0))
      this.#refill.add(collection);
  }

  /** How many documents a UNIQUE constraint keeps out of the table. */
  #keptOut(collection: string): number {
    const known = this.#kept.get(collection);
    if (known !== undefined) return known;
    const { n } = this.#file
      .prepare("SELECT count(*) AS n FROM schema_violations WHERE collection = ? AND code = 'UNIQUE'")
      .get(collection) as { n: number };
    this.#kept.set(collection, n);
    return n;
  }

  /** Fills a table from the documents, in the order of keys: of those with one value the first is in it. */
  #fill(collection: string): void {
    const table = this.#schema.table(collection);
    if (!table) return;
    table.clear();
    this.#changes.all(collection);
    for (const { name } of this.#schema.textsOf(collection)) this.#changes.all(name);
    this.#unlist(collection);
    for (let after = ""; ;) {
      const page = this.#page.all(collection, after, PAGE) as { key: string; value: string; seq: number }[];
      for (const { key, value, seq } of page) {
        const violation = table.put(key, value, "alone");
        if (violation) this.#list(collection, key, seq, violation);
      }
      const last = page.at(-1);
      if (!last || page.length < PAGE) break;
      after = last.key;
    }
    table.fillTexts();
  }

  #list(collection: string, key: string, seq: number, { code, detail }: Violation): void {
    this.#put.violation.run(collection, key, seq, code, detail);
    this.#changes.all("schema_violations");
  }

  /** Takes a document off the list; gives the code that it had. */
  #unlistOne(collection: string, key: string): string | undefined {
    const row = this.#select.violation.get(collection, key) as { code: string } | undefined;
    if (!row) return undefined;
    this.#remove.violation.run(collection, key);
    this.#changes.all("schema_violations");
    return row.code;
  }

  /** All but those that cannot be read: these are in no table whatever it is. */
  #unlist(collection: string): void {
    const found = this.#file
      .prepare(
        "DELETE FROM schema_violations WHERE collection = ? AND code IN ('NOT_NULL', 'CHECK', 'UNIQUE', 'TYPE', 'KEY')",
      )
      .run(collection);
    if (found.changes > 0) this.#changes.all("schema_violations");
  }

  #row(table: string, key: string): Row | undefined {
    if (table === "commits") return undefined;
    if (table !== "documents") return this.#schema.table(table)?.row(key);
    const values = this.#select.document.get(...partsOf(key)) as SqlValue[] | undefined;
    return values && rowOf(["collection", "key", "value", "seq"], values);
  }
}

function partsOf(name: string): [collection: string, key: string] {
  const slash = name.indexOf("/");
  return [name.slice(0, slash), name.slice(slash + 1)];
}

const PAGE = 500;
const UNREADABLE = "the document cannot be read";

/** What a batch touches, by table. */
class Changes {
  readonly #touched = new Map<string, Map<string, Row | undefined> | "all">();
  #wanted: ReadonlySet<string> = new Set();

  begin(wanted: readonly string[]): void {
    this.#touched.clear();
    this.#wanted = new Set(wanted);
  }

  /** Whether rows of a table are to be told of, and are not too many yet. */
  wants(table: string): boolean {
    return this.#wanted.has(table) && this.#touched.get(table) !== "all";
  }

  all(table: string): void {
    this.#touched.set(table, "all");
  }

  /** A row is about to change; `before` is what it was. */
  note(table: string, key: string, before: Row | undefined): void {
    if (!this.wants(table)) return this.all(table);
    let rows = this.#touched.get(table);
    if (rows === "all") return;
    if (!rows) this.#touched.set(table, (rows = new Map()));
    if (rows.has(key)) return;
    if (rows.size >= ROWS_TOLD) return this.all(table);
    rows.set(key, before);
  }

  end(after: (table: string, key: string) => Row | undefined): Map<string, readonly RowChange[] | "all"> {
    const told = new Map<string, readonly RowChange[] | "all">();
    for (const [table, rows] of this.#touched) {
      if (rows === "all" || table === "commits") told.set(table, "all");
      else
        told.set(
          table,
          [...rows].flatMap(([key, before]) => {
            const is = after(table, key);
            if (!before && !is) return [];
            return [{ key, ...(before ? { before } : {}), ...(is ? { after: is } : {}) }];
          }),
        );
    }
    this.#touched.clear();
    return told;
  }
}

/** Rows of a table that are told of one by one. */
const ROWS_TOLD = 1000;
