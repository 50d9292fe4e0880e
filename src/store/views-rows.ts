import { rowSum } from "./row-sum.ts";

export interface RawRow {
  name: string;
  seq: number;
  deleted: number;
  json: string | Uint8Array | null;
  problem: string | null;
  sum: number;
}

/** Sum of a row of `document`, of the JSON as it is stored. */
export function documentSum(row: Omit<RawRow, "sum">): number {
  return rowSum([row.name, row.seq, row.deleted, row.json, row.problem]);
}

export function savedSum(name: string, seq: number, bytes: Uint8Array): number {
  return rowSum([name, seq, bytes]);
}
