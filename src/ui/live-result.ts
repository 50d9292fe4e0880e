import { takeWatchEvent, type WatchedRow, type WatchedRows } from "../protocol/watched-rows.ts";
import { cellsOf, type Cell } from "./sql-cells.ts";

export type LiveRow = WatchedRow<readonly Cell[]>;
export type LiveRows = WatchedRows<readonly Cell[]>;

/** Codes of a watch that ended and is simply asked for again. */
const COMES_BACK: ReadonlySet<string> = new Set(["UNAVAILABLE", "UNAUTHENTICATED", "READER_SLOW"]);

/** What a watched statement gives, as its events come. */
export class LiveResult {
  #rows: LiveRows | undefined;
  #fresh: ReadonlySet<LiveRow> = new Set();
  #updates = 0;

  get rows(): LiveRows | undefined {
    return this.#rows;
  }

  /** Rows that the last update brought: those that changed and those that are new. None after the first result. */
  get fresh(): ReadonlySet<LiveRow> {
    return this.#fresh;
  }

  /** How often the result became another one. */
  get updates(): number {
    return this.#updates;
  }

  /**
   * Takes an event; true when the rows are others now. Throws WatchMismatch when what is here is not what the server
   * has: then the watch is to be opened anew, after `forget`.
   */
  take(event: string, data: string): boolean {
    const before = this.#rows;
    const after = takeWatchEvent(before, event, data, () => cellsOf);
    this.#rows = after;
    if (!after || after.hash === before?.hash) return false;
    const known = new Set(before?.rows);
    this.#fresh = before ? new Set(after.rows.filter((row) => !known.has(row))) : new Set();
    if (before) this.#updates += 1;
    return true;
  }

  forget(): void {
    this.#rows = undefined;
    this.#fresh = new Set();
  }
}

/** Whether the event says that the watch is over for good, and why. */
export function endOf(event: string, data: string): Readonly<Record<string, unknown>> | undefined {
  if (event !== "error") return undefined;
  const problem = JSON.parse(data) as Record<string, unknown>;
  return COMES_BACK.has(String(problem["code"])) ? undefined : problem;
}
