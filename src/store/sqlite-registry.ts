import path from "node:path";
import { openSqlite, storageError, type Sqlite } from "./sqlite.ts";

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

  constructor(dir: string) {
    this.#sqlite = openSqlite(path.join(dir, SERVICE_FILE), { kind: "service", create: true });
  }

  get(dbId: string): DbRow | undefined {
    return this.#sqlite.prepare(`${SELECT} WHERE db_id = ?`).get(dbId) as DbRow | undefined;
  }

  /** Dbs in id order after `after`. */
  page(after: string, limit: number): DbRow[] {
    return this.#sqlite
      .prepare(`${SELECT} WHERE db_id > ? AND state = 'ready' ORDER BY db_id LIMIT ?`)
      .all(after, limit) as DbRow[];
  }

  unfinished(): DbRow[] {
    return this.#sqlite.prepare(`${SELECT} WHERE state <> 'ready'`).all() as DbRow[];
  }

  count(): number {
    return this.#sqlite.prepare("SELECT count(*) FROM db WHERE state = 'ready'").pluck().get() as number;
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

  /** Writes a page and takes it back. Throws STORAGE_FULL, STORAGE_FAILED. */
  checkWritable(): void {
    try {
      this.#sqlite.exec("BEGIN IMMEDIATE; UPDATE db SET created = created WHERE 0; ROLLBACK");
    } catch (error) {
      throw storageError(error, SERVICE_FILE);
    }
  }

  close(): void {
    this.#sqlite.close();
  }

  #write(sql: string, args: readonly unknown[]): void {
    try {
      this.#sqlite.prepare(sql).run(...args);
    } catch (error) {
      throw storageError(error, SERVICE_FILE);
    }
  }
}

const SELECT = `SELECT db_id AS "dbId", folder, created, state FROM db`;
