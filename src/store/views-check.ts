import { rowDamaged } from "./row-sum.ts";
import { documentSum, savedSum, type RawRow } from "./views-rows.ts";
import type { Sqlite } from "./sqlite.ts";

/** Goes through every row of the projections. Throws DERIVED_DAMAGED at the first that is not as it was written. */
export function checkViews(sqlite: Sqlite, file: string): void {
  for (const row of sqlite.prepare("SELECT * FROM document").iterate() as Iterable<RawRow>) {
    if (row.sum !== documentSum(row))
      throw rowDamaged(file, `the row of ${row.name} is not as it was written`);
  }
  const saved = sqlite.prepare("SELECT * FROM saved").iterate();
  for (const row of saved as Iterable<{ name: string; seq: number; bytes: Uint8Array; sum: number }>) {
    if (row.sum !== savedSum(row.name, row.seq, row.bytes))
      throw rowDamaged(file, `the saved form of ${row.name} is not as it was written`);
  }
}
