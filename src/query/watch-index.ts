import type { Dependency } from "./dependency.ts";
import { RowIndex, mayPass, type RowValues } from "./row-index.ts";

/** A row of a table as a batch of commits found it and left it. */
export interface RowChange {
  readonly before?: RowValues;
  readonly after?: RowValues;
}

/** What a batch of commits touched: by table, its rows, or `all` when nobody knows which. */
export type Touched = ReadonlyMap<string, readonly RowChange[] | "all">;

interface OfTable<T> {
  readonly whole: Set<T>;
  readonly rows: RowIndex<T>;
  readonly narrow: Set<T>;
  /** Ends that rows of the table are asked for. */
  unwant: (() => void) | undefined;
}

/**
 * Whom a batch of commits concerns. What it costs follows the rows that were touched and those who are found, not
 * the number of those who are here.
 */
export class WatchIndex<T> {
  readonly #want: (table: string) => () => void;
  readonly #tables = new Map<string, OfTable<T>>();
  readonly #dependencies = new Map<T, Dependency | "everything">();
  readonly #everything = new Set<T>();

  /** `want` has rows of a table given, until what it gives is called. */
  constructor(want: (table: string) => () => void) {
    this.#want = want;
  }

  /** Until it is known what it hangs on, it hangs on everything. */
  set(item: T, dependency: Dependency | "everything"): void {
    this.delete(item);
    this.#dependencies.set(item, dependency);
    if (dependency === "everything") {
      this.#everything.add(item);
      return;
    }
    for (const table of dependency.tables) {
      const of = this.#of(table);
      if (dependency.tests) {
        of.rows.add(item, dependency.tests);
        of.narrow.add(item);
        of.unwant ??= this.#want(table);
      } else of.whole.add(item);
    }
  }

  delete(item: T): void {
    const dependency = this.#dependencies.get(item);
    if (dependency === undefined) return;
    this.#dependencies.delete(item);
    this.#everything.delete(item);
    if (dependency === "everything") return;
    for (const table of dependency.tables) {
      const of = this.#of(table);
      of.whole.delete(item);
      if (dependency.tests) {
        of.rows.remove(item, dependency.tests);
        of.narrow.delete(item);
      }
      if (of.narrow.size > 0) continue;
      of.unwant?.();
      of.unwant = undefined;
      if (of.whole.size === 0) this.#tables.delete(table);
    }
  }

  /** Calls `found` for all whose result the batch may have changed, for some perhaps several times. */
  concerned(touched: Touched, found: (item: T) => void): void {
    if (touched.size > 0) this.#everything.forEach(found);
    for (const [table, changes] of touched) {
      const of = this.#tables.get(table);
      if (!of) continue;
      of.whole.forEach(found);
      if (changes === "all") of.narrow.forEach(found);
      else for (const change of changes) this.#byRow(of, change, found);
    }
  }

  #byRow(of: OfTable<T>, { before, after }: RowChange, found: (item: T) => void): void {
    // A change of which nothing is told may be of any row.
    if (!before && !after) of.narrow.forEach(found);
    for (const row of [before, after])
      if (row)
        of.rows.concerned(row, (item) => {
          const dependency = this.#dependencies.get(item) as Dependency;
          if (mayPass(dependency.tests ?? [], row)) found(item);
        });
  }

  #of(table: string): OfTable<T> {
    let of = this.#tables.get(table);
    if (!of) {
      of = { whole: new Set(), rows: new RowIndex(), narrow: new Set(), unwant: undefined };
      this.#tables.set(table, of);
    }
    return of;
  }
}
