import path from "node:path";
import type { SkaldError } from "../errors.ts";
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

  constructor(dir: string) {
    this.#file = path.join(dir, SERVICE_FILE);
    this.#sqlite = openSqlite(this.#file, { kind: "service", create: true });
    this.#gate = new WriteGate(this.#sqlite, this.#file);
  }

  /** Set once a write failed: the outcome of that one is unknown, and no other is taken. */
  get failed(): SkaldError | undefined {
    return this.#gate.failed;
  }

  get(dbId: string): DbRow | undefined {
    return this.#read(() => this.#sqlite.prepare(`${SELECT} WHERE db_id = ?`).get(dbId)) as DbRow | undefined;
  }

  /** Dbs in id order after `after`. */
  page(after: string, limit: number): DbRow[] {
    return this.#read(() =>
      this.#sqlite
        .prepare(`${SELECT} WHERE db_id > ? AND state = 'ready' ORDER BY db_id LIMIT ?`)
        .all(after, limit),
    ) as DbRow[];
  }

  unfinished(): DbRow[] {
    return this.#read(() => this.#sqlite.prepare(`${SELECT} WHERE state <> 'ready'`).all()) as DbRow[];
  }

  count(): number {
    return this.#read(() =>
      this.#sqlite.prepare("SELECT count(*) FROM db WHERE state = 'ready'").pluck().get(),
    ) as number;
  }

  put(row: DbRow): void {
    this.#write(
      "INSERT INTO db (db_id, folder, created, state) VALUES (?, ?, ?, ?) ON CONFLICT (db_id) DO UPDATE SET state = excluded.state",
      [row.dbId, row.folder, row.created, row.state],
    );
  }

  remove(dbId: string): void {
    this.#write("DELETE FROM db WHERE db_id = ?", [dbId]);
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

  #read<T>(work: () => T): T {
    return named(this.#file, work);
  }

  #write(sql: string, args: readonly unknown[]): void {
    this.#gate.run(() => this.#sqlite.prepare(sql).run(...args));
  }
}

const SELECT = `SELECT db_id AS "dbId", folder, created, state FROM db`;
