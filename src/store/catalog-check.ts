import type { Fact } from "./contract.ts";
import { rowDamaged } from "./row-sum.ts";
import {
  addressesIn,
  docSum,
  docWitness,
  factSum,
  idWitness,
  readHead,
  receiptSum,
  receiptWitness,
} from "./catalog-rows.ts";
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
  let ids = 0;
  let named = 0;
  let before: number | undefined;
  for (const [id, doc] of sqlite
    .prepare("SELECT a.id, d.id FROM automerge a LEFT JOIN doc d ON d.id = a.doc ORDER BY a.id")
    .raw()
    .iterate() as Iterable<[number, number | null]>) {
    if (doc === null || witness.get(idWitness(id)) === undefined)
      throw rowDamaged(file, "the Automerge id of a document is not as it was written");
    named += 1;
    if (id !== before) ids += 1;
    before = id;
  }
  const namedOnce = sqlite.prepare("SELECT count(DISTINCT doc) FROM automerge").pluck().get();
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
  for (const fact of sqlite.prepare("SELECT * FROM fact").iterate() as Iterable<Fact & { sum: number }>) {
    if (fact.sum !== factSum(fact))
      throw rowDamaged(file, `what it says of ${fact.name} is not as it was written`);
  }
  const count = (table: string): unknown => sqlite.prepare(`SELECT count(*) FROM ${table}`).pluck().get();
  const sound =
    docs === head.docs &&
    touched === count("touch") &&
    addresses.rows === head.addresses &&
    addresses.sum === head.address_sum &&
    receipts === head.receipts &&
    sum === head.receipt_sum &&
    named === docs &&
    namedOnce === docs &&
    docs + ids + receipts === count("witness");
  if (!sound) throw rowDamaged(file, "rows are missing, or are not as they were written");
}

type Row = Parameters<typeof docSum>[0] & { readonly sum: number };
