import Database from "better-sqlite3";
import type { Sqlite } from "./sqlite.ts";

/**
 * A connection for statements that somebody else wrote, in a query process: reads one file that is there, writes
 * none and makes none. What it may read of the file is for `src/query/walls.ts` to say; this alone is no wall.
 * Throws as better-sqlite3 does.
 */
export function openForStatements(
  file: string,
  { busyMs, cacheKib }: StatementsOptions = IN_A_PROCESS,
): Sqlite {
  const sqlite = new Database(file, { readonly: true, fileMustExist: true, timeout: busyMs });
  try {
    for (const pragma of PRAGMAS) sqlite.pragma(pragma);
    sqlite.pragma(`cache_size = -${cacheKib}`);
    return sqlite;
  } catch (error) {
    sqlite.close();
    throw error;
  }
}

export interface StatementsOptions {
  /** Readers wait for nobody in WAL mode; this is for the moment in which a file is set up. */
  readonly busyMs: number;
  readonly cacheKib: number;
}

const IN_A_PROCESS: StatementsOptions = { busyMs: 2000, cacheKib: 16_000 };

const PRAGMAS: readonly string[] = [
  // What the file's schema calls is no more trusted than what a statement calls.
  "trusted_schema = OFF",
  "cell_size_check = ON",
  "mmap_size = 0",
  "query_only = ON",
  // Sorting and grouping stay in memory, which has a limit, and leave nothing on a disk.
  "temp_store = MEMORY",
];
