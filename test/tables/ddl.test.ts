import Database from "better-sqlite3";
import { ddlOf, ftsSql, type CreateFts } from "../../src/tables/ddl.ts";
import { isSkaldError } from "../../src/errors.ts";

describe("a schema statement says what it does:", () => {
  test.each([
    [
      "CREATE TABLE tasks (id TEXT PRIMARY KEY, title TEXT NOT NULL, done INTEGER DEFAULT 0);",
      {
        kind: "create-table",
        name: "tasks",
        key: "id",
        keyType: "TEXT",
        columns: [
          { name: "title", type: "TEXT" },
          { name: "done", type: "INTEGER" },
        ],
        sql: "CREATE TABLE tasks (id TEXT PRIMARY KEY, title TEXT NOT NULL, done INTEGER DEFAULT 0) WITHOUT ROWID",
      },
    ],
    [
      "create table if not exists main.[Ta \"b\"] (\n n decimal(10, 2) check (n > 0), 'Key' integer, primary key (KEY desc)) strict -- end",
      {
        kind: "create-table",
        name: 'Ta "b"',
        ifNotExists: true,
        key: "Key",
        keyType: "INTEGER",
        columns: [{ name: "n", type: "DECIMAL(10,2)" }],
        sql: "create table if not exists main.[Ta \"b\"] (\n n decimal(10, 2) check (n > 0), 'Key' integer, primary key (KEY desc)) strict, WITHOUT ROWID",
      },
    ],
    [
      "CREATE TABLE a (k PRIMARY KEY, b BOOLEAN, c DEFAULT (datetime('now')), UNIQUE (b, c), FOREIGN KEY (b) REFERENCES z(x)) WITHOUT ROWID",
      {
        key: "k",
        keyType: "",
        columns: [
          { name: "b", type: "BOOLEAN" },
          { name: "c", type: "" },
        ],
      },
    ],
    [
      "CREATE UNIQUE INDEX i ON a (lower(b), c)",
      { kind: "create-index", name: "i", table: "a", unique: true },
    ],
    [
      "CREATE INDEX i ON documents (collection, json_extract(value, '$.a[0].\"b c\"'), value -> 'a' -> 0 ->> 'b')",
      { kind: "create-index", table: "documents", unique: false },
    ],
    [
      "CREATE VIEW v (a) AS SELECT 1; ",
      { kind: "create-view", name: "v", sql: "CREATE VIEW v (a) AS SELECT 1" },
    ],
    [
      "ALTER TABLE a ADD b TEXT COLLATE NOCASE",
      { kind: "add-column", table: "a", column: { name: "b", type: "TEXT" } },
    ],
    ['ALTER TABLE "a" DROP COLUMN [b]', { kind: "drop-column", table: "a", column: "b" }],
    ["DROP TABLE IF EXISTS a", { kind: "drop", what: "table", name: "a", ifExists: true }],
    [
      "CREATE VIRTUAL TABLE m_fts USING fts5(title, plot, content='movies', tokenize = 'porter ascii')",
      {
        kind: "create-fts",
        name: "m_fts",
        table: "movies",
        columns: ["title", "plot"],
        options: ["tokenize = 'porter ascii'"],
      },
    ],
  ])("%s", (sql, expected) => {
    expect(ddlOf(sql)).toMatchObject(expected);
  });

  test("a full-text table begins with the key of its table", () => {
    const fts = ddlOf("CREATE VIRTUAL TABLE f USING FTS5(a, 'b\"c', content=t, prefix='2 3')") as CreateFts;
    const sql = ftsSql(fts, "id");
    expect(sql).toBe(`CREATE VIRTUAL TABLE "f" USING fts5("id" UNINDEXED, "a", "b""c", prefix='2 3')`);
    const db = new Database(":memory:");
    db.exec(sql);
    expect(ftsSql({ ...fts, columns: ["ID", "a"] }, "id")).not.toContain("UNINDEXED");
  });
});

describe("no schema has", () => {
  test.each([
    ["a key that counts itself", "CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT)", "SCHEMA_INVALID"],
    ["a key of several columns", "CREATE TABLE a (b, c, PRIMARY KEY (b, c))", "SCHEMA_INVALID"],
    ["two keys", "CREATE TABLE a (b TEXT PRIMARY KEY, c, PRIMARY KEY (c))", "SCHEMA_INVALID"],
    ["a table without a key", "CREATE TABLE a (id TEXT)", "SCHEMA_INVALID"],
    ["a key that is a real number", "CREATE TABLE a (id REAL PRIMARY KEY)", "SCHEMA_INVALID"],
    ["a key that is no column", "CREATE TABLE a (id TEXT, PRIMARY KEY (b))", "SCHEMA_INVALID"],
    [
      "a key compared in another way",
      "CREATE TABLE a (id TEXT COLLATE NOCASE PRIMARY KEY)",
      "SCHEMA_INVALID",
    ],
    [
      "such a key named behind",
      "CREATE TABLE a (id TEXT COLLATE NOCASE, b, PRIMARY KEY (id))",
      "SCHEMA_INVALID",
    ],
    [
      "a key compared in another way behind",
      "CREATE TABLE a (id TEXT, PRIMARY KEY (id COLLATE NOCASE))",
      "SCHEMA_INVALID",
    ],
    ["temporary tables", "CREATE TEMP TABLE a (id TEXT PRIMARY KEY)", "SCHEMA_INVALID"],
    ["temporary views", "CREATE TEMPORARY VIEW a AS SELECT 1", "SCHEMA_INVALID"],
    ["tables elsewhere", "CREATE TABLE temp.a (id TEXT PRIMARY KEY)", "SCHEMA_INVALID"],
    ["tables made of queries", "CREATE TABLE a AS SELECT 1 AS id", "SCHEMA_INVALID"],
    ["triggers", "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END", "SCHEMA_INVALID"],
    ["names of SQLite's", "CREATE TABLE sqlite_a (id TEXT PRIMARY KEY)", "SCHEMA_INVALID"],
    ["names of ours", 'CREATE VIEW "SKALD_a" AS SELECT 1', "SCHEMA_INVALID"],
    ["another documents", "CREATE TABLE Documents (id TEXT PRIMARY KEY)", "SCHEMA_INVALID"],
    ["renamed tables", "ALTER TABLE a RENAME TO b", "SCHEMA_INVALID"],
    ["renamed columns", "ALTER TABLE a RENAME COLUMN b TO c", "SCHEMA_INVALID"],
    ["further columns of documents", "ALTER TABLE documents ADD COLUMN x", "SCHEMA_INVALID"],
    ["no documents", "DROP TABLE documents", "SCHEMA_INVALID"],
    ["a further key", "ALTER TABLE a ADD COLUMN b TEXT PRIMARY KEY", "SCHEMA_INVALID"],
    ["other virtual tables", "CREATE VIRTUAL TABLE a USING csv(filename='x')", "SCHEMA_INVALID"],
    ["full text without contents", "CREATE VIRTUAL TABLE a USING fts5(b)", "SCHEMA_INVALID"],
    ["full text that keeps nothing", "CREATE VIRTUAL TABLE a USING fts5(b, content='')", "SCHEMA_INVALID"],
    [
      "full text with numbers of its own",
      "CREATE VIRTUAL TABLE a USING fts5(b, content='t', content_rowid='id')",
      "SCHEMA_INVALID",
    ],
    ["generated columns", "CREATE TABLE a (id TEXT PRIMARY KEY, b AS (id || id))", "SCHEMA_INVALID"],
    [
      "columns that are always generated",
      "CREATE TABLE a (id TEXT PRIMARY KEY, b GENERATED ALWAYS AS (1) STORED)",
      "SCHEMA_INVALID",
    ],
    [
      "functions that make much of little",
      "CREATE TABLE a (id TEXT PRIMARY KEY, b CHECK (length(zeroblob(b)) > 1))",
      "SCHEMA_INVALID",
    ],
    ["functions that are not known", 'CREATE INDEX i ON a ("printf"(b, 1))', "SCHEMA_INVALID"],
    [
      "texts joined again and again",
      `CREATE INDEX i ON a (${Array(20).fill("b").join("||")})`,
      "SCHEMA_INVALID",
    ],
    ["subqueries", "CREATE INDEX i ON a (b) WHERE b IN (SELECT 1)", "SCHEMA_INVALID"],
    [
      "a default that takes long",
      "CREATE TABLE a (id TEXT PRIMARY KEY, b DEFAULT (randomblob(1e9)))",
      "SCHEMA_INVALID",
    ],
    [
      "one of documents that may fail",
      "CREATE INDEX i ON documents (json_extract(key, '$'))",
      "SCHEMA_INVALID",
    ],
    [
      "one of documents that fails for all",
      "CREATE INDEX i ON documents (json_extract(value, '$['))",
      "SCHEMA_INVALID",
    ],
    [
      "one of documents that takes text apart",
      "CREATE INDEX i ON documents ((value ->> 'a') -> 'b')",
      "SCHEMA_INVALID",
    ],
    ["abs of documents", "CREATE INDEX i ON documents (abs(seq))", "SCHEMA_INVALID"],
    ["unique documents", "CREATE UNIQUE INDEX i ON documents (seq)", "SCHEMA_INVALID"],
    ["views of what is ours", "CREATE VIEW v AS SELECT * FROM Skald_Head", "SCHEMA_INVALID"],
    ["views of pragmas", "CREATE VIEW v AS SELECT * FROM pragma_database_list", "SCHEMA_INVALID"],
    ["parameters", "CREATE VIEW v AS SELECT ?", "SCHEMA_INVALID"],
    ["two statements in one", "DROP VIEW v; DROP VIEW w", "SCHEMA_INVALID"],
    ["what is no schema", "SELECT 1", "SCHEMA_INVALID"],
    ["options that there are not", "CREATE TABLE a (id TEXT PRIMARY KEY) STRICT, NOTHING", "SCHEMA_INVALID"],
    ["what has no end", "CREATE TABLE a (id TEXT PRIMARY KEY", "SQL_ERROR"],
    ["what has no beginning", "CREATE (id TEXT PRIMARY KEY)", "SQL_ERROR"],
    ["nothing", "", "SCHEMA_INVALID"],
    ["half an ALTER", "ALTER TABLE a", "SQL_ERROR"],
    ["too much", `CREATE VIEW v AS SELECT '${"x".repeat(65_536)}'`, "SCHEMA_INVALID"],
  ])("%s", (_, sql, code) => {
    let thrown: unknown;
    try {
      ddlOf(sql);
    } catch (error) {
      thrown = error;
    }
    expect(isSkaldError(thrown) && thrown.code).toBe(code);
    expect(isSkaldError(thrown) && thrown.hint).toMatch(/\w{3}/);
  });
});
