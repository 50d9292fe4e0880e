import type { Fact } from "./contract.ts";
import { pairSum, rowDamaged, rowName, rowSum } from "./row-sum.ts";
import type { Sqlite } from "./sqlite.ts";

/** What the rows of a catalog's file are, and the sums by which they vouch for themselves. */
export interface DocRow {
  id: number;
  name: string;
  state: Uint8Array;
  first: number;
  last: number;
  deleted: number;
  sum: number;
}

export interface CatalogHead {
  readonly seq: number;
  readonly cid: Uint8Array | null;
  readonly addresses: number;
  readonly address_sum: number;
  readonly docs: number;
  readonly receipts: number;
  readonly receipt_sum: number;
}

const NO_HEAD: CatalogHead = {
  seq: 0,
  cid: null,
  addresses: 0,
  address_sum: 0,
  docs: 0,
  receipts: 0,
  receipt_sum: 0,
};

/** Reads the head. Throws DERIVED_DAMAGED when it is not as it was written. */
export function readHead(sqlite: Sqlite, file: string): CatalogHead {
  const row = sqlite.prepare("SELECT * FROM head").get() as (CatalogHead & { sum: number }) | undefined;
  if (!row) {
    // A file that was just made has no rows at all.
    if (sqlite.prepare("SELECT 1 FROM doc LIMIT 1").get()) throw rowDamaged(file, "it has no head");
    return NO_HEAD;
  }
  if (row.sum !== headSum(row)) throw rowDamaged(file, "its head is not as it was written");
  return row;
}

export function headSum(head: CatalogHead): number {
  const { seq, cid, addresses, address_sum, docs, receipts, receipt_sum } = head;
  return rowSum([seq, cid, addresses, address_sum, docs, receipts, receipt_sum]);
}

/** Sum of a document's row. */
export function docSum(row: Omit<DocRow, "sum">): number {
  return rowSum([row.id, row.name, row.state, row.first, row.last, row.deleted]);
}

export function receiptSum(principal: string, clientTxId: string, seq: number): number {
  return rowSum([principal, clientTxId, seq]) % 2 ** 32;
}

export function factSum({ kind, name, seq, value }: Fact): number {
  return rowSum([kind, name, seq, value]);
}

export function docWitness(name: string): Buffer {
  return rowName([name]);
}

export function idWitness(automerge: number): Buffer {
  return rowName([automerge]);
}

export function receiptWitness(principal: string, clientTxId: string): Buffer {
  return rowName([principal, clientTxId]);
}

/** Rows of `address` and the sum over them. */
export function addressesIn(sqlite: Sqlite): { rows: number; sum: number } {
  let rows = 0;
  let sum = 0;
  for (const [prefix, seq] of sqlite.prepare("SELECT prefix, seq FROM address").raw().iterate() as Iterable<
    [number, number]
  >) {
    rows += 1;
    sum = (sum + pairSum(prefix, seq)) % 2 ** 32;
  }
  return { rows, sum };
}
