import { rmSync } from "node:fs";
import path from "node:path";
import type { CatalogBatch, CatalogTable, SeqRange, StoredDoc } from "./contract.ts";
import { named, openSqlite, standOn, type Sqlite, type Statement } from "./sqlite.ts";

const CATALOG_FILE = "catalog.sqlite";

interface DocRow {
  id: number;
  name: string;
  state: Uint8Array;
  first: number;
  last: number;
  deleted: number;
}

/** Opens the catalog's file in `folder`, new when it is missing. Throws as `openSqlite` does. */
export function openSqliteCatalog(folder: string): CatalogTable {
  const file = path.join(folder, CATALOG_FILE);
  const sqlite = openSqlite(file, { kind: "catalog", create: true });
  return standOn(sqlite, file, () => new SqliteCatalog(sqlite, folder));
}

/** Removes the catalog's file; the next opening starts an empty one. */
export function dropSqliteCatalog(folder: string): void {
  for (const suffix of ["", "-wal", "-shm"])
    rmSync(path.join(folder, CATALOG_FILE + suffix), { force: true });
}

class SqliteCatalog implements CatalogTable {
  readonly #sqlite: Sqlite;
  readonly #statements: Record<
    | "doc"
    | "find"
    | "receipt"
    | "touches"
    | "after"
    | "list"
    | "listLive"
    | "since"
    | "counts"
    | "insertDoc"
    | "updateDoc"
    | "touch"
    | "address"
    | "putReceipt"
    | "head",
    Statement
  >;
  readonly #file: string;

  constructor(sqlite: Sqlite, folder: string) {
    this.#sqlite = sqlite;
    this.#file = path.join(folder, CATALOG_FILE);
    const list = (where: string): Statement =>
      sqlite.prepare(
        `SELECT * FROM doc WHERE name > ? AND name >= ? AND name < ?${where} ORDER BY name LIMIT ?`,
      );
    this.#statements = {
      doc: sqlite.prepare("SELECT * FROM doc WHERE name = ?"),
      find: sqlite.prepare("SELECT seq FROM address WHERE prefix = ?").pluck(),
      receipt: sqlite.prepare("SELECT seq FROM receipt WHERE principal = ? AND client_tx_id = ?").pluck(),
      touches: sqlite
        .prepare("SELECT seq FROM touch WHERE doc = ? AND seq <= ? ORDER BY seq DESC LIMIT ?")
        .pluck(),
      after: sqlite
        .prepare("SELECT seq FROM touch WHERE doc = ? AND seq > ? AND seq <= ? ORDER BY seq")
        .pluck(),
      list: list(""),
      listLive: list(" AND deleted = 0"),
      since: sqlite.prepare("SELECT name FROM doc WHERE last >= ? LIMIT ?").pluck(),
      counts: sqlite.prepare("SELECT count(*) AS documents, coalesce(sum(deleted), 0) AS deleted FROM doc"),
      insertDoc: sqlite.prepare("INSERT INTO doc (name, state, first, last, deleted) VALUES (?, ?, ?, ?, ?)"),
      updateDoc: sqlite.prepare("UPDATE doc SET state = ?, last = ?, deleted = ? WHERE id = ?"),
      touch: sqlite.prepare("INSERT INTO touch VALUES (?, ?)"),
      address: sqlite.prepare("INSERT INTO address VALUES (?, ?) ON CONFLICT DO NOTHING"),
      putReceipt: sqlite.prepare("INSERT INTO receipt VALUES (?, ?, ?) ON CONFLICT DO NOTHING"),
      head: sqlite.prepare("UPDATE head SET seq = ?, cid = ?"),
    };
    if (typeof this.head() !== "number") throw new Error("it has no head");
  }

  headCid(): Uint8Array | undefined {
    const cid = named(this.#file, () => this.#sqlite.prepare("SELECT cid FROM head").pluck().get());
    return (cid as Uint8Array | null) ?? undefined;
  }

  head(): number {
    return named(this.#file, () => this.#sqlite.prepare("SELECT seq FROM head").pluck().get()) as number;
  }

  doc(name: string): StoredDoc | undefined {
    const row = named(this.#file, () => this.#statements.doc.get(name)) as DocRow | undefined;
    return row && stored(row);
  }

  find(prefix: number): number[] {
    return named(this.#file, () => this.#statements.find.all(prefix)) as number[];
  }

  receipt(principal: string, clientTxId: string): number | undefined {
    return named(this.#file, () => this.#statements.receipt.get(principal, clientTxId)) as number | undefined;
  }

  touches(doc: number, before: number, limit: number): number[] {
    return named(this.#file, () => this.#statements.touches.all(doc, before, limit)) as number[];
  }

  touchesAfter(doc: number, after: number, upTo: number): number[] {
    return named(this.#file, () => this.#statements.after.all(doc, after, upTo)) as number[];
  }

  list(prefix: string, after: string, limit: number, withDeleted: boolean): StoredDoc[] {
    const statement = withDeleted ? this.#statements.list : this.#statements.listLive;
    // U+10FFFF sorts after every name that starts with the prefix: names are well-formed UTF-8.
    return (
      named(this.#file, () => statement.all(after, prefix, `${prefix}\u{10FFFF}`, limit)) as DocRow[]
    ).map(stored);
  }

  touchedSince(from: number, limit: number): string[] {
    return named(this.#file, () => this.#statements.since.all(from, limit)) as string[];
  }

  counts(): { documents: number; deleted: number } {
    const { documents, deleted } = named(this.#file, () => this.#statements.counts.get()) as {
      documents: number;
      deleted: number;
    };
    return { documents: documents - deleted, deleted };
  }

  bundlesOf(doc: number): number[] {
    return this.#sqlite
      .prepare("SELECT last FROM bundle_doc WHERE doc = ? ORDER BY last DESC")
      .pluck()
      .all(doc) as number[];
  }

  bundles(): SeqRange[] {
    return this.#sqlite.prepare("SELECT first, last FROM bundle ORDER BY last").all() as SeqRange[];
  }

  fold(bundles: readonly (SeqRange & { readonly docs: readonly string[] })[]): void {
    const upTo = bundles.at(-1)?.last;
    if (upTo === undefined) return;
    const work = (): void => {
      // A bundle that grew takes the place of the one it was.
      const [first] = bundles;
      if (!first) return;
      this.#sqlite.prepare("DELETE FROM bundle_doc WHERE last >= ?").run(first.first);
      this.#sqlite.prepare("DELETE FROM bundle WHERE last >= ?").run(first.first);
      const note = this.#sqlite.prepare("INSERT INTO bundle_doc SELECT id, ? FROM doc WHERE name = ?");
      for (const bundle of bundles) {
        this.#sqlite.prepare("INSERT INTO bundle VALUES (?, ?)").run(bundle.last, bundle.first);
        for (const name of bundle.docs) note.run(bundle.last, name);
      }
      for (const table of ["touch", "address"]) {
        this.#sqlite.prepare(`DELETE FROM ${table} WHERE seq <= ?`).run(upTo);
      }
    };
    named(this.#file, () => {
      this.#sqlite.transaction(work).immediate();
      this.#sqlite.pragma("incremental_vacuum");
      // Whoever reads this file meanwhile must not hold up the writers.
      this.#sqlite.pragma("wal_checkpoint(PASSIVE)");
    });
  }

  write(batch: CatalogBatch): void {
    named(this.#file, () => this.#sqlite.transaction(() => this.#writeAll(batch)).immediate());
  }

  close(): void {
    this.#sqlite.close();
  }

  #writeAll(batch: CatalogBatch): void {
    const s = this.#statements;
    for (const doc of batch.docs) {
      const deleted = doc.deleted ? 1 : 0;
      let { id } = doc;
      if (id === undefined) {
        id = Number(s.insertDoc.run(doc.name, doc.state, doc.first, doc.last, deleted).lastInsertRowid);
      } else {
        s.updateDoc.run(doc.state, doc.last, deleted, id);
      }
      for (const seq of doc.touches) s.touch.run(id, seq);
    }
    // In key order the inserts of a batch walk the tree once.
    for (const [prefix, seq] of batch.addresses.toSorted((a, b) => a[0] - b[0])) s.address.run(prefix, seq);
    for (const [principal, id, seq] of batch.receipts) s.putReceipt.run(principal, id, seq);
    s.head.run(batch.head, batch.headCid ?? null);
  }
}

function stored(row: DocRow): StoredDoc {
  return { ...row, deleted: row.deleted === 1 };
}
