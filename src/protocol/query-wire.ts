import * as z from "zod";
import { LIMITS } from "../limits.ts";
import { Cid, CursorText } from "./wire.ts";

/** Shapes of SQL over HTTP, as those of `wire.ts`: the same schemas check requests and make the OpenAPI document. */

const Value = z.unknown().meta({
  description:
    'null, a number, a text, a boolean (as 1 or 0), bytes as {"/": {"bytes": base64}}; any other list or object as its JSON text.',
});

export const SqlArgs = z.union([z.array(Value), z.record(z.string(), Value)]).meta({
  id: "SqlArgs",
  description:
    "A list for `?` and `?1`, or an object for `:name`, `@name` and `$name`, without the sign in front.",
});

const point = z.string().max(LIMITS.query.pointCharacters.value);
const onPoint = {
  branch: point.optional().meta({ description: "A branch; `main` when left out." }),
  at: point.optional().meta({
    description: "Of a read: a seq, a commit's address, or an RFC 3339 time; the head when left out.",
  }),
};
const ofWrite = {
  message: z.string().max(LIMITS.tx.messageCharacters.value).optional(),
  client_tx_id: z
    .string()
    .optional()
    .meta({ maxLength: LIMITS.names.txIdCharacters.value, description: "Makes repeating safe." }),
  dry_run: z.boolean().optional().meta({ description: "Answer as if written and keep nothing." }),
};
const sql = z.string().meta({ description: "One statement." });

export const SqlRequest = z
  .strictObject({ sql, args: SqlArgs.optional(), ...onPoint, ...ofWrite })
  .meta({ id: "SqlRequest" });

/** The body of the `QUERY` method: what only reads. */
export const SqlRead = z.strictObject({ sql, args: SqlArgs.optional(), ...onPoint }).meta({ id: "SqlRead" });

export const SqlBatch = z
  .strictObject({
    statements: z
      .array(
        z.union([
          z.strictObject({ sql, args: SqlArgs.optional() }),
          z.strictObject({
            sql,
            values: z
              .array(z.array(Value))
              .meta({ description: "The statement runs once with each of these." }),
          }),
        ]),
      )
      .min(1),
    branch: onPoint.branch,
    ...ofWrite,
  })
  .meta({ id: "SqlBatch", description: "All of it is one commit, or nothing." });

const Types = z.array(z.string().nullable()).meta({ description: "As declared; null for an expression." });
const Rows = z.array(z.array(z.unknown()));

export const SqlRows = z
  .object({
    columns: z.array(z.string()),
    types: Types,
    rows: Rows,
    row_count: z.int(),
    seq: z.int().meta({ description: "The commit that the answer holds for." }),
    commit: Cid.nullable(),
    cursor: CursorText,
  })
  .meta({ id: "SqlRows" });

export const SqlWritten = z
  .object({
    rows_affected: z.int(),
    columns: z.array(z.string()).optional().meta({ description: "Of RETURNING." }),
    types: Types.optional(),
    rows: Rows.optional(),
    row_count: z.int().optional(),
    seq: z.int(),
    commit: Cid.nullable(),
    duplicate: z.boolean().optional(),
    cursor: CursorText,
  })
  .meta({ id: "SqlWritten" });

export const SqlBatchWritten = z
  .object({
    rows_affected: z.int(),
    statements: z.array(z.object({ rows_affected: z.int() })),
    seq: z.int(),
    commit: Cid.nullable(),
    duplicate: z.boolean().optional(),
    cursor: CursorText,
  })
  .meta({ id: "SqlBatchWritten" });

export const SqlSchema = z
  .object({
    tables: z.array(
      z.object({
        name: z.string(),
        type: z.enum(["table", "view", "virtual"]),
        columns: z.array(
          z.object({
            name: z.string(),
            type: z.string().meta({ description: "As declared." }),
            key: z.boolean().meta({ description: "In the primary key." }),
          }),
        ),
        indexes: z.array(
          z.object({
            name: z.string(),
            unique: z.boolean(),
            columns: z.array(z.string().nullable()).meta({ description: "null is an expression." }),
          }),
        ),
      }),
    ),
    seq: z.int(),
    commit: Cid.nullable(),
    cursor: CursorText,
  })
  .meta({ id: "SqlSchema" });

export const StatementPut = z
  .strictObject({
    sql: z.string(),
    description: z.string().max(LIMITS.tx.messageCharacters.value).optional(),
  })
  .meta({ id: "StatementPut" });

export const StatementInfo = z
  .object({
    name: z.string(),
    sql: z.string(),
    description: z.string().nullable(),
    parameters: z.array(z.string()).meta({ description: "Names of what it has to be given." }),
    seq: z.int(),
    author: z.string(),
    time: z.string(),
  })
  .meta({ id: "StatementInfo" });

export const StatementList = z.object({ statements: z.array(StatementInfo), cursor: z.string().nullable() });
