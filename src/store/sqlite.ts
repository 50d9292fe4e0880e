import { closeSync, existsSync, fsyncSync, openSync, readdirSync, readFileSync, statfsSync } from "node:fs";
import path from "node:path";
import Database from "better-sqlite3";
import { SkaldError, isSkaldError } from "../errors.ts";
import { syncFolder } from "./folder.ts";

/**
 * The one place that opens SQLite files. Traps that are handled here, each seen in practice:
 * - better-sqlite3 runs WAL with `synchronous=NORMAL` unless told otherwise, whatever the pragma says first;
 * - a db file must never be opened with `fs`: closing any descriptor of it drops SQLite's POSIX locks;
 * - an automatic checkpoint swallows fsync errors, so the log's are explicit (`tidy`);
 * - error classes differ between realms, so errors are told apart by `code`.
 */
export type Sqlite = Database.Database;
export type Statement = Database.Statement;

/** Kinds of file, each with its application id ("Skl" and a letter) and its folder of migrations. */
const KINDS = {
  log: { applicationId: 0x536b6c4c, synchronous: "FULL", autocheckpoint: 0 },
  catalog: { applicationId: 0x536b6c43, synchronous: "NORMAL", autocheckpoint: 1000 },
  views: { applicationId: 0x536b6c56, synchronous: "NORMAL", autocheckpoint: 1000 },
  service: { applicationId: 0x536b6c53, synchronous: "FULL", autocheckpoint: 1000 },
  subscriptions: { applicationId: 0x536b6c55, synchronous: "FULL", autocheckpoint: 0 },
  tables: { applicationId: 0x536b6c54, synchronous: "NORMAL", autocheckpoint: 1000 },
} as const;
export type FileKind = keyof typeof KINDS;

export interface OpenOptions {
  readonly kind: FileKind;
  /** Make the file when it is missing; otherwise a missing file throws DB_MISSING. */
  readonly create?: boolean;
  readonly readonly?: boolean;
  /** The caller syncs the finished file itself: making one step by step costs a dozen fsyncs. */
  readonly syncsItself?: boolean;
}

/**
 * Opens a file and brings its schema up to date. Throws DB_MISSING, DB_FOREIGN (not ours), DB_NEWER
 * (schema of a later version), DB_DAMAGED, STORAGE_FULL, STORAGE_FAILED.
 */
export function openSqlite(file: string, options: OpenOptions): Sqlite {
  const kind = KINDS[options.kind];
  const exists = existsSync(file);
  if (!exists && !options.create) {
    throw new SkaldError("DB_MISSING", `The file ${file} is missing.`, { details: { file } });
  }
  let sqlite: Sqlite | undefined;
  try {
    sqlite = new Database(file, { readonly: options.readonly === true, fileMustExist: exists });
    prepare(sqlite, file, options, kind);
    checkSchema(sqlite, file, options.kind);
    return sqlite;
  } catch (error) {
    sqlite?.close();
    throw openingError(error, file);
  }
}

/**
 * Opening makes the index of the write-ahead log in a file of 32 KiB, and SQLite says "I/O error" when there
 * is no room for it. Nothing of ours was under way then, so it is a full disk and no failed one. Later, in the
 * middle of a write, the same error leaves the outcome unknown.
 */
function openingError(error: unknown, file: string): unknown {
  if ((error as { code?: unknown } | null)?.code === "SQLITE_IOERR_SHMSIZE" && isFull(path.dirname(file))) {
    return new SkaldError("STORAGE_FULL", "The disk is full.", { cause: error, details: { file } });
  }
  return storageError(error, file);
}

function isFull(folder: string): boolean {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize < INDEX_ROOM;
}

/** What SQLite asks for at first, in bytes. */
const INDEX_ROOM = 32 * 1024;

function prepare(sqlite: Sqlite, file: string, options: OpenOptions, kind: (typeof KINDS)[FileKind]): void {
  sqlite.pragma("busy_timeout = 5000");
  sqlite.pragma("trusted_schema = OFF");
  sqlite.pragma("cell_size_check = ON");
  sqlite.pragma("mmap_size = 0");
  sqlite.pragma("cache_size = -2000");
  const applicationId = sqlite.pragma("application_id", { simple: true }) as number;
  const version = sqlite.pragma("user_version", { simple: true }) as number;
  const steps = migrations(options.kind);
  const empty = version === 0 && applicationId === 0 && isEmpty(sqlite);
  if (!empty && applicationId !== kind.applicationId) {
    throw new SkaldError("DB_FOREIGN", `The file ${file} is not a Skald ${options.kind}.`, {
      details: { file },
    });
  }
  if (version > steps.length) {
    throw new SkaldError(
      "DB_NEWER",
      `The file ${file} has schema ${version}; this Skald knows up to ${steps.length}.`,
      {
        details: { file, schema: version, known: steps.length },
      },
    );
  }
  if (empty && !options.create) {
    throw new SkaldError("DB_DAMAGED", `The file ${file} is empty.`, { details: { file } });
  }
  if (options.readonly) return;
  if (empty) {
    // Must come before the first page is written, or it silently stays off.
    sqlite.pragma("auto_vacuum = INCREMENTAL");
    // A derived file that a power cut spoils while it is made is dropped and made anew.
    if (options.syncsItself || DERIVED.has(options.kind)) sqlite.pragma("synchronous = OFF");
  }
  sqlite.pragma("journal_mode = WAL");
  if (!empty) sqlite.pragma(`synchronous = ${kind.synchronous}`);
  sqlite.pragma(`wal_autocheckpoint = ${kind.autocheckpoint}`);
  sqlite.pragma("secure_delete = ON");
  for (let step = version; step < steps.length; step += 1) {
    sqlite.exec("BEGIN IMMEDIATE");
    try {
      sqlite.exec(steps[step] as string);
      sqlite.pragma(`application_id = ${kind.applicationId}`);
      sqlite.pragma(`user_version = ${step + 1}`);
      sqlite.exec("COMMIT");
    } catch (error) {
      if (sqlite.inTransaction) sqlite.exec("ROLLBACK");
      throw error;
    }
  }
  if (empty && !options.syncsItself) sqlite.pragma(`synchronous = ${kind.synchronous}`);
  if (!empty && kind.synchronous === "FULL") settle(sqlite, file);
}

/**
 * Makes durable what can be read. A process that was killed between a write and its sync leaves commits in
 * the write-ahead log that the next one reads and tells of, and that a power cut would still take away.
 */
function settle(sqlite: Sqlite, file: string): void {
  try {
    const [row] = sqlite.pragma("wal_checkpoint(PASSIVE)") as { log: number; checkpointed: number }[];
    // Someone who reads an older state keeps some of it from being moved.
    if (row?.log === row?.checkpointed) return;
  } catch (error) {
    // On a full disk there are reads at least.
    if ((error as { code?: unknown }).code !== "SQLITE_FULL") throw error;
  }
  syncFile(`${file}-wal`);
}

/** Makes a file durable, and its place in its folder. Not for one that SQLite has locked: closing it ends the lock. */
export function syncFile(file: string): void {
  const handle = openSync(file, "r");
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
  syncFolder(path.dirname(file));
}

const schemas = new Map<FileKind, string>();

/**
 * A flipped bit in a schema can rename a column or lose a constraint and still be SQL, so it has to be, letter
 * for letter, what the migrations make. Files of an older version, which only a reader sees, are let through.
 */
function checkSchema(sqlite: Sqlite, file: string, kind: FileKind): void {
  if ((sqlite.pragma("user_version", { simple: true }) as number) < migrations(kind).length) return;
  let wanted = schemas.get(kind);
  if (wanted === undefined) {
    const model = new Database(":memory:");
    for (const step of migrations(kind)) model.exec(step);
    wanted = schemaOf(model);
    model.close();
    schemas.set(kind, wanted);
  }
  const made = kind === "tables" ? schemaOf(sqlite, MADE_HERE) : schemaOf(sqlite);
  if (made !== wanted)
    throw new SkaldError("DB_DAMAGED", `The schema of ${file} is not as it was made.`, { details: { file } });
}

/** What the migrations make in a file to which others add tables of their own. */
const MADE_HERE =
  "type = 'table' AND (name GLOB 'skald_*' OR name IN ('documents', 'commits', 'changes', 'schema_violations'))";

function schemaOf(sqlite: Sqlite, where = "TRUE"): string {
  return sqlite
    .prepare(
      `SELECT type || ' ' || name || ' ' || tbl_name || ' ' || coalesce(sql, '') FROM sqlite_schema WHERE ${where} ORDER BY name`,
    )
    .pluck()
    .all()
    .join("\n");
}

const DERIVED: ReadonlySet<FileKind> = new Set(["catalog", "views", "tables"]);

function isEmpty(sqlite: Sqlite): boolean {
  return (sqlite.prepare("SELECT count(*) AS n FROM sqlite_schema").get() as { n: number }).n === 0;
}

const loaded = new Map<FileKind, string[]>();

function migrations(kind: FileKind): string[] {
  let steps = loaded.get(kind);
  if (!steps) {
    const folder = new URL(`../../migrations/${kind}/`, import.meta.url);
    steps = readdirSync(folder)
      .filter((name) => name.endsWith(".sql"))
      .toSorted()
      .map((name) => readFileSync(new URL(name, folder), "utf8"));
    loaded.set(kind, steps);
  }
  return steps;
}

/** Makes what stands on an open file; closes the file and throws DB_DAMAGED when it is not as it should be. */
export function standOn<T>(sqlite: Sqlite, file: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    sqlite.close();
    const named = storageError(error, file);
    if (isSkaldError(named)) throw named;
    throw new SkaldError("DB_DAMAGED", `The file ${file} is damaged: ${(error as Error).message}.`, {
      cause: error,
      details: { file },
    });
  }
}

/** Files up to this size are gone through when they are opened without a seal; larger ones are left to the scrub. */
const CHECK_MAX = 8 * 1024 * 1024;

/**
 * Goes through a derived file that was not closed cleanly: SQLite's own structure, then its rows. Throws
 * DB_DAMAGED, or what `rows` throws.
 */
export function checkStructure(sqlite: Sqlite, file: string, rows: () => void): void {
  const pages = sqlite.pragma("page_count", { simple: true }) as number;
  if (pages * (sqlite.pragma("page_size", { simple: true }) as number) > CHECK_MAX) return;
  const [problem] = sqlite.pragma("integrity_check(1)") as { integrity_check: string }[];
  if (problem?.integrity_check !== "ok") {
    throw new SkaldError("DB_DAMAGED", `The file ${file} is damaged: ${problem?.integrity_check}.`, {
      details: { file },
    });
  }
  rows();
}

/** Runs work on a file with its errors named. */
export function named<T>(file: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw storageError(error, file);
  }
}

/** Turns what SQLite or a call of the file system threw into our own error; anything else comes back as it is. */
export function storageError(error: unknown, file: string): unknown {
  const code = (error as { code?: unknown } | null)?.code;
  if (typeof code !== "string" || isSkaldError(error)) return error;
  const message = (error as Error).message;
  if ("syscall" in (error as object)) return diskError(error, code, file);
  if (!code.startsWith("SQLITE_")) return error;
  const details = { file, sqlite: code };
  const derived = DERIVED.has(path.basename(file, ".sqlite") as FileKind);
  if (code === "SQLITE_FULL") {
    return new SkaldError("STORAGE_FULL", "The disk is full.", { cause: error, details });
  }
  if (code === "SQLITE_NOTADB") {
    return new SkaldError("DB_FOREIGN", `The file ${file} is not a SQLite file.`, { cause: error, details });
  }
  if (code.startsWith("SQLITE_CORRUPT")) {
    return new SkaldError("DB_DAMAGED", `The file ${file} is damaged: ${message}.`, {
      cause: error,
      details,
    });
  }
  if (derived && (DISK_FAILED.test(code) || code.startsWith("SQLITE_CONSTRAINT"))) {
    // Nothing is lost with it: no reason to stop.
    return new SkaldError("DERIVED_DAMAGED", `The file ${file} cannot be used: ${message} (${code}).`, {
      cause: error,
      details,
    });
  }
  if (DISK_FAILED.test(code)) {
    return new SkaldError("STORAGE_FAILED", `The disk failed on ${file}: ${message} (${code}).`, {
      cause: error,
      details,
    });
  }
  return error;
}

const DISK_FAILED = /^SQLITE_(?:IOERR|CANTOPEN|READONLY)/;
const DISK_FULL: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT"]);

function diskError(error: unknown, code: string, file: string): SkaldError {
  const details = { file, errno: code };
  if (DISK_FULL.has(code))
    return new SkaldError("STORAGE_FULL", "The disk is full.", { cause: error, details });
  return new SkaldError("STORAGE_FAILED", `The disk failed on ${file}: ${(error as Error).message}.`, {
    cause: error,
    details,
  });
}
