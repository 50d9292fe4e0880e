import { SkaldError } from "../errors.ts";
import { bind, type WireArgs } from "./binding.ts";
import { failureOf } from "./failure.ts";
import type { Bounds, JobAnswer } from "./job.ts";
import { openTables, type OpenTables } from "./open-tables.ts";
import { byteLimit, rowLimit } from "./read-job.ts";
import { csvRow, objectNames, objectRow, type Cell } from "./rows-text.ts";

/** The first of a long answer's pages, or with `next` the one behind the last. */
export type RowsRequest =
  | {
      readonly file: string;
      readonly sql: string;
      readonly args: WireArgs;
      readonly format: "csv" | "ndjson";
    }
  | { readonly next: true };

export interface RowsValue {
  readonly seq: number;
  readonly columns: readonly string[];
  /** Whether this was the last page. */
  readonly done: boolean;
}

/** Characters after which a page is sent. */
const PAGE_CHARS = 64 * 1024;

interface Open {
  readonly tables: OpenTables;
  readonly value: Omit<RowsValue, "done">;
  readonly rows: Iterator<Cell[]>;
  readonly write: (row: Cell[]) => string;
  readonly sift: ((row: Cell[]) => Cell[] | undefined) | undefined;
  sent: number;
  bytes: number;
}

/** A process that has one serves nobody else until it is through. */
let open: Open | undefined;

/** A page of rows, in the state that the first one saw. */
export function rowsJob(request: RowsRequest, bounds: Bounds): JobAnswer {
  let text = "";
  try {
    if ("sql" in request) {
      close();
      text = begin(request);
    }
    const at = open;
    if (at === undefined) throw new SkaldError("UNAVAILABLE", "The answer is at its end.");
    let done = false;
    while (text.length < PAGE_CHARS) {
      const step = at.rows.next();
      if (step.done === true) {
        done = true;
        break;
      }
      const row = at.sift ? at.sift(step.value) : step.value;
      if (row === undefined) continue;
      if (at.sent === bounds.rows) throw rowLimit(bounds);
      at.sent += 1;
      text += at.write(row);
    }
    at.bytes += Buffer.byteLength(text);
    if (at.bytes > bounds.bytes) throw byteLimit(bounds);
    const value: RowsValue = { ...at.value, done };
    if (done) close();
    return { value, body: text };
  } catch (error) {
    close();
    throw failureOf(error, "sql" in request ? request.sql : "");
  }
}

/** What stands above the rows. */
function begin(request: Extract<RowsRequest, { sql: string }>): string {
  // A connection of its own: its transaction stays open between pages.
  const tables = openTables(request.file);
  try {
    tables.begin();
    const { seq } = tables.head();
    const { statement, parameters, columns, sift } = tables.statement(request.sql);
    const names = objectNames(columns);
    const csv = request.format === "csv";
    statement.safeIntegers(true);
    const rows = statement.iterate(...bind(parameters, request.args)) as Iterator<Cell[]>;
    const write = csv ? csvRow : (row: Cell[]) => objectRow(row, names);
    open = { tables, value: { seq, columns }, rows, write, sift, sent: 0, bytes: 0 };
    return csv ? csvRow([...columns]) : "";
  } catch (error) {
    tables.close();
    throw error;
  }
}

function close(): void {
  const was = open;
  open = undefined;
  if (was === undefined) return;
  was.rows.return?.();
  was.tables.close();
}
