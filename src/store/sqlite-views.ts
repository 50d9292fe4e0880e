import { rmSync } from "node:fs";
import path from "node:path";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import { named, openSqlite, standOn, type Sqlite, type Statement } from "./sqlite.ts";

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
  const sqlite = openSqlite(file, { kind: "views", create: true });
  return standOn(sqlite, file, () => new Views(sqlite, folder));
}

/** Removes the projections' file; the next opening starts an empty one. */
export function dropViews(folder: string): void {
  for (const suffix of ["", "-wal", "-shm"]) rmSync(path.join(folder, VIEWS_FILE + suffix), { force: true });
}

/** Tables of the projections. Derived: nothing here needs an fsync or a backup. */
export class Views {
  readonly #sqlite: Sqlite;
  readonly #file: string;
  readonly #row: Statement;
  readonly #page: Statement;
  readonly #put: Statement;
  readonly #putSaved: Statement;
  readonly #dropSaved: Statement;
  readonly #saved: Statement;
  #head: number;

  constructor(sqlite: Sqlite, folder: string) {
    this.#sqlite = sqlite;
    this.#file = path.join(folder, VIEWS_FILE);
    this.#head = sqlite.prepare("SELECT seq FROM head").pluck().get() as number;
    if (typeof this.#head !== "number") throw new Error("it has no head");
    this.#row = sqlite.prepare("SELECT * FROM document WHERE name = ?");
    this.#page = sqlite.prepare("SELECT * FROM document WHERE name > ? ORDER BY name LIMIT ?");
    this.#put = sqlite.prepare(
      `INSERT INTO document VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE
       SET seq = excluded.seq, deleted = excluded.deleted, json = excluded.json, problem = excluded.problem`,
    );
    this.#putSaved = sqlite.prepare(
      "INSERT INTO saved VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET bytes = excluded.bytes",
    );
    this.#dropSaved = sqlite.prepare("DELETE FROM saved WHERE name = ? AND seq < ?");
    this.#saved = sqlite.prepare("SELECT seq, bytes FROM saved WHERE name = ? ORDER BY seq DESC LIMIT 1");
  }

  /** The seq up to which every commit is in. */
  head(): number {
    return this.#head;
  }

  document(name: string): DocumentRow | undefined {
    const row = named(this.#file, () => this.#row.get(name)) as RawRow | undefined;
    return row && fromRaw(row);
  }

  /** Documents in name order after `after`. */
  page(after: string, limit: number): DocumentRow[] {
    return (named(this.#file, () => this.#page.all(after, limit)) as RawRow[]).map(fromRaw);
  }

  /** Writes rows and moves the head, together. */
  write(rows: readonly DocumentRow[], head: number): void {
    named(this.#file, () =>
      this.#sqlite
        .transaction(() => {
          for (const row of rows) {
            this.#put.run(row.name, row.seq, row.deleted ? 1 : 0, pack(row.json), row.problem ?? null);
          }
          this.#sqlite.prepare("UPDATE head SET seq = ?").run(head);
        })
        .immediate(),
    );
    this.#head = head;
  }

  /** Gives freed space back. */
  tidy(): void {
    named(this.#file, () => {
      this.#sqlite.pragma("incremental_vacuum");
      this.#sqlite.pragma("wal_checkpoint(TRUNCATE)");
    });
  }

  /** The newest saved form of a document. */
  saved(name: string): { seq: number; bytes: Uint8Array } | undefined {
    return named(this.#file, () => this.#saved.get(name)) as { seq: number; bytes: Uint8Array } | undefined;
  }

  /** Keeps a saved form in the place of all older ones. */
  putSaved(name: string, seq: number, bytes: Uint8Array): void {
    named(this.#file, () =>
      this.#sqlite
        .transaction(() => {
          this.#putSaved.run(name, seq, bytes);
          this.#dropSaved.run(name, seq);
        })
        .immediate(),
    );
  }

  close(): void {
    this.#sqlite.close();
  }
}

interface RawRow {
  name: string;
  seq: number;
  deleted: number;
  json: string | Uint8Array | null;
  problem: string | null;
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
