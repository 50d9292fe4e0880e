import type { Delta } from "../protocol/row-delta.ts";

/** Rows are texts of one form. How they are applied stands with `applyDelta`. */
export type RowDelta = Delta<string>;

export type PlacedRow = RowDelta["changed"][number];

/**
 * Keeps the longest run of rows that stand in both in the same order, when each row of the list after is matched
 * with the first of its equals before that is not taken. Takes n log n for n rows.
 */
export function deltaOf(before: readonly string[], after: readonly string[]): RowDelta {
  let start = 0;
  const least = Math.min(before.length, after.length);
  while (start < least && before[start] === after[start]) start += 1;
  let tail = 0;
  while (tail < least - start && before.at(-1 - tail) === after.at(-1 - tail)) tail += 1;
  const kept = keptOf(before, after, start, tail);
  const changed: PlacedRow[] = [];
  const removed: PlacedRow[] = [];
  const added: PlacedRow[] = [];
  let from = start;
  let to = start;
  // Between two rows that stay, what goes and what comes is paired as far as it can be.
  const close = (untilOld: number, untilNew: number): void => {
    while (from < untilOld && to < untilNew) changed.push([from++, after[to++] as string]);
    while (from < untilOld) removed.push([from, before[from++] as string]);
    while (to < untilNew) added.push([to, after[to++] as string]);
  };
  for (const [old, now] of kept) {
    close(old, now);
    from = old + 1;
    to = now + 1;
  }
  close(before.length - tail, after.length - tail);
  return { changed, removed, added };
}

/** Pairs of places, both going up, of equal rows; the common start and end are left out. */
function keptOf(
  before: readonly string[],
  after: readonly string[],
  start: number,
  tail: number,
): [number, number][] {
  const places = new Map<string, number[]>();
  for (let i = before.length - tail - 1; i >= start; i -= 1) {
    const row = before[i] as string;
    const known = places.get(row);
    if (known) known.push(i);
    else places.set(row, [i]);
  }
  const pairs: [number, number][] = [];
  for (let i = start; i < after.length - tail; i += 1) {
    const old = places.get(after[i] as string)?.pop();
    if (old !== undefined) pairs.push([old, i]);
  }
  return longestRise(pairs);
}

/** The longest part of the pairs whose first places go up (Schensted 1961, by patience sorting). */
function longestRise(pairs: readonly [number, number][]): [number, number][] {
  /** By length of a rise, less one: the pair it ends with at the least place. */
  const ends: number[] = [];
  const previous: number[] = [];
  pairs.forEach(([old], i) => {
    let low = 0;
    let high = ends.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((pairs[ends[middle] as number] as [number, number])[0] < old) low = middle + 1;
      else high = middle;
    }
    previous[i] = low === 0 ? -1 : (ends[low - 1] as number);
    ends[low] = i;
  });
  const rise: [number, number][] = [];
  for (let i = ends.at(-1) ?? -1; i >= 0; i = previous[i] as number) rise.push(pairs[i] as [number, number]);
  return rise.reverse();
}
