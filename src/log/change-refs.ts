import { NULL, sameBytes } from "./change-columns.ts";

/** What a change's operations make, insert and set, kept to check references within the change. */

/** Ascending, disjoint intervals of operation numbers, each with a kind and two numbers. */
export class Intervals {
  readonly #rows: number[] = [];

  add(start: number, end: number, kind: number, a: number, b: number): void {
    const rows = this.#rows;
    const last = rows.length - 5;
    if (
      last >= 0 &&
      rows[last + 1] === start &&
      rows[last + 2] === kind &&
      rows[last + 3] === a &&
      rows[last + 4] === b
    ) {
      rows[last + 1] = end;
      return;
    }
    rows.push(start, end, kind, a, b);
  }

  /** Index of the interval that holds `op`, or -1. */
  find(op: number): number {
    const rows = this.#rows;
    let low = 0;
    let high = rows.length / 5;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((rows[5 * middle + 1] as number) <= op) low = middle + 1;
      else high = middle;
    }
    return 5 * low < rows.length && (rows[5 * low] as number) <= op ? low : -1;
  }

  kind(index: number): number {
    return this.#rows[5 * index + 2] as number;
  }
  a(index: number): number {
    return this.#rows[5 * index + 3] as number;
  }
  b(index: number): number {
    return this.#rows[5 * index + 4] as number;
  }
}

/** What each operation of a change is about: its object and its key or element. */
export class Targets {
  readonly #bytes: Uint8Array;
  readonly #starts: number[] = [];
  readonly #rows: number[] = [];

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  add(
    op: number,
    n: number,
    isValue: boolean,
    insert: boolean,
    objA: number,
    objC: number,
    keyStart: number,
    keyLength: number,
    elemA: number,
    elemC: number,
    elemStep: number,
  ): void {
    this.#starts.push(op);
    // An inserted element is named by the operation that inserts it.
    if (insert) this.#rows.push(op + n, isValue ? 1 : 0, objA, objC, NULL, 0, 0, op, 1);
    else this.#rows.push(op + n, isValue ? 1 : 0, objA, objC, keyStart, keyLength, elemA, elemC, elemStep);
  }

  #find(op: number): number {
    let low = 0;
    let high = this.#starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#starts[middle] as number) <= op) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Whether `pred` is a value on the same key or element as `op`. */
  same(pred: number, op: number): boolean {
    const p = this.#find(pred);
    const o = this.#find(op);
    const rows = this.#rows;
    const at = (index: number, field: number): number => rows[9 * index + field] as number;
    if (p < 0 || o < 0 || pred >= at(p, 0) || at(p, 1) === 0) return false;
    if (at(p, 2) !== at(o, 2) || at(p, 3) !== at(o, 3)) return false;
    const predKey = at(p, 4);
    const opKey = at(o, 4);
    if (predKey !== NULL || opKey !== NULL) {
      if (predKey === opKey) return true;
      if (predKey === NULL || opKey === NULL || at(p, 5) !== at(o, 5)) return false;
      return sameBytes(this.#bytes, predKey, opKey, at(p, 5));
    }
    const predElement = at(p, 7) + at(p, 8) * (pred - (this.#starts[p] as number));
    const opElement = at(o, 7) + at(o, 8) * (op - (this.#starts[o] as number));
    return predElement === opElement && at(p, 6) === at(o, 6);
  }
}
