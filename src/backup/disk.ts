import { SkaldError, isSkaldError } from "../errors.ts";
import { storageError } from "../store/sqlite.ts";

/** What a failed disk leaves of a run, for who gave the command. */
export const RUN_AGAIN =
  "The backups that were there are whole. The same command again goes on from where this one stopped.";
export const RESTORE_AGAIN = "Nothing was put in place; the same command again begins anew.";

/** Errors of the file system as ours, which here say nothing of a server's writes: `hint` says what they leave. */
export function inFolder<T>(dir: string, hint: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const known = storageError(error, dir);
    if (!isSkaldError(known) || !DISK.has(known.code)) throw known;
    throw new SkaldError(known.code, known.message, { cause: error, details: known.details, hint });
  }
}

const DISK: ReadonlySet<string> = new Set(["STORAGE_FULL", "STORAGE_FAILED"]);
