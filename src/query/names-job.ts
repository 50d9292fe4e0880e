import { quoted } from "../tables/tokens.ts";
import { failureOf } from "./failure.ts";
import type { Bounds, JobAnswer } from "./job.ts";
import { tablesOf, type OpenTables } from "./open-tables.ts";

/** What an editor completes names with: everything that a statement can name. */
export interface Names {
  readonly seq: number;
  readonly tables: readonly NamedTable[];
}

export interface NamedTable {
  readonly name: string;
  readonly type: "table" | "view" | "virtual";
  /** `type` as declared, "" without one; `key`: in the primary key. */
  readonly columns: readonly { readonly name: string; readonly type: string; readonly key: boolean }[];
  readonly indexes: readonly NamedIndex[];
}

export interface NamedIndex {
  readonly name: string;
  readonly unique: boolean;
  /** null where it is an expression. */
  readonly columns: readonly (string | null)[];
}

export interface NamesRequest {
  readonly file: string;
}

export function namesJob({ file }: NamesRequest, _bounds: Bounds): JobAnswer {
  try {
    const tables = tablesOf(file);
    return tables.within(({ seq }): JobAnswer => {
      const value: Names = { seq, tables: tablesIn(tables) };
      return { value };
    });
  } catch (error) {
    throw failureOf(error);
  }
}

function tablesIn(tables: OpenTables): NamedTable[] {
  const list = tables.sqlite.pragma("main.table_list") as { name: string; type: NamedTable["type"] }[];
  return list
    .filter(({ name }) => tables.visible.has(name))
    .map(({ name, type }) => ({
      name,
      type,
      columns: columnsOf(tables, name),
      indexes: indexesOf(tables, name),
    }))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

function columnsOf({ sqlite }: OpenTables, table: string): NamedTable["columns"] {
  const rows = sqlite.pragma(`main.table_xinfo(${quoted(table)})`) as {
    name: string;
    type: string;
    pk: number;
    hidden: number;
  }[];
  // 1: a hidden column of a virtual table, which has the table's own name among them.
  return rows.filter(({ hidden }) => hidden !== 1).map(({ name, type, pk }) => ({ name, type, key: pk > 0 }));
}

function indexesOf({ sqlite }: OpenTables, table: string): NamedIndex[] {
  const rows = sqlite.pragma(`main.index_list(${quoted(table)})`) as {
    name: string;
    unique: number;
    origin: string;
  }[];
  return rows
    .filter(({ origin }) => origin === "c")
    .map(({ name, unique }) => ({
      name,
      unique: unique === 1,
      columns: (sqlite.pragma(`main.index_info(${quoted(name)})`) as { name: string | null }[]).map(
        (column) => column.name,
      ),
    }));
}
