import { SkaldError } from "../errors.ts";
import { checkCollection } from "../ids/names.ts";
import { openSqlite } from "../store/sqlite.ts";
import { TablesFile } from "../store/sqlite-tables.ts";
import { ddlOf } from "../tables/ddl.ts";
import { FileSchema } from "../tables/file-schema.ts";
import { failureOf } from "./failure.ts";
import type { Bounds, JobAnswer } from "./job.ts";

/** A statement of the schema, to be tried. */
export interface SchemaJobRequest {
  /** Those in force before it, in their order. */
  readonly before: readonly { readonly seq: number; readonly index: number; readonly sql: string }[];
  readonly sql: string;
}

export interface SchemaJobValue {
  /** False of one that has nothing to do, as with IF NOT EXISTS. */
  readonly changes: boolean;
}

/**
 * Tries a statement on tables without rows: whether it can be applied is a matter of the statements before it alone.
 * Throws SCHEMA_INVALID, SQL_ERROR with SQLite's words.
 */
export function schemaJob({ before, sql }: SchemaJobRequest, _bounds: Bounds): JobAnswer {
  const ddl = ddlOf(sql);
  if (ddl.kind === "create-table") checkTableName(ddl.name);
  const sqlite = openSqlite(":memory:", { kind: "tables", create: true });
  try {
    const schema = new FileSchema(new TablesFile(sqlite, ":memory:"));
    for (const statement of before) schema.add(statement);
    const version = (): unknown => sqlite.pragma("schema_version", { simple: true });
    const was = version();
    const { problem } = schema.add({ seq: Number.MAX_SAFE_INTEGER, index: 0, sql });
    if (problem !== undefined) throw new SkaldError("SQL_ERROR", problem);
    const value: SchemaJobValue = { changes: version() !== was };
    return { value };
  } catch (error) {
    throw failureOf(error, sql);
  } finally {
    sqlite.close();
  }
}

/** A table is the view of a collection, so its name has to be one's. */
function checkTableName(name: string): void {
  try {
    checkCollection(name);
  } catch (error) {
    throw new SkaldError(
      "SCHEMA_INVALID",
      `A table is named like its collection. ${(error as Error).message}`,
      {
        cause: error,
        hint: "See specs/01-ids.md for what a collection's name may hold.",
      },
    );
  }
}
