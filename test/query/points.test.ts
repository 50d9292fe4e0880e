import { statSync, truncateSync } from "node:fs";
import { Queries, type HeldPlace, type QueriesOptions, type Statement } from "../../src/query/queries.ts";
import { SqlDbs, type SqlDb } from "./sql-db.ts";

/** Statements at points and on branches, through the processes that run them. */
const dbs = new SqlDbs();
afterAll(async () => {
  await dbs.close();
  expect(dbs.errors).toEqual([]);
});

type At = QueriesOptions["at"];
const refused = (): never => {
  throw new Error("nothing is written here");
};

/** `around` is what happens between finding a file and reading it. */
function queriesWith(around: (place: HeldPlace, exact: boolean) => Promise<void> | void = () => {}): Queries {
  const at: At = async (db, point, options) => {
    const place = await dbs.tables.at(db, point, options);
    await around(place, options?.exact === true);
    return place;
  };
  return new Queries({
    processes: dbs.processes,
    tables: (db) => dbs.tables.of(db),
    at,
    write: refused,
    schema: refused,
  });
}

async function rows(
  queries: Queries,
  { db }: SqlDb,
  point: Pick<Statement, "at" | "branch">,
): Promise<{ seq: number; rows: unknown[][] }> {
  const sql = "SELECT id, n FROM t ORDER BY id";
  const { seq, json } = await queries.exec(db, { sql, author: "ann", principal: "p", ...point });
  return { seq, rows: (JSON.parse(String(json)) as { rows: unknown[][] }).rows };
}

const TABLE = ["CREATE TABLE t (id TEXT PRIMARY KEY, n INTEGER)"];
const insert = (sql: SqlDb, n: number): Promise<unknown> => sql.run(`INSERT INTO t VALUES ('k${n}', ${n})`);

test("a statement reads any point and any branch, each with its own schema", () =>
  dbs.with(async (sql) => {
    const queries = queriesWith();
    await insert(sql, 1);
    await insert(sql, 2);
    await sql.db.log.createBranch("side", { author: "ann", at: 2 });
    await sql.run("INSERT INTO t VALUES ('k3', 3)");
    expect(await rows(queries, sql, { at: "2" })).toEqual({ seq: 2, rows: [["k1", 1]] });
    expect(await rows(queries, sql, { branch: "side" })).toEqual({ seq: 4, rows: [["k1", 1]] });
    await expect(rows(queries, sql, { at: "0" })).rejects.toMatchObject({ code: "SQL_ERROR" });
    expect((await rows(queries, sql, {})).rows).toHaveLength(3);
  }, TABLE));

test("who names the head of main is answered from it, though main goes on before the file is read", () =>
  dbs.with(async (sql) => {
    await insert(sql, 1);
    const asked: boolean[] = [];
    const queries = queriesWith(async (_place, exact) => {
      asked.push(exact);
      if (exact) return;
      await insert(sql, 2);
      await dbs.tables.of(sql.db).current();
    });
    expect(await rows(queries, sql, { at: "2" })).toEqual({ seq: 2, rows: [["k1", 1]] });
    expect(asked).toEqual([false, true]);
    const stream = await queries.stream(sql.db, {
      sql: "SELECT n FROM t",
      at: "2",
      author: "ann",
      principal: "p",
      format: "csv",
    });
    const pages: Uint8Array[] = [];
    for await (const page of stream.pages) pages.push(page);
    expect([stream.seq, Buffer.concat(pages).toString().trim().split(/\s+/)]).toEqual([2, ["n", "1"]]);
  }, TABLE));

test("the file of a point that cannot be read is made anew", () =>
  dbs.with(async (sql) => {
    await insert(sql, 1);
    await insert(sql, 2);
    let damaged = 0;
    const queries = queriesWith(({ file }) => {
      if ((damaged += 1) > 1) return;
      truncateSync(file, Math.floor(statSync(file).size / 2));
    });
    expect(await rows(queries, sql, { at: "2" })).toEqual({ seq: 2, rows: [["k1", 1]] });
    expect(damaged).toBe(2);
  }, TABLE));
