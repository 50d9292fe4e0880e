import { METHODS } from "node:http";
import * as z from "zod";
import { LIMITS } from "../limits.ts";
import {
  SqlBatch,
  SqlBatchWritten,
  SqlRead,
  SqlRequest,
  SqlRows,
  SqlSchema,
  SqlWritten,
} from "../protocol/query-wire.ts";
import { batchAnswer } from "./query-batch.ts";
import { CSV, NDJSON, execAnswer, queryAnswer, schemaAnswer } from "./query-answer.ts";
import { pointQuery } from "./point.ts";
import type { Route } from "./route.ts";
import { runRoute } from "./run-route.ts";
import { statementRoutes } from "./statement-routes.ts";
import { dryRunQuery } from "./tx-routes.ts";

const tag = "queries";
const rowsAs = (schema: z.ZodType): Record<string, z.ZodType | "raw"> => ({
  "application/json": schema,
  [NDJSON]: "raw",
  [CSV]: "raw",
});

const query: Route = {
  method: "QUERY",
  path: "/db/:db/query",
  summary: "Ask in SQL, by the method of RFC 10008",
  description:
    "What only reads. `application/sql` takes named arguments from the URL: `?most=10` for `:most`, where a JSON number, `null`, `true`, `false` and a JSON string in its quotes are that and everything else is text.",
  tag,
  access: "query.read",
  query: z.object(pointQuery).catchall(z.string()),
  body: {
    types: { "application/sql": "raw", "application/json": SqlRead },
    maxBytes: LIMITS.http.bodyBytes.value,
  },
  answers: { 200: { description: "The rows.", types: rowsAs(SqlRows) } },
  handle: queryAnswer,
};

export const EXEC_PATH = "/db/:db/query/exec";

/** SQL over a db's documents. */
export const queryRoutes: readonly Route[] = [
  {
    method: "POST",
    path: EXEC_PATH,
    summary: "Run an SQL statement",
    description:
      "SELECT, VALUES, WITH and EXPLAIN need `query.read`, INSERT, UPDATE, DELETE and REPLACE `query.write` (with RETURNING `query.read` as well), CREATE, ALTER, DROP and PRAGMA `query.admin`. Rows also come as `text/csv` and `application/x-ndjson`, streamed.",
    tag,
    access: "query.read",
    or: ["query.write", "query.admin"],
    query: z.strictObject(dryRunQuery),
    body: { types: { "application/json": SqlRequest } },
    answers: {
      200: {
        description: "The rows, or what was written: durable.",
        types: rowsAs(z.union([SqlRows, SqlWritten])),
      },
    },
    handle: execAnswer,
  },
  {
    method: "POST",
    path: "/db/:db/query/batch",
    summary: "Run several SQL statements as one commit",
    description:
      "All of it or nothing. A statement with `values` runs once for each of them, which is how to load many rows.",
    tag,
    access: "query.write",
    or: ["query.admin"],
    query: z.strictObject(dryRunQuery),
    body: { types: { "application/json": SqlBatch } },
    answers: { 200: { description: "Durable.", types: { "application/json": SqlBatchWritten } } },
    handle: batchAnswer,
  },
  {
    method: "GET",
    path: "/db/:db/query/schema",
    summary: "Tables, views and columns, for an editor's completion",
    tag,
    access: "query.read",
    query: z.strictObject(pointQuery),
    answers: {
      200: { description: "The schema.", types: { "application/json": SqlSchema } },
      304: { description: "Still what If-None-Match names." },
    },
    handle: schemaAnswer,
  },
  // Before the routes of stored statements' names.
  ...statementRoutes,
  runRoute,
  // Node's parser refuses a method that it does not know before anybody sees the request.
  ...(METHODS.includes("QUERY") ? [query] : []),
];
