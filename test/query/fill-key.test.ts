import Database from "better-sqlite3";
import { fillMissing, fillNulls, readInsert } from "../../src/query/fill-key.ts";
import { NewKeys } from "../../src/query/new-keys.ts";
import { tokensOf } from "../../src/tables/tokens.ts";

const TABLE = { columns: ["id", "a", "b"], missing: new Map([["id", "new_key()"]]) };

/** The rows that a statement leaves in a table, with keys counted from k1. */
function rowsAfter(sql: string, { nulls = false, before = "" } = {}): unknown[] {
  const sqlite = new Database(":memory:");
  let made = 0;
  sqlite.function("new_key", { deterministic: false }, () => `k${++made}`);
  sqlite.exec(`CREATE TABLE t (id TEXT PRIMARY KEY, a TEXT UNIQUE, b DEFAULT 7) WITHOUT ROWID; ${before}`);
  const insert = readInsert(tokensOf(sql), sql);
  if (!insert) throw new Error("not read as an INSERT");
  const filled = (nulls ? fillNulls : fillMissing)(sql, insert, TABLE) ?? sql;
  const statement = sqlite.prepare(filled);
  if (statement.reader) return statement.raw().all();
  statement.run();
  return sqlite.prepare("SELECT * FROM t ORDER BY id").raw().all();
}

describe("an INSERT that leaves the key out", () => {
  test.each([
    ["INSERT INTO t (a) VALUES ('x')", [["k1", "x", 7]]],
    [
      "insert into main . t as u(a, b) values('x', 1), (')', (2)) -- (",
      [
        ["k1", "x", 1],
        ["k2", ")", 2],
      ],
    ],
    ["INSERT OR IGNORE INTO \"t\" ([a]) VALUES ('x'), ('x')", [["k1", "x", 7]]],
    ["REPLACE INTO t (a) VALUES ('x'), ('x')", [["k2", "x", 7]]],
    ["INSERT INTO t DEFAULT VALUES", [["k1", null, 7]]],
    ["INSERT INTO t DEFAULT VALUES RETURNING id", [["k1"]]],
    [
      'INSERT INTO t (a) SELECT value FROM json_each(\'["p","q"]\') ORDER BY key DESC',
      [
        ["k1", "q", 7],
        ["k2", "p", 7],
      ],
    ],
    [
      "INSERT INTO t (a) WITH x (n) AS (VALUES (1), (2)) SELECT n FROM x /* no end */",
      [
        ["k1", "1", 7],
        ["k2", "2", 7],
      ],
    ],
    [
      "WITH RECURSIVE n (i) AS NOT MATERIALIZED (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) INSERT INTO t (a) SELECT i FROM n RETURNING id, a",
      [
        ["k1", "1"],
        ["k2", "2"],
        ["k3", "3"],
      ],
    ],
    ["WITH insert_ (i) AS (SELECT 1), y AS (SELECT 5 j) INSERT INTO t (a) SELECT j FROM y", [["k1", "5", 7]]],
    [
      "INSERT INTO t (a, b) VALUES ('x', 1) UNION SELECT 'y', 2",
      [
        ["k1", "x", 1],
        ["k2", "y", 2],
      ],
    ],
    [
      "INSERT INTO t (a) VALUES ('x'), ('x') ON CONFLICT (a) DO UPDATE SET b = b + 1 RETURNING id, b",
      [
        ["k1", 7],
        ["k1", 8],
      ],
    ],
    [
      "INSERT INTO t (a) SELECT 'x' WHERE true ON CONFLICT (a) DO UPDATE SET b = excluded.a",
      [["k1", "x", 7]],
    ],
  ])("%s", (sql, rows) => expect(rowsAfter(sql)).toEqual(rows));

  test("is the same statement when it gives one", () => {
    for (const sql of [
      "INSERT INTO t VALUES ('i', 1, 2)",
      "INSERT INTO t (A, ID) VALUES ('i', 1)",
      "INSERT INTO t (a, `Id`) SELECT 1, 2",
    ])
      expect(fillMissing(sql, readInsert(tokensOf(sql), sql)!, TABLE)).toBeUndefined();
  });

  test("is no other statement", () => {
    for (const sql of [
      "UPDATE t SET a = 1",
      "DELETE FROM t",
      "WITH replace AS (SELECT 1) SELECT * FROM replace",
      "INSERT",
      "INSERT INTO",
      "WITH",
      "",
    ])
      expect(readInsert(tokensOf(sql), sql)).toBeUndefined();
  });
});

describe("an INSERT that gives NULL for the key", () => {
  test.each([
    [
      "INSERT INTO t VALUES (NULL, 'x', 1), ('own', 'y', 2)",
      [
        ["k1", "x", 1],
        ["own", "y", 2],
      ],
    ],
    ["INSERT INTO t (a, id) SELECT 'x', NULL", [["k1", "x", 7]]],
    ["INSERT INTO t (b, id) WITH x AS (SELECT 3 n) SELECT n, NULL FROM x RETURNING id, b", [["k1", 3]]],
    [
      "INSERT INTO t (id, a) VALUES (NULL, 'x'), (NULL, 'x') ON CONFLICT (a) DO UPDATE SET b = 0 RETURNING id, b",
      [
        ["k1", 7],
        ["k1", 0],
      ],
    ],
  ])("%s", (sql, rows) => expect(rowsAfter(sql, { nulls: true })).toEqual(rows));
});

test("keys are as long as a ULID, begin with the time, sort as they were made and are those of their job", () => {
  const keys = new NewKeys(1_469_918_176_385, new Uint8Array(10).fill(255));
  const made = Array.from({ length: 100 }, () => keys.next());
  expect(made[0]).toMatch(/^01ARYZ6S41F[0-9A-HJKMNP-TV-Z]{15}$/);
  expect(made).toEqual(made.toSorted());
  expect(new Set(made).size).toBe(100);
  const again = new NewKeys(1_469_918_176_385, new Uint8Array(10).fill(255));
  expect(again.next()).toBe(made[0]);
});
