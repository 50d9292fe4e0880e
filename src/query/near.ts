import { isSkaldError } from "../errors.ts";
import { readWithin, type ReadRequest, type ReadValue } from "./read-job.ts";
import type { Bounds } from "./job.ts";
import { OpenTables } from "./open-tables.ts";

/**
 * Statements that the server runs itself: those of which a process has proved that they do next to nothing (a row by
 * its key), as `bounded.ts` does; handing one over costs several times what it takes. Only such a statement is even
 * prepared here, and it is proved again for the file as it is. Whatever is out of the ordinary is left to a process.
 */
export class Near {
  readonly #known = new Set<string>();
  readonly #open = new Map<string, { readonly life: string; readonly tables: OpenTables }>();

  /** A process found it bounded. */
  learn(sql: string): void {
    if (sql.length > MOST_CHARACTERS || this.#known.has(sql)) return;
    if (this.#known.size >= KNOWN) this.#known.clear();
    this.#known.add(sql);
  }

  /** Undefined when it is for a process to answer. `life`: of the file. */
  read(request: ReadRequest, life: string, bounds: Bounds): (ReadValue & { body: string }) | undefined {
    if (!this.#known.has(request.sql)) return undefined;
    try {
      const tables = this.#tables(request.file, life);
      const answer = readWithin(tables, request, bounds, true);
      if (answer !== undefined) return answer;
    } catch (error) {
      if (isSkaldError(error) && error.code !== "DERIVED_DAMAGED") throw error;
      // What SQLite says here may be of this connection alone: a process looks again.
      this.release(request.file);
    }
    this.#known.delete(request.sql);
    return undefined;
  }

  /** Closes a file; one that nobody reads from any more is not kept. */
  release(file: string): void {
    this.#open.get(file)?.tables.close();
    this.#open.delete(file);
  }

  close(): void {
    for (const file of this.#open.keys()) this.release(file);
  }

  #tables(file: string, life: string): OpenTables {
    const known = this.#open.get(file);
    if (known !== undefined) {
      if (known.life === life && !known.tables.worn) return known.tables;
      this.release(file);
    }
    if (this.#open.size >= OPEN_FILES) {
      const [oldest] = this.#open.keys();
      this.release(oldest as string);
    }
    const opened = new OpenTables(file, "near");
    this.#open.set(file, { life, tables: opened });
    return opened;
  }
}

/** Longer ones are not prepared here, however little they do: preparing takes its time, too. */
const MOST_CHARACTERS = 1000;
/** Statements that are remembered. */
const KNOWN = 2000;
/** Connections of the server. */
const OPEN_FILES = 64;
