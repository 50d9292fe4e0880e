import { mkdtempSync } from "node:fs";
import path from "node:path";
import Database from "better-sqlite3";
import type { WireArgs } from "../../src/query/binding.ts";
import { writeJob, type WriteJobValue } from "../../src/query/write-job.ts";
import { makeTables, TABLES_FILE } from "../../src/store/sqlite-tables.ts";
import { TablesWriter } from "../../src/tables/writer.ts";
import { tempDir } from "../support/temp-dir.ts";

const root = tempDir();

/** A tables file with statements of a schema, and documents by name. */
export function tablesFile(
  schema: readonly string[],
  documents: Readonly<Record<string, unknown>> = {},
): string {
  const file = path.join(mkdtempSync(path.join(root, "tables-")), TABLES_FILE);
  const tables = makeTables(file, { uid: "00", epoch: 1 }, "life");
  const writer = new TablesWriter(tables);
  writer.begin([]);
  writer.feed({
    schema: schema.map((sql, i) => ({ seq: i + 1, index: 0, sql })),
    documents: Object.entries(documents).map(([name, value]) =>
      value instanceof Error
        ? { name, seq: 7, problem: value.message }
        : { name, seq: 7, json: JSON.stringify(value) },
    ),
  });
  writer.end({ branch: 0, seq: 7, schema: schema.length });
  tables.finish();
  const file2 = new Database(file);
  file2.pragma("journal_mode = WAL");
  file2.close();
  return file;
}

export interface Tried extends WriteJobValue {
  /** Of each statement that gives rows. */
  readonly answers: readonly ({
    columns: string[];
    types: string[];
    rows: unknown[][];
    row_count: number;
  } | null)[];
  /** Edits by document: the value put, the patch, or null of one that is deleted. */
  readonly docs: Readonly<Record<string, unknown>>;
}

export type Stated = string | readonly [sql: string, ...runs: WireArgs[]];

/** What statements would do. */
export function tryWrite(file: string, ...statements: readonly Stated[]): Tried {
  const { value, body } = writeJob(
    {
      file,
      statements: statements.map((stated) => {
        const [sql, ...runs] = typeof stated === "string" ? [stated] : stated;
        return { sql: sql, runs: runs.length > 0 ? runs : [[]] };
      }),
      now: 1_700_000_000_000,
      random: Buffer.alloc(10, 7).toString("base64"),
      documents: 1000,
    },
    { ms: 5000, rows: 1000, bytes: 1_000_000 },
  );
  const tried = value as WriteJobValue;
  const docs = Object.fromEntries(
    tried.edits.map(([doc, , text]) => [doc, text === undefined ? null : (JSON.parse(text) as unknown)]),
  );
  return { ...tried, answers: JSON.parse(String(body)) as Tried["answers"], docs };
}

/** The code and the words that statements are refused with. */
export function refusedWrite(
  file: string,
  ...statements: readonly Stated[]
): { code: string; message: string; details?: unknown } {
  try {
    const { docs } = tryWrite(file, ...statements);
    return { code: "none", message: JSON.stringify(docs) };
  } catch (error) {
    const { code, message, details } = error as { code: string; message: string; details: unknown };
    return { code, message, details };
  }
}
