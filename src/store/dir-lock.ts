import { readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import Database from "better-sqlite3";
import { SkaldError } from "../errors.ts";
import { makeFolder } from "./folder.ts";
import { named, storageError } from "./sqlite.ts";

const LOCK_FILE = "lock.sqlite";
const OWNER_FILE = "owner.json";

/** Who holds a data directory, as it says itself: for messages, never for deciding. */
export interface Owner {
  readonly pid: number;
  /** Path of the socket on which it takes commands of this machine's operator. */
  readonly socket?: string;
  readonly url?: string;
}

/**
 * Takes a data directory for this process. The lock is one of SQLite's, so it ends with the process
 * however that ends, and there is no stale lock to clear away. Throws DIR_IN_USE with the owner,
 * STORAGE_FULL, STORAGE_FAILED.
 */
export function lockDirectory(dir: string): DirectoryLock {
  named(dir, () => makeFolder(dir));
  let sqlite: Database.Database | undefined;
  try {
    sqlite = new Database(path.join(dir, LOCK_FILE));
    sqlite.pragma("busy_timeout = 0");
    sqlite.pragma("journal_mode = DELETE");
    sqlite.pragma("locking_mode = EXCLUSIVE");
    sqlite.exec("BEGIN EXCLUSIVE");
  } catch (error) {
    sqlite?.close();
    const code = String((error as { code?: unknown }).code);
    if (!code.startsWith("SQLITE_BUSY") && !code.startsWith("SQLITE_LOCKED"))
      throw storageError(error, path.join(dir, LOCK_FILE));
    const owner = readOwner(dir);
    throw new SkaldError(
      "DIR_IN_USE",
      `The directory ${dir} is in use${owner ? ` by process ${owner.pid}` : ""}.`,
      {
        cause: error,
        details: { dir, ...(owner ? { owner } : {}) },
      },
    );
  }
  return new DirectoryLock(dir, sqlite);
}

/** What the process that holds `dir` says of itself, if any ever did. */
export function readOwner(dir: string): Owner | undefined {
  try {
    return JSON.parse(readFileSync(path.join(dir, OWNER_FILE), "utf8")) as Owner;
  } catch {
    return undefined;
  }
}

export class DirectoryLock {
  readonly #dir: string;
  readonly #sqlite: Database.Database;

  constructor(dir: string, sqlite: Database.Database) {
    this.#dir = dir;
    this.#sqlite = sqlite;
    this.say({ pid: process.pid });
  }

  /** Replaces what others read of this process. It is only for messages: a disk that is full does without. */
  say(owner: Owner): void {
    quietly(() => writeFileSync(path.join(this.#dir, OWNER_FILE), JSON.stringify(owner), { mode: 0o600 }));
  }

  release(): void {
    quietly(() => rmSync(path.join(this.#dir, OWNER_FILE), { force: true }));
    this.#sqlite.close();
  }
}

function quietly(work: () => void): void {
  try {
    work();
  } catch {
    // Whoever reads it next finds none, or what is left of one, and does without.
  }
}
