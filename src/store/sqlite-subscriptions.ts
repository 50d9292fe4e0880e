import { existsSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import { SkaldError, isSkaldError } from "../errors.ts";
import type { StoredSubscription, SubscriptionTable } from "./contract.ts";
import { syncFolder } from "./folder.ts";
import { walBytes } from "./log-note.ts";
import { rowSum } from "./row-sum.ts";
import { named, openSqlite, standOn, storageError, syncFile, type Sqlite, type Statement } from "./sqlite.ts";
import { walDamage } from "./wal-check.ts";
import { WriteGate } from "./write-gate.ts";

export const SUBSCRIPTIONS_FILE = "subscriptions.sqlite";

/**
 * Opens the subscriptions of the db with this uid in its folder; undefined when it never had any, unless `create`
 * is given. Throws SUBSCRIPTIONS_DAMAGED, DB_NEWER, STORAGE_FULL, STORAGE_FAILED.
 */
export function openSqliteSubscriptions(
  folder: string,
  uid: Uint8Array,
  { create = false, readonly = false }: { readonly create?: boolean; readonly readonly?: boolean } = {},
): SubscriptionTable | undefined {
  const file = path.join(folder, SUBSCRIPTIONS_FILE);
  if (!existsSync(file)) {
    if (!create) return undefined;
    named(file, () => make(file, uid));
  }
  try {
    const left = walBytes(file) > 0;
    const torn = left && !readonly ? walDamage(`${file}-wal`) : undefined;
    if (torn !== undefined) throw damaged(file, `of its write-ahead log ${torn}`);
    const sqlite = openSqlite(file, { kind: "subscriptions", readonly });
    return standOn(sqlite, file, () => {
      const table = new SqliteSubscriptions(sqlite, file, uid);
      if (left && !readonly) table.moveIn();
      return table;
    });
  } catch (error) {
    if (!isSkaldError(error) || (error.code !== "DB_DAMAGED" && error.code !== "DB_FOREIGN")) throw error;
    throw new SkaldError("SUBSCRIPTIONS_DAMAGED", error.message, { details: error.details, cause: error });
  }
}

/** Under its name once it is whole: a file that is there and empty is a damaged one. */
function make(file: string, uid: Uint8Array): void {
  const young = `${file}.new`;
  for (const suffix of ["", "-wal", "-shm"]) rmSync(young + suffix, { force: true });
  const sqlite = openSqlite(young, { kind: "subscriptions", create: true, syncsItself: true });
  try {
    putHead(sqlite, uid, 0, 0);
    sqlite.pragma("wal_checkpoint(TRUNCATE)");
  } finally {
    sqlite.close();
  }
  syncFile(young);
  renameSync(young, file);
  syncFolder(path.dirname(file));
}

/** Bytes of write-ahead log after which they are moved into the file. */
const TIDY_BYTES = 4 * 1024 * 1024;
const SUMS = 2 ** 48;

class SqliteSubscriptions implements SubscriptionTable {
  readonly #sqlite: Sqlite;
  readonly #file: string;
  readonly #uid: Uint8Array;
  readonly #gate: WriteGate;
  readonly #insert: Statement;
  readonly #update: Statement;
  readonly #remove: Statement;
  readonly #head: Statement;
  readonly #apply: (batch: Batch) => void;
  readonly #stored = new Map<string, StoredSubscription>();
  readonly #sums = new Map<string, number>();
  #total = 0;
  #sinceTidy = 0;

  constructor(sqlite: Sqlite, file: string, uid: Uint8Array) {
    this.#sqlite = sqlite;
    this.#file = file;
    this.#uid = uid;
    // Whatever else goes wrong: better stop than guess what of it is kept.
    this.#gate = new WriteGate(
      sqlite,
      file,
      (error) => !isSkaldError(error) || error.code !== "STORAGE_FULL",
    );
    this.#insert = sqlite.prepare("INSERT INTO subscription VALUES (?, ?, ?, ?)");
    this.#update = sqlite.prepare(
      "UPDATE subscription SET definition = ?, state = ?, sum = ? WHERE name = ?",
    );
    this.#remove = sqlite.prepare("DELETE FROM subscription WHERE name = ?");
    this.#head = sqlite.prepare("UPDATE head SET count = ?, total = ?, sum = ?");
    // Made once: making it takes as long as the rest of a small write.
    const apply = sqlite.transaction((batch: Batch) => {
      const { puts, sums, removes, count, total } = batch;
      for (const name of removes) this.#remove.run(name);
      puts.forEach(({ name, definition, state }, i) => {
        const known = this.#update.run(definition, state, sums[i], name).changes === 1;
        if (!known) this.#insert.run(name, definition, state, sums[i]);
      });
      this.#head.run(count, total, headSum(uid, count, total));
    });
    this.#apply = (batch) => apply.immediate(batch);
    this.#load();
  }

  get stored(): ReadonlyMap<string, StoredSubscription> {
    return this.#stored;
  }

  write(puts: readonly StoredSubscription[], removes: readonly string[]): void {
    const sums = puts.map(sumOf);
    let total = this.#total;
    let count = this.#sums.size;
    const without = (name: string): boolean => {
      const sum = this.#sums.get(name);
      if (sum === undefined) return false;
      total = (total - sum + SUMS) % SUMS;
      return true;
    };
    for (const name of removes) if (without(name)) count -= 1;
    puts.forEach(({ name }, i) => {
      if (!without(name)) count += 1;
      total = (total + (sums[i] as number)) % SUMS;
    });
    this.#gate.run(() => this.#apply({ puts, sums, removes, count, total }));
    let bytes = 2 * PAGE;
    for (const name of removes) {
      this.#stored.delete(name);
      this.#sums.delete(name);
    }
    puts.forEach((row, i) => {
      bytes += row.definition.length + row.state.length;
      this.#stored.set(row.name, row);
      this.#sums.set(row.name, sums[i] as number);
    });
    this.#total = total;
    this.#sinceTidy += bytes;
    if (this.#sinceTidy > TIDY_BYTES) this.#tidy();
  }

  close(): void {
    this.#gate.close();
  }

  /** What a crash left in the write-ahead log, as far as there is room. */
  moveIn(): void {
    this.#tidy();
    if (this.#gate.failed) throw this.#gate.failed;
  }

  /** What was written is durable where it is: a full disk puts this off, a failed one refuses the next write. */
  #tidy(): void {
    try {
      this.#gate.run(() => {
        this.#sqlite.pragma("incremental_vacuum");
        this.#sqlite.pragma("wal_checkpoint(TRUNCATE)");
        if (existsSync(`${this.#file}-wal`)) syncFile(`${this.#file}-wal`);
      });
      this.#sinceTidy = 0;
    } catch {
      // See above.
    }
  }

  #load(): void {
    const rows = this.#sqlite
      .prepare("SELECT name, definition, state, sum FROM subscription ORDER BY name")
      .all();
    for (const row of rows as (StoredSubscription & { sum: number })[]) {
      const { name, definition, state, sum } = row;
      if (sum !== sumOf(row)) throw damaged(this.#file, `the row of ${name} is not as it was written`);
      this.#stored.set(name, { name, definition, state });
      this.#sums.set(name, sum);
      this.#total = (this.#total + sum) % SUMS;
    }
    const head = this.#sqlite.prepare("SELECT db, count, total, sum FROM head").get() as
      { db: Uint8Array; count: number; total: number; sum: number } | undefined;
    if (!head || head.sum !== headSum(head.db, head.count, head.total))
      throw damaged(this.#file, "its head is not as it was written");
    if (Buffer.compare(head.db, this.#uid) !== 0) throw damaged(this.#file, "it is of another db");
    if (head.count !== this.#sums.size || head.total !== this.#total)
      throw damaged(this.#file, "a row is missing, or is an older one");
  }
}

const PAGE = 4096;

interface Batch {
  readonly puts: readonly StoredSubscription[];
  readonly sums: readonly number[];
  readonly removes: readonly string[];
  readonly count: number;
  readonly total: number;
}

function putHead(sqlite: Sqlite, uid: Uint8Array, count: number, total: number): void {
  sqlite
    .prepare("INSERT INTO head VALUES (1, ?, ?, ?, ?)")
    .run(uid, count, total, headSum(uid, count, total));
}

const sumOf = ({ name, definition, state }: StoredSubscription): number => rowSum([name, definition, state]);

const headSum = (uid: Uint8Array, count: number, total: number): number => rowSum([uid, count, total]);

function damaged(file: string, what: string): SkaldError {
  return new SkaldError("DB_DAMAGED", `The file ${file} is damaged: ${what}.`, { details: { file } });
}

/** Problems of the subscriptions' file in a folder, in words; empty when it is sound or not there. */
export function inspectSubscriptions(folder: string, uid: Uint8Array): string[] {
  try {
    openSqliteSubscriptions(folder, uid, { readonly: true })?.close();
    return [];
  } catch (error) {
    return [(storageError(error, folder) as Error).message.replaceAll(`${folder}${path.sep}`, "")];
  }
}
