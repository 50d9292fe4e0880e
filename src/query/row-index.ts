import { compare, converted, keyOf, type Affinity, type Comparable } from "./comparison.ts";
import { RangeTree, type End } from "./range-tree.ts";

/** What must hold of one column of a row; of several tests, each. */
export interface ColumnTest {
  readonly column: string;
  readonly affinity: Affinity;
  readonly is: OneOf | Between;
}

/** Equal to one of them; null among them means IS NULL. None: no row ever is. */
export interface OneOf {
  readonly oneOf: readonly Comparable[];
}

/** Not null, and within the ends there are. */
export interface Between {
  readonly low?: { readonly value: Exclude<Comparable, null>; readonly inclusive: boolean };
  readonly high?: { readonly value: Exclude<Comparable, null>; readonly inclusive: boolean };
}

export type RowValues = Readonly<Record<string, Comparable | undefined>>;

/** Whether a row may pass all tests: surely not when false. */
export function mayPass(tests: readonly ColumnTest[], row: RowValues): boolean {
  return tests.every(({ column, affinity, is }) => {
    const value = valueOf(row, column, affinity);
    if (value === undefined) return true;
    if ("oneOf" in is) {
      const key = keyOf(value);
      return is.oneOf.some((one) => keyOf(one) === key);
    }
    if (value === null) return false;
    const { low, high } = is;
    if (low) {
      const side = compare(value, low.value);
      if (side < 0 || (side === 0 && !low.inclusive)) return false;
    }
    if (high) {
      const side = compare(value, high.value);
      if (side > 0 || (side === 0 && !high.inclusive)) return false;
    }
    return true;
  });
}

/**
 * Of one table: those who are concerned by rows that pass their tests, found by a row's values. Each is kept under
 * one of its tests, the narrowest; that the others pass as well is for whoever asks.
 */
export class RowIndex<T> {
  /** By column, by the key of a value. */
  readonly #equal = new Map<string, Kept<Map<string, Set<T>>>>();
  readonly #ranges = new Map<string, Kept<RangeTree<T>>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** `tests` has one at least. */
  add(item: T, tests: readonly ColumnTest[]): void {
    const { column, affinity, is } = narrowest(tests);
    this.#size += 1;
    if ("oneOf" in is) {
      const { held } = kept(this.#equal, column, affinity, () => new Map<string, Set<T>>());
      for (const value of is.oneOf) {
        const key = keyOf(value);
        const items = held.get(key) ?? new Set();
        held.set(key, items.add(item));
      }
    } else
      kept(this.#ranges, column, affinity, () => new RangeTree<T>()).held.add(
        item,
        lowOf(is),
        is.high?.value,
      );
  }

  /** With the tests that it was added with. */
  remove(item: T, tests: readonly ColumnTest[]): void {
    const { column, is } = narrowest(tests);
    this.#size -= 1;
    if ("oneOf" in is) {
      const values = this.#equal.get(column)?.held;
      for (const value of is.oneOf) {
        const key = keyOf(value);
        const items = values?.get(key);
        items?.delete(item);
        if (items?.size === 0) values?.delete(key);
      }
      if (values?.size === 0) this.#equal.delete(column);
    } else {
      const ranges = this.#ranges.get(column)?.held;
      ranges?.remove(item, lowOf(is));
      if (ranges?.size === 0) this.#ranges.delete(column);
    }
  }

  /** Calls `found` for all whom the row may concern; for one of them perhaps several times. */
  concerned(row: RowValues, found: (item: T) => void): void {
    for (const [column, { affinity, held }] of this.#equal) {
      const value = valueOf(row, column, affinity);
      if (value !== undefined) held.get(keyOf(value))?.forEach(found);
      else for (const items of held.values()) items.forEach(found);
    }
    for (const [column, { affinity, held }] of this.#ranges) {
      const value = valueOf(row, column, affinity);
      if (value === undefined) held.all(found);
      else if (value !== null) held.holding(value, found);
    }
  }
}

interface Kept<H> {
  readonly affinity: Affinity;
  readonly held: H;
}

function kept<H>(of: Map<string, Kept<H>>, column: string, affinity: Affinity, make: () => H): Kept<H> {
  let found = of.get(column);
  if (!found) of.set(column, (found = { affinity, held: make() }));
  return found;
}

function valueOf(row: RowValues, column: string, affinity: Affinity): Comparable | undefined {
  const value = Object.hasOwn(row, column) ? row[column] : undefined;
  return value === undefined ? undefined : converted(value, affinity);
}

function lowOf(is: Between): End {
  return is.low?.value;
}

/** Equality before ranges of two ends, and those before ranges of one. */
function narrowest(tests: readonly ColumnTest[]): ColumnTest {
  const width = ({ is }: ColumnTest): number =>
    "oneOf" in is ? is.oneOf.length : is.low && is.high ? WIDE : WIDE + 1;
  return tests.reduce((best, test) => (width(test) < width(best) ? test : best));
}

/** More than a list of values is long. */
const WIDE = 1e9;
