/**
 * What turns one list of rows into another, exactly: also when rows are equal to each other, and when the only
 * thing that changed is their order.
 *
 * Applied in this order: `changed` puts a row in the place of one, `removed` takes rows out; both name places in the
 * list before, `removed` with the row that goes. `added` then puts rows where they are to stand in the list after,
 * from the first to the last. Each list goes up. `query/row-delta.ts` makes them.
 */
export interface Delta<T> {
  readonly changed: readonly (readonly [at: number, row: T])[];
  readonly removed: readonly (readonly [at: number, row: T])[];
  readonly added: readonly (readonly [at: number, row: T])[];
}

/** The list after. Throws RangeError for a delta that is not of this list. */
export function applyDelta<T extends string | object>(
  before: readonly T[],
  { changed, removed, added }: Delta<T>,
): T[] {
  const rows: (T | undefined)[] = [...before];
  const inside = (at: number, length: number): void => {
    if (!Number.isInteger(at) || at < 0 || at >= length) throw new RangeError("a place is outside the rows");
  };
  for (const [at, row] of changed) {
    inside(at, rows.length);
    rows[at] = row;
  }
  for (const [at] of removed) {
    inside(at, rows.length);
    rows[at] = undefined;
  }
  const rest = rows.filter((row) => row !== undefined);
  const after: T[] = [];
  let taken = 0;
  for (const [at, row] of added) {
    while (after.length < at) {
      if (taken >= rest.length) throw new RangeError("a place is outside the rows");
      after.push(rest[taken++] as T);
    }
    after.push(row);
  }
  return [...after, ...rest.slice(taken)];
}
