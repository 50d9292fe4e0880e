import type { Engine } from "../db/engine.ts";
import { SkaldError } from "../errors.ts";
import { writeEvents } from "../db/write-events.ts";
import { TablesOf } from "../tables/tables.ts";
import { QueryProcesses } from "./processes.ts";
import { Queries } from "./queries.ts";

export interface OpenQueries {
  readonly engine: Engine;
  /** Told of failures that concern no caller. */
  readonly onError: (error: unknown) => void;
  readonly processes?: number;
  readonly memoryBytes?: number;
}

/** Everything of SQL for the dbs of an engine. What is given closes in this order: processes, the engine, tables. */
export function openQueries({ engine, onError, processes: count, memoryBytes }: OpenQueries): {
  readonly queries: Queries;
  readonly processes: QueryProcesses;
  readonly tables: TablesOf;
} {
  const tables = new TablesOf({ engine, onError });
  const processes = new QueryProcesses({
    ...(count === undefined ? {} : { processes: count }),
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
  });
  const queries = new Queries({
    processes,
    tables: (db) => tables.of(db),
    at: () => Promise.reject(new SkaldError("UNAVAILABLE", "Points are not there yet.")),
    write: () => Promise.reject(new SkaldError("UNAVAILABLE", "Writes are not there yet.")),
    schema: async (db, { sql, author }) => {
      const { seq, commit } = await writeEvents(db, { author, events: [{ type: "schema.change", sql }] });
      return { seq, json: JSON.stringify({ rows_affected: 0, seq, commit }) };
    },
  });
  return { queries, processes, tables };
}
