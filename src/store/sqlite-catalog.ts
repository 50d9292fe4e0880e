import { rmSync } from "node:fs";
import path from "node:path";
import { checkCatalog } from "./catalog-check.ts";
import type { CatalogBatch, CatalogTable, Fact, FactKind, SeqRange, StoredDoc } from "./contract.ts";
import { syncFolder } from "./folder.ts";
import {
  addressesIn,
  docSum,
  docWitness,
  factSum,
  headSum,
  idWitness,
  readHead,
  receiptSum,
  receiptWitness,
  type CatalogHead,
  type DocRow,
} from "./catalog-rows.ts";
import { ManyRows } from "./many-rows.ts";
import { pairSum, rowDamaged } from "./row-sum.ts";
import { breakSeal, checkSeal, seal, sealOf } from "./seal.ts";
import { checkStructure, named, openSqlite, standOn, type Sqlite, type Statement } from "./sqlite.ts";

const CATALOG_FILE = "catalog.sqlite";

/** Opens the catalog's file in `folder`, new when it is missing. Throws as `openSqlite` does. */
export function openSqliteCatalog(folder: string): CatalogTable {
  const file = path.join(folder, CATALOG_FILE);
  const sealed = checkSeal(file);
  const sqlite = openSqlite(file, { kind: "catalog", create: true });
  return standOn(sqlite, file, () => {
    const catalog = new SqliteCatalog(sqlite, folder);
    if (sealed === "open") checkStructure(sqlite, file, () => checkCatalog(sqlite, file));
    return catalog;
  });
}

/** The seq of the catalog's file in `folder`, 0 when there is none or it is damaged. */
export function catalogHeadIn(folder: string): number {
  const file = path.join(folder, CATALOG_FILE);
  try {
    const sqlite = openSqlite(file, { kind: "catalog", readonly: true });
    try {
      return readHead(sqlite, file).seq;
    } finally {
      sqlite.close();
    }
  } catch {
    return 0;
  }
}

/** Removes the catalog's file; the next opening starts an empty one. */
export function dropSqliteCatalog(folder: string): void {
  const file = path.join(folder, CATALOG_FILE);
  // The seal goes first: without it nothing is taken for what was sealed.
  for (const name of [sealOf(file), `${file}-wal`, `${file}-shm`, file]) rmSync(name, { force: true });
  // Or a power cut may leave the next file with the write-ahead log of this one.
  syncFolder(folder);
}

/** Names in one question. */
const ASKED_AT_ONCE = 100;

class SqliteCatalog implements CatalogTable {
  readonly #sqlite: Sqlite;
  readonly #statements: Record<
    | "doc"
    | "named"
    | "find"
    | "receipt"
    | "touches"
    | "after"
    | "list"
    | "next"
    | "lastOf"
    | "witness"
    | "since"
    | "counts"
    | "updateDoc"
    | "head",
    Statement
  >;
  readonly #rows: Record<"docs" | "named" | "witnesses" | "touches" | "addresses", ManyRows>;
  readonly #putReceipt: Statement;
  readonly #file: string;
  #head: CatalogHead;
  #nextId: number | undefined;
  /** Up to here touches are in bundles; undefined when it must be looked up. */
  #bundled: number | undefined;
  #written = false;

  constructor(sqlite: Sqlite, folder: string) {
    this.#sqlite = sqlite;
    this.#file = path.join(folder, CATALOG_FILE);
    this.#statements = {
      doc: sqlite.prepare("SELECT * FROM doc WHERE name = ?"),
      named: sqlite.prepare(
        "SELECT doc.* FROM automerge LEFT JOIN doc ON doc.id = automerge.doc WHERE automerge.id = ? ORDER BY doc",
      ),
      find: sqlite.prepare("SELECT seq FROM address WHERE prefix = ?").pluck(),
      receipt: sqlite.prepare("SELECT seq FROM receipt WHERE principal = ? AND client_tx_id = ?").pluck(),
      touches: sqlite.prepare(
        "SELECT seq, before FROM touch WHERE doc = ? AND seq <= ? ORDER BY seq DESC LIMIT ?",
      ),
      after: sqlite.prepare(
        "SELECT seq, before FROM touch WHERE doc = ? AND seq > ? AND seq <= ? ORDER BY seq",
      ),
      next: sqlite.prepare("SELECT before FROM touch WHERE doc = ? AND seq > ? ORDER BY seq LIMIT 1").pluck(),
      lastOf: sqlite.prepare("SELECT last FROM doc WHERE id = ?").pluck(),
      list: sqlite.prepare(
        "SELECT * FROM doc WHERE name > ? AND name >= ? AND name < ? ORDER BY name LIMIT ?",
      ),
      witness: sqlite.prepare("SELECT 1 FROM witness WHERE name = ?").pluck(),
      // The + keeps SQLite to the index on `last`.
      since: sqlite.prepare("SELECT name FROM doc WHERE last >= ? AND +name >= ' ' LIMIT ?").pluck(),
      counts: sqlite.prepare(
        "SELECT count(*) AS documents, coalesce(sum(deleted), 0) AS deleted FROM doc WHERE +name >= ' '",
      ),
      updateDoc: sqlite.prepare(
        "UPDATE doc SET state = ?, first = ?, last = ?, deleted = ?, sum = ? WHERE id = ?",
      ),
      head: sqlite.prepare("INSERT OR REPLACE INTO head VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)"),
    };
    this.#rows = {
      docs: new ManyRows(sqlite, "doc", 7),
      named: new ManyRows(sqlite, "automerge", 2),
      witnesses: new ManyRows(sqlite, "witness", 1, "ON CONFLICT DO NOTHING"),
      touches: new ManyRows(sqlite, "touch", 3),
      addresses: new ManyRows(sqlite, "address", 2, "ON CONFLICT DO NOTHING"),
    };
    this.#putReceipt = sqlite.prepare("INSERT INTO receipt VALUES (?, ?, ?) ON CONFLICT DO NOTHING");
    this.#head = readHead(sqlite, this.#file);
  }

  headCid(): Uint8Array | undefined {
    return this.#head.cid ?? undefined;
  }

  head(): number {
    return this.#head.seq;
  }

  doc(name: string): StoredDoc | undefined {
    const row = named(this.#file, () => this.#statements.doc.get(name)) as DocRow | undefined;
    if (row) return this.#stored(row, name);
    this.#never(docWitness(name), `the document ${name}`);
    return undefined;
  }

  docs(names: readonly string[]): StoredDoc[] {
    const found = new Map<string, StoredDoc>();
    const missing: Buffer[] = [];
    for (let at = 0; at < names.length; at += ASKED_AT_ONCE) {
      const some = names.slice(at, at + ASKED_AT_ONCE);
      const rows = named(this.#file, () => this.#asked("* FROM doc WHERE name", some)) as DocRow[];
      for (const row of rows) found.set(row.name, this.#stored(row, row.name));
      for (const name of some) if (!found.has(name)) missing.push(docWitness(name));
    }
    for (let at = 0; at < missing.length; at += ASKED_AT_ONCE) {
      const some = missing.slice(at, at + ASKED_AT_ONCE);
      if (named(this.#file, () => this.#asked("1 FROM witness WHERE name", some)).length > 0)
        throw rowDamaged(this.#file, "a document was written and is not found");
    }
    return [...found.values()];
  }

  #asked(what: string, names: readonly (string | Buffer)[]): unknown[] {
    const places = names.map(() => "?").join(", ");
    return this.#sqlite.prepare(`SELECT ${what} IN (${places})`).all(names);
  }

  named(automerge: number): string[] {
    const rows = named(this.#file, () => this.#statements.named.all(automerge)) as DocRow[];
    if (rows.length === 0) this.#never(idWitness(automerge), "a document's Automerge id");
    return rows.map((row) => this.#stored(row, row.name).name);
  }

  find(prefix: number): number[] {
    return named(this.#file, () => this.#statements.find.all(prefix)) as number[];
  }

  receipt(principal: string, clientTxId: string): number | undefined {
    const seq = named(this.#file, () => this.#statements.receipt.get(principal, clientTxId));
    if (seq === undefined) this.#never(receiptWitness(principal, clientTxId), `the receipt ${clientTxId}`);
    return seq as number | undefined;
  }

  touches(doc: number, before: number, limit: number): number[] {
    if (limit <= 0) return [];
    const rows = named(this.#file, () => this.#statements.touches.all(doc, before, limit)) as Touch[];
    // Each says which one comes next; what comes first is said by the one above it, or by the document.
    let expected = this.#lastUpTo(doc, before);
    for (const row of rows) {
      if (row.seq !== expected) throw this.#broken(doc, expected);
      expected = row.before;
    }
    if (rows.length < limit && expected > this.#bundledUpTo()) throw this.#broken(doc, expected);
    return rows.map(({ seq }) => seq);
  }

  touchesAfter(doc: number, after: number, upTo: number): number[] {
    const rows = named(this.#file, () => this.#statements.after.all(doc, after, upTo)) as Touch[];
    let expected = this.#lastUpTo(doc, upTo);
    for (let i = rows.length - 1; i >= 0; i -= 1) {
      const row = rows[i] as Touch;
      if (row.seq !== expected) throw this.#broken(doc, expected);
      expected = row.before;
    }
    if (expected > Math.max(after, this.#bundledUpTo())) throw this.#broken(doc, expected);
    return rows.map(({ seq }) => seq);
  }

  list(prefix: string, after: string, limit: number, withDeleted: boolean): StoredDoc[] {
    const found: StoredDoc[] = [];
    for (let from = after; found.length < limit;) {
      const most = limit - found.length;
      // U+10FFFF sorts after every name that starts with the prefix: names are well-formed UTF-8.
      const rows = named(this.#file, () =>
        this.#statements.list.all(from, prefix, `${prefix}\u{10FFFF}`, most),
      ) as DocRow[];
      for (const row of rows) {
        if (compareNames(row.name, from) <= 0) throw rowDamaged(this.#file, "names are out of their order");
        from = row.name;
        const doc = this.#stored(row, row.name);
        if (withDeleted || !doc.deleted) found.push(doc);
      }
      if (rows.length < most) break;
    }
    return found;
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
    return named(this.#file, () =>
      this.#sqlite.prepare("SELECT last FROM bundle_doc WHERE doc = ? ORDER BY last DESC").pluck().all(doc),
    ) as number[];
  }

  bundles(): SeqRange[] {
    return named(this.#file, () =>
      this.#sqlite.prepare("SELECT first, last FROM bundle ORDER BY last").all(),
    ) as SeqRange[];
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
      const left = addressesIn(this.#sqlite);
      this.#putHead({ ...this.#head, addresses: left.rows, address_sum: left.sum });
    };
    this.#change();
    this.#bundled = undefined;
    named(this.#file, () => {
      this.#sqlite.transaction(work).immediate();
      this.#sqlite.pragma("incremental_vacuum");
      // Whoever reads this file meanwhile must not hold up the writers.
      this.#sqlite.pragma("wal_checkpoint(PASSIVE)");
    });
  }

  facts(kind: FactKind): Fact[] {
    const rows = named(this.#file, () =>
      this.#sqlite.prepare("SELECT * FROM fact WHERE kind = ? ORDER BY name").all(kind),
    ) as (Fact & { sum: number })[];
    return rows.map(({ sum, ...fact }) => {
      if (fact.kind !== kind || sum !== factSum(fact))
        throw rowDamaged(this.#file, `what it says of ${fact.name} is not as it was written`);
      return fact;
    });
  }

  settle(docs: readonly string[], addresses: readonly (readonly [prefix: number, seq: number])[]): void {
    this.#change();
    const before = this.#head;
    const work = (): void => {
      const erasing = new Map(this.facts("erasing").map((fact) => [fact.name, fact]));
      for (const doc of docs) {
        const fact = erasing.get(doc);
        if (!fact) continue;
        this.#sqlite.prepare("DELETE FROM fact WHERE kind = 'erasing' AND name = ?").run(doc);
        this.#putFact({ ...fact, kind: "erased" });
      }
      let { addresses: rows, address_sum: sum } = this.#head;
      const drop = this.#sqlite.prepare("DELETE FROM address WHERE prefix = ? AND seq = ?");
      for (const [prefix, seq] of addresses) {
        if (drop.run(prefix, seq).changes === 0) continue;
        rows -= 1;
        sum = (sum - pairSum(prefix, seq) + 2 ** 32) % 2 ** 32;
      }
      this.#putHead({ ...this.#head, addresses: rows, address_sum: sum });
    };
    try {
      named(this.#file, () => this.#sqlite.transaction(work).immediate());
    } catch (error) {
      this.#head = before;
      throw error;
    }
  }

  #putFact(fact: Fact): void {
    const { kind, name, seq, value } = fact;
    this.#sqlite
      .prepare("INSERT OR REPLACE INTO fact VALUES (?, ?, ?, ?, ?)")
      .run(kind, name, seq, value, factSum(fact));
  }

  write(batch: CatalogBatch): readonly number[] {
    this.#change();
    const before = this.#head;
    try {
      return named(this.#file, () => this.#sqlite.transaction(() => this.#writeAll(batch)).immediate());
    } catch (error) {
      this.#head = before;
      this.#nextId = undefined;
      throw error;
    }
  }

  close(): void {
    this.#sqlite.close();
    if (this.#written) seal(this.#file);
  }

  #writeAll(batch: CatalogBatch): number[] {
    const s = this.#statements;
    const rows = this.#rows;
    let { addresses, address_sum, docs, receipts, receipt_sum } = this.#head;
    for (const table of Object.values(rows)) table.begin();
    const ids: number[] = [];
    for (const doc of batch.docs) {
      const deleted = doc.deleted ? 1 : 0;
      const { name, state, first, last } = doc;
      const id = doc.id ?? this.#newId();
      ids.push(id);
      const sum = docSum({ id, name, state, first, last, deleted });
      let before = 0;
      if (doc.id === undefined) {
        rows.docs.put(id, name, state, first, last, deleted, sum);
        rows.named.put(doc.automerge, id);
        rows.witnesses.put(docWitness(name));
        rows.witnesses.put(idWitness(doc.automerge));
        docs += 1;
      } else {
        const known = s.lastOf.get(id);
        if (typeof known !== "number") throw rowDamaged(this.#file, `the row of ${name} is not found`);
        before = known;
        s.updateDoc.run(state, first, last, deleted, sum, id);
      }
      for (const seq of doc.touches) {
        rows.touches.put(id, seq, before);
        before = seq;
      }
    }
    // In key order the inserts of a batch walk the tree once.
    for (const [prefix, seq] of batch.addresses.toSorted((a, b) => a[0] - b[0])) {
      rows.addresses.put(prefix, seq);
      addresses += 1;
      address_sum = (address_sum + pairSum(prefix, seq)) % 2 ** 32;
    }
    if (rows.addresses.end() < batch.addresses.length) {
      // Some were there before, and which ones nobody says.
      const all = addressesIn(this.#sqlite);
      addresses = all.rows;
      address_sum = all.sum;
    }
    for (const [principal, id, seq] of batch.receipts) {
      if (this.#putReceipt.run(principal, id, seq).changes === 0) continue;
      rows.witnesses.put(receiptWitness(principal, id));
      receipts += 1;
      receipt_sum = (receipt_sum + receiptSum(principal, id, seq)) % 2 ** 32;
    }
    for (const table of Object.values(rows)) table.end();
    for (const fact of batch.facts ?? []) this.#putFact(fact);
    const cid = batch.headCid ?? null;
    this.#putHead({ seq: batch.head, cid, addresses, address_sum, docs, receipts, receipt_sum });
    return ids;
  }

  #putHead(head: CatalogHead): void {
    const { seq, cid, addresses, address_sum, docs, receipts, receipt_sum } = head;
    const cells = [seq, cid, addresses, address_sum, docs, receipts, receipt_sum];
    this.#statements.head.run(...cells, headSum(head));
    this.#head = head;
  }

  /** Before the first write: from here on the file is not what it was closed as. */
  #change(): void {
    if (this.#written) return;
    this.#written = true;
    breakSeal(this.#file);
  }

  #newId(): number {
    this.#nextId ??=
      (this.#sqlite.prepare("SELECT coalesce(max(id), 0) FROM doc").pluck().get() as number) + 1;
    const id = this.#nextId;
    this.#nextId += 1;
    return id;
  }

  #stored(row: DocRow, name: string): StoredDoc {
    if (row.name !== name || row.sum !== docSum({ ...row, name })) {
      throw rowDamaged(this.#file, `the row of ${name} is not as it was written`);
    }
    const { id, state, first, last, deleted } = row;
    return { id, name, state, first, last, deleted: deleted === 1 };
  }

  /** Throws when something that is not found was there all the same. */
  #never(witness: Buffer, what: string): void {
    if (named(this.#file, () => this.#statements.witness.get(witness)) !== undefined)
      throw rowDamaged(this.#file, `${what} was written and is not found`);
  }

  /** The newest touch at or below `upTo` as its neighbour above names it. */
  #lastUpTo(doc: number, upTo: number): number {
    return named(
      this.#file,
      () => this.#statements.next.get(doc, upTo) ?? this.#statements.lastOf.get(doc) ?? 0,
    ) as number;
  }

  #bundledUpTo(): number {
    this.#bundled ??= this.bundles().at(-1)?.last ?? 0;
    return this.#bundled;
  }

  #broken(doc: number, seq: number): Error {
    return rowDamaged(this.#file, `commit ${seq} touched document ${doc} and is not found`);
  }
}

function compareNames(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

interface Touch {
  readonly seq: number;
  readonly before: number;
}
