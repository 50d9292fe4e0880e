import { SkaldError } from "../errors.ts";
import { bind, type WireArgs } from "./binding.ts";
import { failureOf } from "./failure.ts";
import type { Bounds, JobAnswer } from "./job.ts";
import { tablesOf, type OpenTables } from "./open-tables.ts";
import type { Prepared } from "./prepared.ts";
import { exactRow, plainRow, type Cell } from "./rows-text.ts";

/** A statement that reads, answered whole. */
export interface ReadRequest {
  /** The tables file. */
  readonly file: string;
  readonly sql: string;
  readonly args: WireArgs;
}

/** Of the state that the answer holds for. */
export interface ReadValue {
  readonly seq: number;
  readonly rows: number;
  /** Whether the statement provably does next to nothing. */
  readonly bounded: boolean;
}

/** Answers with the whole text: `{"columns", "types", "rows", "row_count", "seq", "commit"}`. */
export function readJob(request: ReadRequest, bounds: Bounds): JobAnswer {
  try {
    const { body, ...value } = readWithin(tablesOf(request.file), request, bounds, false) as Read;
    return { value, body };
  } catch (error) {
    throw failureOf(error, request.sql);
  }
}

type Read = ReadValue & { body: string };

/** Undefined when only what is bounded may run, and this is not. */
export function readWithin(
  tables: OpenTables,
  request: ReadRequest,
  bounds: Bounds,
  onlyBounded: boolean,
): Read | undefined {
  return tables.within((head) => {
    const prepared = tables.statement(request.sql);
    if (onlyBounded && !prepared.bounded) return undefined;
    const args = bind(prepared.parameters, request.args);
    const { text, rows, types } = rowsOf(prepared, args, bounds);
    const body =
      `{"columns":${JSON.stringify(prepared.columns)},"types":${JSON.stringify(types)},"rows":[${text}],` +
      `"row_count":${rows},"seq":${head.seq},"commit":${JSON.stringify(head.commit)}}`;
    return { seq: head.seq, rows, bounded: prepared.bounded, body };
  });
}

interface Rows {
  readonly text: string;
  readonly rows: number;
  readonly types: readonly (string | null)[];
}

function rowsOf(prepared: Prepared, args: unknown[], bounds: Bounds): Rows {
  // The type of a computed column is that of its values, which only exact integers show.
  if (prepared.declared.every((type) => type !== null)) {
    const plain = plainRows(prepared, args, bounds);
    if (plain !== undefined) return plain;
  }
  return exactRows(prepared, args, bounds);
}

/** Undefined when a row needs more than JSON.stringify does. */
function plainRows(prepared: Prepared, args: unknown[], bounds: Bounds): Rows | undefined {
  const { statement, sift, declared } = prepared;
  statement.safeIntegers(false);
  let text = "";
  let rows = 0;
  for (const found of statement.iterate(...args) as Iterable<Cell[]>) {
    const row = sift ? sift(found) : found;
    if (row === undefined) continue;
    const line = plainRow(row);
    if (line === undefined) return undefined;
    if (rows === bounds.rows) throw rowLimit(bounds);
    text += rows === 0 ? line : `,${line}`;
    rows += 1;
    if (text.length > bounds.bytes) throw byteLimit(bounds);
  }
  return { text: within(text, bounds), rows, types: declared };
}

function exactRows(prepared: Prepared, args: unknown[], bounds: Bounds): Rows {
  const { statement, sift, declared } = prepared;
  statement.safeIntegers(true);
  const types = [...declared];
  let text = "";
  let rows = 0;
  for (const found of statement.iterate(...args) as Iterable<Cell[]>) {
    const row = sift ? sift(found) : found;
    if (row === undefined) continue;
    if (rows === bounds.rows) throw rowLimit(bounds);
    text += (rows === 0 ? "" : ",") + exactRow(row);
    rows += 1;
    if (text.length > bounds.bytes) throw byteLimit(bounds);
    for (let i = 0; i < row.length; i++) types[i] ??= typeOf(row[i] as Cell);
  }
  return { text: within(text, bounds), rows, types };
}

/** Of a value where its column has no type of its own; null of NULL. */
export function typeOf(cell: Cell): string | null {
  if (cell === null) return null;
  if (typeof cell === "string") return "TEXT";
  if (typeof cell === "bigint") return "INTEGER";
  return typeof cell === "number" ? "REAL" : "BLOB";
}

function within(text: string, bounds: Bounds): string {
  // A character has up to three bytes: only texts near the bound are counted exactly.
  if (text.length * 3 > bounds.bytes && Buffer.byteLength(text) > bounds.bytes) throw byteLimit(bounds);
  return text;
}

export function rowLimit({ rows }: Bounds): SkaldError {
  return new SkaldError("QUERY_LIMIT", `The statement has more than ${rows} rows.`, {
    details: { limit: "rows", max: rows },
  });
}

export function byteLimit({ bytes }: Bounds): SkaldError {
  return new SkaldError("QUERY_LIMIT", `The rows are longer than ${bytes} bytes.`, {
    details: { limit: "bytes", max: bytes },
  });
}
