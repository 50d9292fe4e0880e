import { SkaldError } from "../errors.ts";
import { rowSum } from "./row-sum.ts";
import { named, type Sqlite } from "./sqlite.ts";
import type { WriteGate } from "./write-gate.ts";

/** A point of a db that was given a name. */
export interface SnapshotRow {
  readonly name: string;
  readonly kind: "history" | "state";
  /** Of a state; null is `main`. */
  readonly branch: string | null;
  readonly seq: number;
  /** Address of the commit; null before the first. */
  readonly commit: Uint8Array | null;
  /** Milliseconds since 1970. */
  readonly created: number;
  readonly message: string | null;
}

/** The named snapshots of all dbs of a data directory. Rows that are not as they were written are DB_DAMAGED. */
export class SnapshotTable {
  readonly #sqlite: Sqlite;
  readonly #file: string;
  readonly #gate: WriteGate;

  constructor(sqlite: Sqlite, file: string, gate: WriteGate) {
    this.#sqlite = sqlite;
    this.#file = file;
    this.#gate = gate;
  }

  get(dbId: string, name: string): SnapshotRow | undefined {
    return this.#rows(dbId, "AND name = ?", name)[0];
  }

  /** In the order of their names' bytes after `after`. */
  page(dbId: string, after: string, limit: number): SnapshotRow[] {
    return this.#rows(dbId, "AND name > ? ORDER BY name LIMIT ?", after, limit);
  }

  count(dbId: string): number {
    return named(this.#file, () =>
      this.#sqlite.prepare("SELECT count(*) FROM snapshot WHERE db_id = ?").pluck().get(dbId),
    ) as number;
  }

  /** The name must be free. Throws STORAGE_FULL, STORAGE_FAILED. */
  add(dbId: string, row: SnapshotRow): void {
    const { name, kind, branch, seq, commit, created, message } = row;
    this.#gate.run(() =>
      this.#sqlite
        .prepare("INSERT INTO snapshot VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .run(dbId, name, kind, branch, seq, commit, created, message, sumOf(dbId, row)),
    );
  }

  /** Whether there was one. */
  remove(dbId: string, name: string): boolean {
    let removed = false;
    this.#gate.run(() => {
      const { changes } = this.#sqlite
        .prepare("DELETE FROM snapshot WHERE db_id = ? AND name = ?")
        .run(dbId, name);
      removed = changes > 0;
    });
    return removed;
  }

  /** Forgets those of points after `seq`: the db does not have them. */
  removeAfter(dbId: string, seq: number): void {
    this.#gate.run(() =>
      this.#sqlite.prepare("DELETE FROM snapshot WHERE db_id = ? AND seq > ?").run(dbId, seq),
    );
  }

  #rows(dbId: string, where: string, ...args: readonly unknown[]): SnapshotRow[] {
    const rows = named(this.#file, () =>
      this.#sqlite.prepare(`${SELECT} ${where}`).all(dbId, ...args),
    ) as (SnapshotRow & { sum: number })[];
    return rows.map(({ sum, ...row }) => {
      if (sum === sumOf(dbId, row)) return row;
      throw new SkaldError("DB_DAMAGED", `What ${this.#file} says of the snapshot ${row.name} is damaged.`, {
        details: { file: this.#file },
        hint: "Delete the snapshot and make it again; the db is not concerned.",
      });
    });
  }
}

const SELECT = `SELECT name, kind, branch, seq, commit_cid AS "commit", created, message, sum FROM snapshot WHERE db_id = ?`;

const sumOf = (dbId: string, { name, kind, branch, seq, commit, created, message }: SnapshotRow): number =>
  rowSum([dbId, name, kind, branch, seq, commit, created, message]);
