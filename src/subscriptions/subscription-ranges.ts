/** Whole numbers above a position, as ranges that neither touch nor overlap, in ascending order. */
export class Ranges {
  readonly #first: number[] = [];
  readonly #last: number[] = [];

  get count(): number {
    return this.#first.length;
  }

  has(n: number): boolean {
    const at = this.#at(n);
    return at >= 0 && n <= (this.#last[at] as number);
  }

  /** The last number of the range that holds `n`; undefined when none does. */
  endOf(n: number): number | undefined {
    const at = this.#at(n);
    const last = at < 0 ? undefined : this.#last[at];
    return last !== undefined && n <= last ? last : undefined;
  }

  /** Adds `from` to `to`; nothing when there is nothing between them. */
  add(from: number, to: number): void {
    if (to < from) return;
    // The first range that touches: the one that begins before, if it reaches as far, else the next.
    let low = this.#at(from);
    if (low < 0 || (this.#last[low] as number) < from - 1) low += 1;
    let high = low;
    while (high < this.#first.length && (this.#first[high] as number) <= to + 1) high += 1;
    const first = high > low ? Math.min(from, this.#first[low] as number) : from;
    const last = high > low ? Math.max(to, this.#last[high - 1] as number) : to;
    this.#first.splice(low, high - low, first);
    this.#last.splice(low, high - low, last);
  }

  /** Takes away all up to `position` and what follows it without a gap. Gives the position after that. */
  settle(position: number): number {
    let gone = 0;
    let at = position;
    while (gone < this.#first.length && (this.#first[gone] as number) <= at + 1) {
      at = Math.max(at, this.#last[gone] as number);
      gone += 1;
    }
    this.#first.splice(0, gone);
    this.#last.splice(0, gone);
    return at;
  }

  list(): (readonly [first: number, last: number])[] {
    return this.#first.map((first, i) => [first, this.#last[i] as number] as const);
  }

  /** Index of the last range that begins at or before `n`, -1 for none. */
  #at(n: number): number {
    let low = 0;
    let high = this.#first.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#first[middle] as number) <= n) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}
