import { existsSync, statSync } from "node:fs";
import path from "node:path";
import { SkaldError, isSkaldError } from "../errors.ts";
import { FIRST_EPOCH } from "../ids/cursor.ts";
import { blake3 } from "../ids/hash.ts";
import { realWorld, type World } from "../world.ts";
import { dropNote, hashOf, readNote, refuseStrayWal, walBytes, writeNote, type LogNote } from "./log-note.ts";
import {
  commitsMissing,
  type AdoptedLine,
  type DbIdentity,
  type Life,
  type LogStorage,
  type PackedRecords,
  type SeqRange,
  type StoredRecord,
} from "./contract.ts";
import { makeFolder } from "./folder.ts";
import { rowSum } from "./row-sum.ts";
import { checkSpace } from "./space.ts";
import { named, openSqlite, standOn, storageError, syncFile, type Sqlite, type Statement } from "./sqlite.ts";
import { packedPages } from "./packed-page.ts";
import { walDamage } from "./wal-check.ts";
import { WriteGate } from "./write-gate.ts";

const LOG_FILE = "log.sqlite";
/** Bytes of disk that stay free unless told otherwise. */
export const DEFAULT_RESERVE = 32 * 1024 * 1024;

export interface SqliteLogOptions {
  /** Writes are refused with STORAGE_FULL while the disk has less than this free, in bytes. */
  readonly reserve?: number;
  /** The write-ahead log is moved into the file once it has grown past this, in bytes. */
  readonly walBytes?: number;
  readonly world?: World;
  /** The uid of a db that is made as another server's copy: 16 bytes. */
  readonly uid?: Uint8Array;
  /** When a db that is restored was made, and the lives it has had, its new one last. */
  readonly restored?: { readonly created: number; readonly lives: readonly Life[] };
}

/** Makes the storage of a new db in `folder`. Throws DB_EXISTS, STORAGE_FULL, STORAGE_FAILED. */
export function createSqliteLog(folder: string, dbId: string, options: SqliteLogOptions = {}): LogStorage {
  named(folder, () => makeFolder(folder));
  const file = path.join(folder, LOG_FILE);
  const sqlite = openSqlite(file, { kind: "log", create: true, syncsItself: true });
  try {
    if (!putIdentity(sqlite, dbId, options)) throw new SkaldError("DB_EXISTS", `The db ${dbId} exists.`);
    // Closing would do it too, but say nothing when it could not: then what is synced below is not the db.
    sqlite.pragma("wal_checkpoint(TRUNCATE)");
  } catch (error) {
    throw storageError(error, file);
  } finally {
    sqlite.close();
  }
  named(file, () => syncFile(file));
  return openSqliteLog(folder, dbId, options);
}

/** Gives false when the file has one. */
function putIdentity(
  sqlite: Sqlite,
  dbId: string,
  { world = realWorld, uid, restored }: SqliteLogOptions,
): boolean {
  const put = sqlite.prepare("INSERT INTO identity VALUES (?, ?) ON CONFLICT DO NOTHING");
  return sqlite.transaction(() => {
    const first = put.run("db_id", Buffer.from(dbId)).changes === 1;
    if (first) {
      const parts = [
        uid ?? world.random(16),
        world.random(16),
        Buffer.from(String(restored?.created ?? world.now())),
      ] as const;
      put.run("uid", parts[0]);
      put.run("actor", parts[1]);
      put.run("created", parts[2]);
      put.run("check", identityCheck([Buffer.from(dbId), ...parts]));
      const begin = sqlite.prepare("INSERT INTO life VALUES (?, ?, ?)");
      restored?.lives.forEach((life, i, { [i - 1]: before }) =>
        begin.run(life.epoch, life.after, lifeSum(life, before?.epoch)),
      );
    }
    return first;
  })();
}

export interface SqliteLogOpenOptions extends SqliteLogOptions {
  /**
   * Beside a writer, whose further records it sees, or without touching anything: what a crash left is
   * neither checked nor moved.
   */
  readonly readonly?: boolean;
  /** The seq up to which others know the log to go. Asked after a crash, before anything is moved. */
  readonly known?: () => number;
}

/** Opens the storage of a db. Throws DB_MISSING, DB_FOREIGN, DB_NEWER, DB_DAMAGED, STORAGE_FAILED. */
export function openSqliteLog(folder: string, dbId: string, options: SqliteLogOpenOptions = {}): LogStorage {
  const file = path.join(folder, LOG_FILE);
  if (options.readonly === true) return openFile(file, dbId, options);
  const crashed = named(file, () => {
    refuseStrayWal(file);
    const left = walBytes(file) > 0;
    if (left) checkLeftWal(file, dbId, options);
    return left;
  });
  return openFile(file, dbId, { ...options, crashed });
}

/** Lets go of what was noted when the log was closed: the log is to be taken as it is. Throws DB_DAMAGED for a stray write-ahead log. */
export function forgetClosed(folder: string): void {
  const file = path.join(folder, LOG_FILE);
  refuseStrayWal(file);
  dropNote(file);
}

function openFile(
  file: string,
  dbId: string,
  options: SqliteLogOpenOptions & { readonly crashed?: boolean },
): SqliteLog {
  const sqlite = openSqlite(file, { kind: "log", readonly: options.readonly === true });
  return standOn(sqlite, file, () => new SqliteLog(sqlite, file, dbId, options));
}

/**
 * Looks at what a crash left before a connection that writes does: closing one moves the write-ahead log into
 * the file, and a wrong one would take the log with it.
 */
function checkLeftWal(file: string, dbId: string, { known }: SqliteLogOpenOptions): void {
  const damage = walDamage(`${file}-wal`);
  if (damage !== undefined) {
    throw new SkaldError("DB_DAMAGED", `The write-ahead log ${file}-wal is damaged: ${damage}.`, {
      details: { file },
      hint: "What was acknowledged is missing: restore from a backup. Nothing was touched.",
    });
  }
  const log = openFile(file, dbId, { readonly: true });
  try {
    const seq = known?.() ?? 0;
    if (log.last() < seq) throw commitsMissing(log.last(), seq, "what is derived from it");
  } finally {
    log.close();
  }
}

class SqliteLog implements LogStorage {
  readonly identity: DbIdentity;
  readonly #sqlite: Sqlite;
  readonly #file: string;
  readonly #reserve: number;
  readonly #walBytes: number;
  readonly #insert: Statement;
  readonly #read: Statement;
  readonly #page: Statement;
  readonly #packed: ReturnType<typeof packedPages>;
  readonly #append: (records: readonly StoredRecord[]) => void;
  /** Of a reader beside a writer, who adds records all the time: it asks the file each time. */
  readonly #lastOf: (() => number) | undefined;
  #last: number;
  readonly #gate: WriteGate;
  /** Bytes appended since the last look at the disk; the look costs a system call. */
  #sinceLook = Number.POSITIVE_INFINITY;
  #sinceTidy = 0;
  /** Nothing was written since the log was opened: what was noted at its closing still holds. */
  #untouched: boolean;
  /** What was opened and refused is left as it was found, and nothing is noted of it. */
  #wrote = false;

  constructor(
    sqlite: Sqlite,
    file: string,
    dbId: string,
    options: SqliteLogOpenOptions & { readonly crashed?: boolean },
  ) {
    this.#sqlite = sqlite;
    this.#file = file;
    // Whatever else goes wrong in a write to the log: better stop than guess.
    this.#gate = new WriteGate(
      sqlite,
      file,
      (error) => !isSkaldError(error) || error.code !== "STORAGE_FULL",
    );
    this.#reserve = options.reserve ?? DEFAULT_RESERVE;
    this.#walBytes = options.walBytes ?? 16 * 1024 * 1024;
    this.#insert = sqlite.prepare("INSERT INTO record (seq, first, body) VALUES (?, ?, ?)");
    this.#read = sqlite.prepare("SELECT body, first, seq FROM record WHERE seq >= ? ORDER BY seq LIMIT 1");
    this.#page = sqlite.prepare("SELECT seq, body FROM record WHERE seq >= ? ORDER BY seq LIMIT ?");
    this.#packed = packedPages(sqlite);
    this.identity = readIdentity(sqlite, file, dbId);
    const last = sqlite.prepare("SELECT max(seq) AS seq FROM record");
    const lastOf = (): number => (named(file, () => last.get()) as { seq: number | null }).seq ?? 0;
    this.#last = lastOf();
    this.#lastOf = options.readonly === true ? lastOf : undefined;
    const note = options.readonly === true ? undefined : readNote(file);
    this.#untouched = note !== undefined;
    if (note && !this.#has(note)) throw commitsMissing(this.#last, note.seq, "the note of its closing");
    // Torn frames that a power cut left must not outlive what is written behind them.
    if (options.crashed === true) this.#moveIn();
    const append = sqlite.transaction((records: readonly StoredRecord[]) => {
      for (const { seq, body, first = seq } of records) this.#insert.run(seq, first, body);
    });
    this.#append = (records) => append.immediate(records);
  }

  last(): number {
    return this.#lastOf?.() ?? this.#last;
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- the contract is asynchronous, SQLite is not
  async append(records: readonly StoredRecord[]): Promise<void> {
    this.#gate.check();
    checkRun(records, this.#last + 1);
    let bytes = 0;
    for (const { body } of records) bytes += body.length;
    this.#look(bytes);
    this.#write(() => this.#append(records));
    this.#last = records.at(-1)?.seq ?? this.#last;
    this.#grown(bytes);
  }

  /** Moves the write-ahead log into the file once it is large. */
  #grown(bytes: number): void {
    this.#sinceTidy += bytes;
    if (this.#sinceTidy <= this.#walBytes) return;
    try {
      this.tidy();
    } catch {
      // The records are durable where they are. A failed disk refuses the next write; a full one is
      // tried again later.
    }
  }

  read(seq: number): Uint8Array | undefined {
    // After a write of unknown outcome the file may have more than was said durable.
    if (!this.#lastOf && !(seq <= this.#last)) return undefined;
    const row = named(this.#file, () => this.#read.get(seq)) as { body: unknown; first: number } | undefined;
    return row && row.first <= seq ? whole(row.body) : undefined;
  }

  page(from: number, limit: number): StoredRecord[] {
    const rows = named(this.#file, () => this.#page.all(from, limit)) as { seq: number; body: unknown }[];
    return rows.map(({ seq, body }) => ({ seq, body: whole(body) }));
  }

  packed(from: number, limit: number, maxBytes: number): PackedRecords | undefined {
    return named(this.#file, () => this.#packed(from, limit, maxBytes));
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- the contract is asynchronous, SQLite is not
  async replace(from: number, to: number, body: Uint8Array): Promise<void> {
    this.#gate.check();
    const covers = this.#sqlite
      .prepare("SELECT min(first) AS first, max(seq) AS last FROM record WHERE seq >= ? AND first <= ?")
      .get(from, to) as { first: number | null; last: number | null };
    if (!(from <= to) || covers.first !== from || covers.last !== to)
      throw new Error(`replace of ${from} to ${to}, which are not whole records`);
    this.#write(() =>
      this.#sqlite
        .transaction(() => {
          this.#sqlite.prepare("DELETE FROM record WHERE seq >= ? AND seq <= ?").run(from, to);
          this.#insert.run(to, from, body);
        })
        .immediate(),
    );
  }

  lives(): readonly Life[] {
    // A reader may come before the writer that brings the file up to date.
    if ((this.#sqlite.pragma("user_version", { simple: true }) as number) < 2) return [];
    const rows = named(this.#file, () =>
      this.#sqlite.prepare("SELECT epoch, after, sum FROM life ORDER BY epoch").all(),
    ) as (Life & { sum: number })[];
    return rows.map(({ epoch, after, sum }, i) => {
      if (sum === lifeSum({ epoch, after }, rows[i - 1]?.epoch)) return { epoch, after };
      throw new SkaldError("DB_DAMAGED", `What ${this.#file} says of the db's lives is damaged.`, {
        details: { file: this.#file },
      });
    });
  }

  staged(): SeqRange | undefined {
    const row = named(this.#file, () =>
      this.#sqlite.prepare("SELECT min(seq) AS first, max(seq) AS last FROM incoming").get(),
    ) as { first: number | null; last: number | null };
    return row.first === null || row.last === null ? undefined : { first: row.first, last: row.last };
  }

  stagedPage(from: number, limit: number): StoredRecord[] {
    const rows = named(this.#file, () =>
      this.#sqlite
        .prepare("SELECT seq, body FROM incoming WHERE seq >= ? ORDER BY seq LIMIT ?")
        .all(from, limit),
    ) as { seq: number; body: unknown }[];
    return rows.map(({ seq, body }) => ({ seq, body: whole(body) }));
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- the contract is asynchronous, SQLite is not
  async stage(records: readonly StoredRecord[]): Promise<void> {
    this.#gate.check();
    const next = (this.staged()?.last ?? Math.min(this.#last, (records[0]?.seq ?? 1) - 1)) + 1;
    checkRun(records, next);
    const bytes = records.reduce((sum, { body }) => sum + body.length, 0);
    this.#look(bytes);
    const insert = this.#sqlite.prepare("INSERT INTO incoming VALUES (?, ?)");
    this.#write(() =>
      this.#sqlite.transaction(() => records.forEach(({ seq, body }) => insert.run(seq, body))).immediate(),
    );
    this.#grown(bytes);
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- the contract is asynchronous, SQLite is not
  async unstage(): Promise<void> {
    this.#gate.check();
    this.#write(() => this.#sqlite.prepare("DELETE FROM incoming").run());
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- the contract is asynchronous, SQLite is not
  async adopt({ from, before, behind, life }: AdoptedLine): Promise<void> {
    this.#gate.check();
    const staged = this.staged();
    const cut = this.#read.get(from) as { first: number } | undefined;
    if (!(from >= 1 && from <= this.#last + 1) || (cut && cut.first !== from))
      throw new Error(`adoption from ${from} on, which is no record's first`);
    checkRun(before, from);
    const middle = from + before.length;
    if (staged && staged.first !== middle)
      throw new Error(`adoption of what begins at ${staged.first} after ${middle - 1}`);
    const after = staged ? staged.last + 1 : middle;
    checkRun(behind, after);
    const epoch = (this.lives().at(-1)?.epoch ?? 1) + 1;
    if (life.epoch !== epoch || life.after > this.#last || after + behind.length === 1)
      throw new Error(`life ${life.epoch} from ${life.after} on, where ${epoch} is the next`);
    const bytes = [...before, ...behind].reduce((sum, { body }) => sum + body.length, 0);
    this.#look(bytes);
    this.#write(() =>
      this.#sqlite
        .transaction(() => {
          this.#sqlite.prepare("DELETE FROM record WHERE seq >= ?").run(from);
          for (const { seq, body } of before) this.#insert.run(seq, seq, body);
          this.#sqlite.exec("INSERT INTO record SELECT seq, seq, body FROM incoming; DELETE FROM incoming");
          for (const { seq, body } of behind) this.#insert.run(seq, seq, body);
          this.#sqlite
            .prepare("INSERT INTO life VALUES (?, ?, ?)")
            .run(epoch, life.after, lifeSum(life, epoch - 1));
        })
        .immediate(),
    );
    this.#last = after + behind.length - 1;
    this.#grown(bytes);
  }

  ranges(): SeqRange[] {
    return named(this.#file, () =>
      this.#sqlite.prepare("SELECT first, seq AS last FROM record WHERE first < seq ORDER BY seq").all(),
    ) as SeqRange[];
  }

  tidy(): boolean {
    this.#gate.check();
    if (this.#untouched) return true;
    this.#sinceTidy = 0;
    let whole = false;
    this.#write(() => {
      this.#sqlite.pragma("incremental_vacuum");
      // Someone who reads the file for long must not hold up the writers: what he pins is moved later.
      this.#sqlite.pragma("busy_timeout = 0");
      try {
        const [row] = this.#sqlite.pragma("wal_checkpoint(TRUNCATE)") as { busy: number }[];
        whole = row?.busy === 0;
      } finally {
        this.#sqlite.pragma("busy_timeout = 5000");
      }
      this.#syncWal();
    });
    return whole;
  }

  bytes(): number {
    let total = 0;
    for (const file of [this.#file, `${this.#file}-wal`]) {
      total += statSync(file, { throwIfNoEntry: false })?.size ?? 0;
    }
    return total;
  }

  inspect(): string[] {
    try {
      const rows = this.#sqlite.pragma("integrity_check(100)") as { integrity_check: string }[];
      const problems = rows.map((row) => row.integrity_check).filter((line) => line !== "ok");
      const ranges = this.#sqlite
        .prepare(
          "SELECT seq, first FROM (SELECT seq, first, lag(seq, 1, 0) OVER (ORDER BY seq) AS before FROM record) WHERE first <> before + 1 LIMIT 100",
        )
        .all() as { seq: number; first: number }[];
      for (const { seq, first } of ranges)
        problems.push(`record ${seq} says it starts at ${first}, which is not after the one before it`);
      return problems;
    } catch (error) {
      return [(error as Error).message];
    }
  }

  close(): void {
    try {
      // Only when everything is in the file: then what SQLite takes away on closing is empty.
      if (!this.#gate.failed && this.#wrote && walBytes(this.#file) === 0) {
        this.#syncWal();
        writeNote(this.#file, { seq: this.#last, hash: this.#lastHash() });
      }
    } catch {
      // A full disk, or damage that whoever reads will be told of: the next opening does without.
    }
    this.#gate.close();
  }

  #lastHash(): string {
    const body = this.#last > 0 ? this.read(this.#last) : undefined;
    return hashOf(body ?? new Uint8Array(0));
  }

  /** Whether the log goes on from what was noted. One that has gone further is a newer one that was put here. */
  #has({ seq, hash }: LogNote): boolean {
    const row = this.#read.get(seq) as { body: unknown; first: number; seq: number } | undefined;
    // A bundle of a newer log says the same in other bytes.
    if (seq === 0 || (this.#last > seq && row?.seq !== row?.first)) return true;
    return row !== undefined && hashOf(whole(row.body)) === hash;
  }

  /** Moves what a crash left in the write-ahead log into the file, as far as there is room. */
  #moveIn(): void {
    try {
      this.#sqlite.pragma("busy_timeout = 0");
      try {
        this.#sqlite.pragma("wal_checkpoint(TRUNCATE)");
      } finally {
        this.#sqlite.pragma("busy_timeout = 5000");
      }
      this.#syncWal();
    } catch (error) {
      const known = storageError(error, this.#file);
      if (!isSkaldError(known) || known.code !== "STORAGE_FULL") throw known;
    }
  }

  /**
   * Makes the emptying of the write-ahead log durable: with what it held before, a power cut may leave a new
   * header that it tore, or the note of a clean closing, and both would read as damage.
   */
  #syncWal(): void {
    // Not there when the folder was removed under an open log, of which nothing is to be kept then.
    if (existsSync(`${this.#file}-wal`)) syncFile(`${this.#file}-wal`);
  }

  #look(bytes: number): void {
    this.#sinceLook += bytes;
    if (this.#sinceLook < this.#reserve / 8) return;
    checkSpace(path.dirname(this.#file), bytes, this.#reserve);
    this.#sinceLook = 0;
  }

  #write(work: () => void): void {
    try {
      this.#gate.run(() => {
        if (this.#untouched) dropNote(this.#file);
        this.#untouched = false;
        this.#wrote = true;
        work();
      });
    } catch (error) {
      // The next write looks at the disk before it tries.
      this.#sinceLook = Number.POSITIVE_INFINITY;
      throw error;
    }
  }
}

/** Throws unless the records count on from `next`. */
function checkRun(records: readonly StoredRecord[], next: number): void {
  let due = next;
  for (const { seq, first = seq } of records) {
    if (first !== due || seq < first) throw new Error(`a record of seq ${first} to ${seq} after ${due - 1}`);
    due = seq + 1;
  }
}

/** Lives are counted but for those that a restore begins, which leave numbers out and vouch for the one before. */
function lifeSum({ epoch, after }: Life, before = FIRST_EPOCH): number {
  return rowSum(epoch === before + 1 ? [epoch, after] : [epoch, after, before]);
}

/** A damaged page can give any type of value: what is no bytes reads as none, which no record is. */
function whole(body: unknown): Uint8Array {
  return ArrayBuffer.isView(body) ? (body as Uint8Array) : new Uint8Array(0);
}

/** First bytes of blake3 over the parts of an identity: no commit vouches for all of them. */
function identityCheck(parts: readonly Uint8Array[]): Uint8Array {
  return blake3(Buffer.concat(parts.flatMap((part) => [Buffer.of(part.length), part]))).subarray(0, 8);
}

function readIdentity(sqlite: Sqlite, file: string, dbId: string): DbIdentity {
  const rows = sqlite.prepare("SELECT name, value FROM identity").all() as { name: string; value: Buffer }[];
  const get = (name: string): Buffer => {
    const row = rows.find((candidate) => candidate.name === name);
    if (!row)
      throw new SkaldError("DB_DAMAGED", `The file ${file} does not say its ${name}.`, { details: { file } });
    return row.value;
  };
  const holds = get("db_id").toString();
  if (holds !== dbId) {
    throw new SkaldError("DB_FOREIGN", `The file ${file} holds the db ${holds}, not ${dbId}.`, {
      details: { file },
    });
  }
  const parts = ["db_id", "uid", "actor", "created"].map(get);
  if (Buffer.compare(identityCheck(parts), get("check")) !== 0) {
    throw new SkaldError("DB_DAMAGED", `The file ${file} does not say which db it is as it was written.`, {
      details: { file },
    });
  }
  return { dbId, uid: get("uid"), actor: get("actor"), created: Number(get("created").toString()) };
}
