import { rmSync } from "node:fs";
import path from "node:path";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import { syncFolder } from "./folder.ts";
import { ManyRows } from "./many-rows.ts";
import { rowDamaged, rowSum } from "./row-sum.ts";
import { breakSeal, checkSeal, seal, sealOf } from "./seal.ts";
import { checkStructure, named, openSqlite, standOn, type Sqlite, type Statement } from "./sqlite.ts";
import { checkViews } from "./views-check.ts";
import { documentSum, savedSum, type RawRow } from "./views-rows.ts";

const VIEWS_FILE = "views.sqlite";

/** A document as the projection holds it. */
export interface DocumentRow {
  readonly name: string;
  readonly seq: number;
  readonly deleted: boolean;
  /** Undefined when the document does not load. */
  readonly json: string | undefined;
  readonly problem: string | undefined;
}

/** Opens the projections' file in `folder`, new when it is missing. Throws as `openSqlite` does. */
export function openViews(folder: string): Views {
  const file = path.join(folder, VIEWS_FILE);
  const sealed = checkSeal(file);
  const sqlite = openSqlite(file, { kind: "views", create: true });
  return standOn(sqlite, file, () => {
    const views = new Views(sqlite, folder);
    if (sealed === "open") checkStructure(sqlite, file, () => checkViews(sqlite, file));
    return views;
  });
}

/** Removes the projections' file; the next opening starts an empty one. */
export function dropViews(folder: string): void {
  const file = path.join(folder, VIEWS_FILE);
  // The seal goes first: without it nothing is taken for what was sealed.
  for (const name of [sealOf(file), `${file}-wal`, `${file}-shm`, file]) rmSync(name, { force: true });
  // Or a power cut may leave the next file with the write-ahead log of this one.
  syncFolder(folder);
}

/** The seq of the projections' file in `folder`, 0 when there is none or it is damaged. */
export function viewsHeadIn(folder: string): number {
  const file = path.join(folder, VIEWS_FILE);
  try {
    const sqlite = openSqlite(file, { kind: "views", readonly: true });
    try {
      return readViewsHead(sqlite, file);
    } finally {
      sqlite.close();
    }
  } catch {
    return 0;
  }
}

/** Throws DERIVED_DAMAGED when it is not as it was written. */
function readViewsHead(sqlite: Sqlite, file: string): number {
  const row = sqlite.prepare("SELECT seq, sum FROM head").get() as { seq: number; sum: number } | undefined;
  if (!row) {
    // A file that was just made has no rows at all.
    if (sqlite.prepare("SELECT 1 FROM document LIMIT 1").get()) throw rowDamaged(file, "it has no head");
    return 0;
  }
  if (row.sum !== rowSum([row.seq])) throw rowDamaged(file, "its head is not as it was written");
  return row.seq;
}

/** Tables of the projections. Derived: nothing here needs an fsync or a backup. */
export class Views {
  readonly #sqlite: Sqlite;
  readonly #file: string;
  readonly #row: Statement;
  readonly #page: Statement;
  readonly #put: ManyRows;
  readonly #putSaved: Statement;
  readonly #dropSaved: Statement;
  readonly #saved: Statement;
  #head: number;
  #written = false;

  constructor(sqlite: Sqlite, folder: string) {
    this.#sqlite = sqlite;
    this.#file = path.join(folder, VIEWS_FILE);
    this.#head = readViewsHead(sqlite, this.#file);
    this.#row = sqlite.prepare("SELECT * FROM document WHERE name = ?");
    this.#page = sqlite.prepare("SELECT * FROM document WHERE name > ? ORDER BY name LIMIT ?");
    this.#put = new ManyRows(
      sqlite,
      "document",
      6,
      `ON CONFLICT (name) DO UPDATE
       SET seq = excluded.seq, deleted = excluded.deleted, json = excluded.json, problem = excluded.problem,
           sum = excluded.sum`,
    );
    this.#putSaved = sqlite.prepare(
      "INSERT INTO saved VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET bytes = excluded.bytes, sum = excluded.sum",
    );
    this.#dropSaved = sqlite.prepare("DELETE FROM saved WHERE name = ? AND seq < ?");
    this.#saved = sqlite.prepare(
      "SELECT seq, bytes, sum FROM saved WHERE name = ? ORDER BY seq DESC LIMIT 1",
    );
  }

  /** The seq up to which every commit is in. */
  head(): number {
    return this.#head;
  }

  document(name: string): DocumentRow | undefined {
    const row = named(this.#file, () => this.#row.get(name)) as RawRow | undefined;
    return row && this.#checked(row, name);
  }

  /** Documents in name order after `after`. */
  page(after: string, limit: number): DocumentRow[] {
    const rows = named(this.#file, () => this.#page.all(after, limit)) as RawRow[];
    return rows.map((row) => this.#checked(row, row.name));
  }

  /** Writes rows and moves the head, together. */
  write(rows: readonly DocumentRow[], head: number): void {
    this.#change();
    named(this.#file, () =>
      this.#sqlite
        .transaction(() => {
          this.#put.begin();
          for (const row of rows) {
            const { name, seq } = row;
            const raw = { deleted: row.deleted ? 1 : 0, json: pack(row.json), problem: row.problem ?? null };
            const sum = documentSum({ name, seq, ...raw });
            this.#put.put(name, seq, raw.deleted, raw.json, raw.problem, sum);
          }
          this.#put.end();
          this.#sqlite.prepare("INSERT OR REPLACE INTO head VALUES (1, ?, ?)").run(head, rowSum([head]));
        })
        .immediate(),
    );
    this.#head = head;
  }

  /** Gives freed space back. False when somebody who reads keeps some of what was removed from going. */
  tidy(): boolean {
    this.#change();
    return named(this.#file, () => {
      this.#sqlite.pragma("incremental_vacuum");
      const [row] = this.#sqlite.pragma("wal_checkpoint(TRUNCATE)") as { busy: number }[];
      return row?.busy === 0;
    });
  }

  /** Removes the saved forms of documents, and of their rows all but that they are deleted. */
  erase(docs: readonly string[]): void {
    this.#change();
    named(this.#file, () =>
      this.#sqlite
        .transaction(() => {
          const drop = this.#sqlite.prepare("DELETE FROM saved WHERE name = ?");
          this.#put.begin();
          for (const name of docs) {
            drop.run(name);
            const row = this.#row.get(name) as RawRow | undefined;
            if (!row || (row.json === null && row.problem === null)) continue;
            const left = { deleted: 1, json: null, problem: null };
            this.#put.put(name, row.seq, 1, null, null, documentSum({ name, seq: row.seq, ...left }));
          }
          this.#put.end();
        })
        .immediate(),
    );
  }

  /** The newest saved form of a document. */
  saved(name: string): { seq: number; bytes: Uint8Array } | undefined {
    const row = named(this.#file, () => this.#saved.get(name)) as
      { seq: number; bytes: Uint8Array; sum: number } | undefined;
    if (!row) return undefined;
    const { seq, bytes, sum } = row;
    if (sum !== savedSum(name, seq, bytes)) {
      throw rowDamaged(this.#file, `the saved form of ${name} is not as it was written`);
    }
    return { seq, bytes };
  }

  /** Keeps a saved form in the place of all older ones. */
  putSaved(name: string, seq: number, bytes: Uint8Array): void {
    this.#change();
    named(this.#file, () =>
      this.#sqlite
        .transaction(() => {
          this.#putSaved.run(name, seq, bytes, savedSum(name, seq, bytes));
          this.#dropSaved.run(name, seq);
        })
        .immediate(),
    );
  }

  close(): void {
    this.#sqlite.close();
    if (this.#written) seal(this.#file);
  }

  #checked(row: RawRow, name: string): DocumentRow {
    if (row.name !== name || row.sum !== documentSum(row)) {
      throw rowDamaged(this.#file, `the row of ${name} is not as it was written`);
    }
    return fromRaw(row);
  }

  /** Before the first write: from here on the file is not what it was closed as. */
  #change(): void {
    if (this.#written) return;
    this.#written = true;
    breakSeal(this.#file);
  }
}

function fromRaw(row: RawRow): DocumentRow {
  return {
    name: row.name,
    seq: row.seq,
    deleted: row.deleted === 1,
    json: unpack(row.json),
    problem: row.problem ?? undefined,
  };
}

/** A large value is mostly text, and read as a whole or not at all: deflated it takes a third. */
const DEFLATE_FROM = 32 * 1024;

function pack(json: string | undefined): string | Uint8Array | null {
  if (json === undefined) return null;
  return json.length < DEFLATE_FROM ? json : deflateRawSync(json, { level: 9 });
}

function unpack(json: string | Uint8Array | null): string | undefined {
  if (json === null || typeof json === "string") return json ?? undefined;
  return inflateRawSync(json).toString("utf8");
}
