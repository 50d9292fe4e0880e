import { SkaldError } from "../errors.ts";
import { quoted, tokensOf, type Token } from "../tables/tokens.ts";
import { bind, type WireArgs } from "./binding.ts";
import type { TableShape } from "./dependency.ts";
import { failureOf } from "./failure.ts";
import type { Bounds, JobAnswer } from "./job.ts";
import { tablesOf, type OpenTables } from "./open-tables.ts";
import { byteLimit, rowLimit, typeOf } from "./read-job.ts";
import { ResultHash, rowText, type TypedValue } from "./result-hash.ts";
import { isNow, leavesTimeOut } from "./time-now.ts";
import { BETWEEN_ROWS, type Result } from "./watch-state.ts";

/** A statement that is watched, evaluated. */
export interface WatchRequest {
  /** The tables file. */
  readonly file: string;
  readonly sql: string;
  readonly args: WireArgs;
  /** The schema for which it is known what the statement reads. */
  readonly schema?: number;
}

/** The rows are the answer's body. */
export interface WatchValue extends Omit<Result, "rows"> {
  /** The last statement of the schema: what is read stays the same until there is another. */
  readonly schema: number;
  /** Left out for a schema for which it is known. */
  readonly reads?: Reads;
}

/** What the statement reads: tables by their names, views taken apart. */
export interface Reads {
  readonly tables: readonly string[];
  /** Whether one of them has its rows from somewhere else, and nobody says when they change. */
  readonly virtual: boolean;
  /** Of the only one. */
  readonly shape?: TableShape;
}

export function watchJob({ file, sql, args, schema }: WatchRequest, bounds: Bounds): JobAnswer {
  try {
    const tables = tablesOf(file);
    return tables.within((head) => {
      const { statement, parameters, columns, declared, verdict, sift } = tables.statement(sql);
      if (sift || !verdict.deterministic || (verdict.dates && asksForNow(tables, sql, args)))
        throw notWatched();
      statement.safeIntegers(true);
      const hash = new ResultHash(columns);
      const types = [...declared];
      const rows: string[] = [];
      let bytes = 0;
      for (const row of statement.iterate(...bind(parameters, args)) as Iterable<TypedValue[]>) {
        if (rows.length === bounds.rows) throw rowLimit(bounds);
        hash.row(row);
        const text = rowText(row);
        bytes += Buffer.byteLength(text);
        if (bytes > bounds.bytes) throw byteLimit(bounds);
        rows.push(text);
        row.forEach((value, i) => (types[i] ??= typeOf(value)));
      }
      const value: WatchValue = {
        seq: head.seq,
        schema: head.schema,
        hash: hash.digest(),
        columns,
        types,
        count: rows.length,
        ...(schema === head.schema ? {} : { reads: readsOf(tables, verdict.tables) }),
      };
      return { value, body: rows.join(BETWEEN_ROWS) };
    });
  } catch (error) {
    throw failureOf(error, sql);
  }
}

function asksForNow({ sqlite }: OpenTables, sql: string, args: WireArgs): boolean {
  const views = sqlite.prepare("SELECT sql FROM sqlite_schema WHERE type = 'view'").pluck().all() as string[];
  const values = Array.isArray(args) ? args : Object.values(args ?? {});
  return [sql, ...views].some(leavesTimeOut) || values.some(isNow);
}

function notWatched(): SkaldError {
  return new SkaldError(
    "SQL_NOT_ALLOWED",
    "The statement cannot be watched: it may give another result for the same rows.",
    {
      hint: "A watch is of a SELECT without random(), the time now and the like: give what changes as an argument.",
    },
  );
}

/** By the state of the schema on a connection. */
const known = new WeakMap<object, Map<string, Reads>>();

function readsOf(tables: OpenTables, names: readonly string[]): Reads {
  const { openable } = tables;
  let reads = known.get(openable);
  if (!reads) known.set(openable, (reads = new Map<string, Reads>()));
  const key = JSON.stringify(names);
  let found = reads.get(key);
  if (!found) reads.set(key, (found = lookUp(tables, names)));
  return found;
}

function lookUp({ openable, visible, sqlite }: OpenTables, names: readonly string[]): Reads {
  const madeBy = sqlite.prepare("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?").pluck();
  const tokens = (name: string): readonly Token[] => tokensOf(String(madeBy.get(name)));
  // A full text is told of as a table is.
  const isOther = (name: string): boolean => !tokens(name).some(({ word }) => word === "FTS5");
  const virtual = new Set(openable.virtual.values());
  // What is read and not seen are functions that give rows, such as json_each.
  const own = names.filter((name) => visible.has(name));
  const [only] = own;
  if (own.some((name) => virtual.has(name) && isOther(name))) return { tables: own, virtual: true };
  if (only === undefined || names.length > 1 || virtual.has(only)) return { tables: own, virtual: false };
  const columns = sqlite.pragma(`main.table_xinfo(${quoted(only)})`) as {
    name: string;
    type: string;
    hidden: number;
  }[];
  const shape: TableShape = {
    name: only,
    columns: columns.map(({ name, type, hidden }) => ({ name, type, plain: hidden === 0 })),
    collated: tokens(only).some(({ word }) => word === "COLLATE"),
  };
  return { tables: own, virtual: false, shape };
}
