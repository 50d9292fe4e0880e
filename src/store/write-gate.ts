import Database from "better-sqlite3";
import { SkaldError, isSkaldError } from "../errors.ts";
import { storageError, type Sqlite } from "./sqlite.ts";

/**
 * Lets writes to a file through until one fails for the disk's sake. Whether that one is on the disk is
 * unknown from then on, so every later one is refused with its error, and the file is left as it is: only
 * opening it anew tells.
 */
export class WriteGate {
  readonly #sqlite: Sqlite;
  readonly #file: string;
  readonly #blames: (error: unknown) => boolean;
  #failed: SkaldError | undefined;

  /** `blames` says which errors besides STORAGE_FAILED leave it unknown what is on the disk. */
  constructor(sqlite: Sqlite, file: string, blames: (error: unknown) => boolean = () => false) {
    this.#sqlite = sqlite;
    this.#file = file;
    this.#blames = blames;
  }

  get failed(): SkaldError | undefined {
    return this.#failed;
  }

  check(): void {
    if (this.#failed) throw this.#failed;
  }

  /** Throws STORAGE_FULL (nothing kept, may be tried again), STORAGE_FAILED, and what `work` throws itself. */
  run<T>(work: () => T): T {
    this.check();
    try {
      return work();
    } catch (error) {
      const known = storageError(error, this.#file);
      if (isSkaldError(known) && known.code === "STORAGE_FAILED") this.#failed = known;
      else if (this.#blames(known)) {
        this.#failed = new SkaldError("STORAGE_FAILED", `A write to ${this.#file} failed.`, { cause: error });
      }
      throw this.#failed ?? known;
    }
  }

  /** Closes the file. After a failed write nothing of its write-ahead log is moved into it. */
  close(): void {
    if (!this.#failed || !this.#sqlite.open) {
      this.#sqlite.close();
      return;
    }
    // The last connection to close moves the log; so one that may not write stays until the other is gone.
    let second: Sqlite | undefined;
    try {
      second = new Database(this.#file, { readonly: true, fileMustExist: true });
      second.prepare("SELECT count(*) FROM sqlite_schema").get();
    } catch {
      // Left open, which moves nothing before the process ends.
      second?.close();
      return;
    }
    this.#sqlite.close();
    second.close();
  }
}
