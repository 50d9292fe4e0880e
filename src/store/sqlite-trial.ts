import Database from "better-sqlite3";
import type { Sqlite } from "./sqlite.ts";

/**
 * A connection for trying statements that write, in a process of its own: what they do is looked at and undone, so
 * that the file only ever changes by following the log. Nothing here commits. Throws as better-sqlite3 does.
 */
export function openForTrial(file: string): Sqlite {
  const sqlite = new Database(file, { fileMustExist: true, timeout: BUSY_MS });
  try {
    for (const pragma of PRAGMAS) sqlite.pragma(pragma);
    return sqlite;
  } catch (error) {
    sqlite.close();
    throw error;
  }
}

/** Whoever follows the log gives way to a trial; this is for one that was just ended. */
const BUSY_MS = 2000;

const PRAGMAS: readonly string[] = [
  "trusted_schema = OFF",
  "cell_size_check = ON",
  "mmap_size = 0",
  "temp_store = MEMORY",
  "cache_size = -16000",
  "foreign_keys = OFF",
  // REPLACE tells of the rows that it takes away only then.
  "recursive_triggers = ON",
  // Moving what was written to its place is for whoever follows the log.
  "wal_autocheckpoint = 0",
];
