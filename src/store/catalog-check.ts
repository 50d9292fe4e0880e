import { rowDamaged } from "./row-sum.ts";
import { addressesIn, docSum, docWitness, readHead, receiptSum, receiptWitness } from "./catalog-rows.ts";
import type { Sqlite } from "./sqlite.ts";

/**
 * Goes through every row of a catalog: each is as it was written, none is missing and none too many. Throws
 * DERIVED_DAMAGED at the first that is not.
 */
export function checkCatalog(sqlite: Sqlite, file: string): void {
  const head = readHead(sqlite, file);
  const witness = sqlite.prepare("SELECT 1 FROM witness WHERE name = ?").pluck();
  const bundled = (sqlite.prepare("SELECT max(last) FROM bundle").pluck().get() as number | null) ?? 0;
  const touches = sqlite.prepare("SELECT seq, before FROM touch WHERE doc = ? ORDER BY seq DESC");
  let docs = 0;
  let touched = 0;
  for (const row of sqlite.prepare("SELECT * FROM doc ORDER BY name").iterate() as Iterable<Row>) {
    docs += 1;
    if (row.sum !== docSum(row) || witness.get(docWitness(row.name)) === undefined) {
      throw rowDamaged(file, `the row of ${row.name} is not as it was written`);
    }
    let expected = row.last;
    for (const { seq, before } of touches.all(row.id) as { seq: number; before: number }[]) {
      touched += 1;
      if (seq !== expected) throw rowDamaged(file, `the commits of ${row.name} are not as they were written`);
      expected = before;
    }
    if (expected > bundled) throw rowDamaged(file, `commits of ${row.name} are missing`);
  }
  const addresses = addressesIn(sqlite);
  let receipts = 0;
  let sum = 0;
  const each = sqlite.prepare("SELECT principal, client_tx_id, seq FROM receipt").raw().iterate();
  for (const [principal, id, seq] of each as Iterable<[string, string, number]>) {
    receipts += 1;
    sum = (sum + receiptSum(principal, id, seq)) % 2 ** 32;
    if (witness.get(receiptWitness(principal, id)) === undefined)
      throw rowDamaged(file, `the receipt ${id} is not as it was written`);
  }
  const count = (table: string): unknown => sqlite.prepare(`SELECT count(*) FROM ${table}`).pluck().get();
  const sound =
    docs === head.docs &&
    touched === count("touch") &&
    addresses.rows === head.addresses &&
    addresses.sum === head.address_sum &&
    receipts === head.receipts &&
    sum === head.receipt_sum &&
    docs + receipts === count("witness");
  if (!sound) throw rowDamaged(file, "rows are missing, or are not as they were written");
}

type Row = Parameters<typeof docSum>[0] & { readonly sum: number };
