import path from "node:path";
import { Engine } from "../../src/db/engine.ts";
import type { Db } from "../../src/db/db.ts";
import type { Bounds } from "../../src/query/job.ts";
import { QueryProcesses, type ProcessesOptions } from "../../src/query/processes.ts";
import { boundsOf } from "../../src/query/queries.ts";
import { changeSchema } from "../../src/query/schema.ts";
import { Writes, type BatchStatement, type Written, type WriteRequest } from "../../src/query/writes.ts";
import { TablesOf } from "../../src/tables/tables.ts";
import { tempDir } from "../support/temp-dir.ts";

/** Dbs with SQL on them, as a service puts them together. */
export class SqlDbs {
  readonly engine: Engine;
  readonly tables: TablesOf;
  readonly processes: QueryProcesses;
  readonly writes: Writes;
  readonly errors: unknown[] = [];
  readonly realOf = new WeakMap<Db, Db>();
  #count = 0;

  constructor(dir = path.join(tempDir(), "data"), start?: ProcessesOptions["start"]) {
    this.engine = new Engine({ dir, reserve: 0, documents: { workers: 1 } });
    this.tables = new TablesOf({ engine: this.engine, onError: (error) => this.errors.push(error) });
    this.processes = new QueryProcesses(start ? { start } : {});
    this.writes = new Writes({
      processes: this.processes,
      tables: (db) => this.tables.of(this.realOf.get(db) ?? db),
      at: (db, point) => this.tables.at(db, point),
    });
  }

  async with(work: (sql: SqlDb) => Promise<void>, schema: readonly string[] = []): Promise<void> {
    const dbId = `db${(this.#count += 1)}`;
    await this.engine.create(dbId);
    await this.engine.use(dbId, async (db) => {
      const sql = new SqlDb(this, db);
      for (const statement of schema) await sql.schema(statement);
      await work(sql);
    });
  }

  async close(): Promise<void> {
    await this.processes.close();
    await this.engine.close();
    await this.tables.close();
  }
}

export interface Answered extends Written {
  readonly rows: unknown[][] | undefined;
}

/** SQL on one db. */
export class SqlDb {
  readonly db: Db;
  readonly #dbs: SqlDbs;
  readonly #real: Db;
  #file = "";

  /** `db` is what statements are written with; `real` has the tables. */
  constructor(dbs: SqlDbs, db: Db, real: Db = db) {
    this.#dbs = dbs;
    this.db = db;
    this.#real = real;
    dbs.realOf.set(db, real);
  }

  /** The same with another db in the place of its own. */
  around(db: Db): SqlDb {
    return new SqlDb(this.#dbs, db, this.#real);
  }

  async run(
    statements: string | readonly BatchStatement[],
    args: BatchStatement["args"] = [],
    more: Partial<WriteRequest> = {},
    bounds: Partial<Bounds> = {},
  ): Promise<Answered> {
    const all = typeof statements === "string" ? [{ sql: statements, args }] : statements;
    const request = { statements: all, author: "ann", principal: "p", ...more };
    const written = await this.#dbs.writes.run(this.db, request, boundsOf(bounds));
    const answers = JSON.parse(written.answers) as ({ rows: unknown[][] } | null)[];
    return { ...written, rows: answers.at(-1)?.rows };
  }

  schema(sql: string, more: Partial<WriteRequest> = {}): Promise<Written> {
    const request = { sql, author: "ann", principal: "p", ...more };
    return changeSchema(this.#dbs.processes, this.db, request, boundsOf());
  }

  /** The tables' file, once it was asked for. */
  get file(): string {
    return this.#file;
  }

  /** Rows of a statement that reads, in the state of all that was committed. */
  async rows(sql: string, args: unknown[] = []): Promise<unknown[][]> {
    const { file } = await this.#dbs.tables.of(this.#real).current();
    this.#file = file;
    const { body } = await this.#dbs.processes.run(
      { kind: "read", principal: "p", request: { file, sql, args } },
      boundsOf(),
    );
    return (JSON.parse(body.toString()) as { rows: unknown[][] }).rows;
  }

  async json(doc: string): Promise<unknown> {
    return JSON.parse((await this.db.read(doc)).json) as unknown;
  }
}

export async function refusedWith(
  work: Promise<unknown>,
): Promise<{ code: string; message: string; details: unknown }> {
  try {
    await work;
  } catch (error) {
    const { code, message, details } = error as { code: string; message: string; details: unknown };
    return { code, message, details };
  }
  return { code: "none", message: "", details: {} };
}
