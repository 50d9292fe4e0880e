import path from "node:path";
import { SkaldError } from "../errors.ts";
import { rowSum } from "./row-sum.ts";
import { SnapshotTable } from "./sqlite-snapshots.ts";
import { named, openSqlite, type Sqlite } from "./sqlite.ts";
import { WriteGate } from "./write-gate.ts";

/** The file that says which dbs there are and who may use them. */
export const SERVICE_FILE = "service.sqlite";

export interface DbRow {
  readonly dbId: string;
  readonly folder: string;
  /** Milliseconds since 1970. */
  readonly created: number;
  /** `creating` and `deleting` are steps that a crash may leave; the next start finishes them. */
  readonly state: "creating" | "ready" | "deleting";
}

/** The list of dbs of a data directory. */
export class DbTable {
  readonly #sqlite: Sqlite;
  readonly #file: string;
  readonly #gate: WriteGate;
  /** Named snapshots of the dbs in the list. */
  readonly snapshots: SnapshotTable;

  constructor(dir: string) {
    this.#file = path.join(dir, SERVICE_FILE);
    this.#sqlite = openSqlite(this.#file, { kind: "service", create: true });
    this.#gate = new WriteGate(this.#sqlite, this.#file);
    this.snapshots = new SnapshotTable(this.#sqlite, this.#file, this.#gate);
    this.#fillSums();
  }

  /** Set once a write failed: the outcome of that one is unknown, and no other is taken. */
  get failed(): SkaldError | undefined {
    return this.#gate.failed;
  }

  /** Throws DB_DAMAGED when the row is not as it was written; so does every call that gives rows. */
  get(dbId: string): DbRow | undefined {
    return this.#rows(`${SELECT} WHERE db_id = ?`, dbId)[0];
  }

  /** Dbs in id order after `after`. */
  page(after: string, limit: number): DbRow[] {
    return this.#rows(`${SELECT} WHERE db_id > ? AND state = 'ready' ORDER BY db_id LIMIT ?`, after, limit);
  }

  unfinished(): DbRow[] {
    return this.#rows(`${SELECT} WHERE state <> 'ready'`);
  }

  count(): number {
    return this.#read(() =>
      this.#sqlite.prepare("SELECT count(*) FROM db WHERE state = 'ready'").pluck().get(),
    ) as number;
  }

  put(row: DbRow): void {
    this.#write(
      `INSERT INTO db (db_id, folder, created, state, sum) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (db_id) DO UPDATE
       SET folder = excluded.folder, created = excluded.created, state = excluded.state, sum = excluded.sum`,
      [row.dbId, row.folder, row.created, row.state, sumOf(row)],
    );
  }

  /** The row, and what is remembered of the db, together. */
  remove(dbId: string): void {
    this.#gate.run(() =>
      this.#sqlite
        .transaction(() => {
          this.#sqlite.prepare("DELETE FROM remote WHERE db_id = ?").run(dbId);
          this.#sqlite.prepare("DELETE FROM setting WHERE db_id = ?").run(dbId);
          this.#sqlite.prepare("DELETE FROM snapshot WHERE db_id = ?").run(dbId);
          this.#sqlite.prepare("DELETE FROM capability_owner WHERE db_id = ?").run(dbId);
          this.#sqlite.prepare("DELETE FROM db WHERE db_id = ?").run(dbId);
        })
        .immediate(),
    );
  }

  /** Puts these in the place of all there are, and forgets what is remembered of others. */
  restore(rows: readonly DbRow[]): void {
    const put = "INSERT INTO db (db_id, folder, created, state, sum) VALUES (?, ?, ?, ?, ?)";
    this.#gate.run(() =>
      this.#sqlite
        .transaction(() => {
          this.#sqlite.prepare("DELETE FROM db").run();
          for (const row of rows)
            this.#sqlite.prepare(put).run(row.dbId, row.folder, row.created, row.state, sumOf(row));
          for (const table of this.#aboutDbs())
            this.#sqlite.prepare(`DELETE FROM ${table} WHERE db_id NOT IN (SELECT db_id FROM db)`).run();
        })
        .immediate(),
    );
  }

  /** The tables whose rows are about a db of the list. */
  #aboutDbs(): string[] {
    return this.#sqlite
      .prepare(
        "SELECT s.name FROM sqlite_schema s, pragma_table_info(s.name) c WHERE s.type = 'table' AND c.name = 'db_id' AND s.name <> 'db'",
      )
      .pluck()
      .all() as string[];
  }

  /** Where a db was cloned from; also undefined when what is kept of it is damaged: it can be given again. */
  remote(dbId: string): string | undefined {
    const row = this.#read(() =>
      this.#sqlite.prepare("SELECT url, sum FROM remote WHERE db_id = ?").get(dbId),
    ) as { url: string; sum: number } | undefined;
    return row && row.sum === rowSum([dbId, row.url]) ? row.url : undefined;
  }

  putRemote(dbId: string, url: string): void {
    this.#write("INSERT OR REPLACE INTO remote VALUES (?, ?, ?)", [dbId, url, rowSum([dbId, url])]);
  }

  /** What was set of a db, as JSON text; also undefined when it is damaged: the defaults hold then. */
  setting(dbId: string): string | undefined {
    const row = this.#read(() =>
      this.#sqlite.prepare("SELECT value, sum FROM setting WHERE db_id = ?").get(dbId),
    ) as { value: string; sum: number } | undefined;
    return row && row.sum === rowSum([dbId, row.value]) ? row.value : undefined;
  }

  putSetting(dbId: string, value: string): void {
    this.#write("INSERT OR REPLACE INTO setting VALUES (?, ?, ?)", [dbId, value, rowSum([dbId, value])]);
  }

  /** Keeps that documents of the db with this uid were erased, all or none. Throws STORAGE_FULL, STORAGE_FAILED. */
  putErasures(uid: Uint8Array, erased: readonly ErasureRow[]): void {
    this.#gate.run(() =>
      this.#sqlite
        .transaction(() => {
          const put = this.#sqlite.prepare(
            "INSERT INTO erasure VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
          );
          for (const row of erased) {
            const { doc, seq, commit, time } = row;
            put.run(uid, doc, seq, commit, time, erasureSum(uid, row));
          }
        })
        .immediate(),
    );
  }

  /**
   * Documents of the db with this uid that were erased, by name; of every db that was ever here. What of them is
   * damaged is left out: each stands in the db's own log as well.
   */
  erasures(uid: Uint8Array): ErasureRow[] {
    const rows = this.#read(() =>
      this.#sqlite
        .prepare('SELECT doc, seq, commit_cid AS "commit", time, sum FROM erasure WHERE uid = ? ORDER BY doc')
        .all(uid),
    ) as (ErasureRow & { sum: number })[];
    return rows
      .filter((row) => row.sum === erasureSum(uid, row))
      .map(({ doc, seq, commit, time }) => ({ doc, seq, commit, time }));
  }

  /** Begins a write and takes it back. Throws STORAGE_FULL, STORAGE_FAILED. */
  checkWritable(): void {
    this.#gate.run(() =>
      this.#sqlite
        .transaction(() => this.#sqlite.prepare("UPDATE db SET created = created WHERE 0").run())
        .immediate(),
    );
  }

  close(): void {
    this.#gate.close();
  }

  /** Rows of before there were sums. */
  #fillSums(): void {
    const rows = this.#read(() => this.#sqlite.prepare(`${SELECT} WHERE sum IS NULL`).all()) as DbRow[];
    for (const row of rows) this.#write("UPDATE db SET sum = ? WHERE db_id = ?", [sumOf(row), row.dbId]);
  }

  #rows(sql: string, ...args: readonly unknown[]): DbRow[] {
    const rows = this.#read(() => this.#sqlite.prepare(sql).all(...args)) as (DbRow & { sum: number })[];
    return rows.map(({ sum, ...row }) => {
      if (sum === sumOf(row)) return row;
      throw new SkaldError("DB_DAMAGED", `What ${this.#file} says of the db ${row.dbId} is damaged.`, {
        details: { file: this.#file },
        hint: "Put service.sqlite back from a backup; the files of the dbs were not touched.",
      });
    });
  }

  #read<T>(work: () => T): T {
    return named(this.#file, work);
  }

  #write(sql: string, args: readonly unknown[]): void {
    this.#gate.run(() => this.#sqlite.prepare(sql).run(...args));
  }
}

/** A document that was erased, by the commit under this seq and address; milliseconds since 1970. */
export interface ErasureRow {
  readonly doc: string;
  readonly seq: number;
  readonly commit: Uint8Array;
  readonly time: number;
}

const erasureSum = (uid: Uint8Array, { doc, seq, commit, time }: ErasureRow): number =>
  rowSum([uid, doc, seq, commit, time]);

const SELECT = `SELECT db_id AS "dbId", folder, created, state, sum FROM db`;

const sumOf = ({ dbId, folder, created, state }: DbRow): number => rowSum([dbId, folder, created, state]);
