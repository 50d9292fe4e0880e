import type { Db } from "../db/db.ts";
import type { Engine } from "../db/engine.ts";
import { TablesOf } from "../tables/tables.ts";
import { QueryProcesses } from "./processes.ts";
import { Queries, boundsOf, type QueriesOptions, type Statement } from "./queries.ts";
import { WatchesOf } from "./watches-of.ts";
import { changeSchema } from "./schema.ts";
import { Writes, type WriteRequest, type Written } from "./writes.ts";

export interface OpenQueries {
  readonly engine: Engine;
  /** Told of failures that concern no caller. */
  readonly onError: (error: unknown) => void;
  readonly processes?: number;
  readonly memoryBytes?: number;
}

/** What SQL has of the dbs of an engine. It closes in this order: processes, the engine, tables. */
export interface OpenedQueries {
  readonly queries: Queries;
  /** Several statements as one commit. */
  readonly batch: (db: Db, request: WriteRequest, signal?: AbortSignal) => Promise<Written>;
  readonly processes: QueryProcesses;
  readonly tables: TablesOf;
  readonly watches: WatchesOf;
}

export function openQueries({ engine, onError, processes: count, memoryBytes }: OpenQueries): OpenedQueries {
  const tables = new TablesOf({ engine, onError });
  const processes = new QueryProcesses({
    ...(count === undefined ? {} : { processes: count }),
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
  });
  const at: QueriesOptions["at"] = (db, point, options) => tables.at(db, point, options);
  const writes = new Writes({ processes, tables: (db) => tables.of(db), at });
  const queries = new Queries({
    processes,
    tables: (db) => tables.of(db),
    at,
    write: async (db, { sql, args, ...rest }, _classified, bounds, signal) => {
      const statement = { sql, ...(args === undefined ? {} : { args }) };
      return answerOf(await writes.run(db, { ...carried(rest), statements: [statement] }, bounds, signal));
    },
    schema: async (db, { sql, ...rest }, _classified, bounds, signal) =>
      answerOf(await changeSchema(processes, db, { ...carried(rest), sql }, bounds, signal)),
  });
  return {
    queries,
    batch: (db, request, signal) => writes.run(db, request, boundsOf(), signal),
    processes,
    tables,
    watches: new WatchesOf({
      processes,
      world: engine.world,
      tables: (db) => tables.of(db),
      at: (db, point) => tables.points(db).at(point),
    }),
  };
}

type Carried = Omit<WriteRequest, "statements">;

function carried(statement: Omit<Statement, "sql" | "args">): Carried {
  const { author, principal, branch, message, clientTxId, dryRun } = statement;
  return {
    author,
    principal,
    ...(branch === undefined ? {} : { branch }),
    ...(message === undefined ? {} : { message }),
    ...(clientTxId === undefined ? {} : { clientTxId }),
    ...(dryRun === undefined ? {} : { dryRun }),
  };
}

/** The answer of one statement: what RETURNING gave stands among its members. */
function answerOf({ seq, commit, duplicate, affected, answers }: Written): { seq: number; json: string } {
  const rows = answers.slice(1, -1);
  const given = rows === "null" ? "" : `${rows.slice(1, -1)},`;
  return {
    seq,
    json: `{"rows_affected":${affected[0] ?? 0},${given}"seq":${seq},"commit":${JSON.stringify(commit)},"duplicate":${duplicate}}`,
  };
}
