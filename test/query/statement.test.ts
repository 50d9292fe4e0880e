import { classify } from "../../src/query/statement.ts";

const kindOf = (sql: string): string => {
  try {
    const { kind, inner } = classify(sql);
    return inner ? `${kind} ${inner.kind}` : kind;
  } catch (error) {
    return (error as { code: string }).code;
  }
};

test.each([
  ["SELECT 1", "read"],
  ["  -- a comment\n select 1 ; ", "read"],
  ["/* a; b */ SELECT ';' ;;; -- end", "read"],
  ["VALUES (1), (2)", "read"],
  ["WITH a AS (DELETE) SELECT 1", "read"],
  ["WITH a(x) AS (SELECT 1), b AS (SELECT 2) SELECT * FROM a", "read"],
  ["WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", "write"],
  ["WITH RECURSIVE a AS (SELECT 1) UPDATE t SET x = (SELECT 1)", "write"],
  ["WITH a AS (SELECT 1) DELETE FROM t", "write"],
  ["WITH a AS (SELECT 1) REPLACE INTO t SELECT 1", "write"],
  ["INSERT INTO t VALUES (1)", "write"],
  ["REPLACE INTO t VALUES (1)", "write"],
  ["UPDATE t SET x = 1", "write"],
  ["delete from t", "write"],
  ["CREATE TABLE t (id TEXT PRIMARY KEY)", "schema"],
  ["DROP TABLE t", "schema"],
  ["ALTER TABLE t ADD COLUMN x", "schema"],
  ["PRAGMA table_info(t)", "pragma"],
  ["EXPLAIN SELECT 1", "explain read"],
  ["EXPLAIN QUERY PLAN DELETE FROM t", "explain write"],
  ["EXPLAIN PRAGMA table_info(t)", "SQL_NOT_ALLOWED"],
  ["EXPLAIN EXPLAIN SELECT 1", "SQL_NOT_ALLOWED"],
  ["SELECT 1; SELECT 2", "SQL_NOT_ALLOWED"],
  ["SELECT 1; -- \n ; ATTACH 'x' AS y", "SQL_NOT_ALLOWED"],
  ["ATTACH 'x' AS y", "SQL_NOT_ALLOWED"],
  ["vacuum into 'x'", "SQL_NOT_ALLOWED"],
  ["BEGIN", "SQL_NOT_ALLOWED"],
  ["", "SQL_ERROR"],
  [";", "SQL_ERROR"],
  ["-- nothing", "SQL_ERROR"],
  ["WITH a AS (SELECT 1)", "SQL_ERROR"],
  ["WITH", "SQL_ERROR"],
  ["EXPLAIN", "SQL_ERROR"],
  ["EXPLAIN QUERY PLAN", "SQL_ERROR"],
  ["selec 1", "SQL_ERROR"],
  ["'SELECT' 1", "SQL_ERROR"],
  ['"SELECT" 1', "SQL_ERROR"],
  ["(SELECT 1)", "SQL_ERROR"],
  ["SELECT 'a", "SQL_ERROR"],
  ["SELECT 1\0", "SQL_ERROR"],
  ["CONSTRUCTOR", "SQL_ERROR"],
])("%j is %s", (sql, kind) => {
  expect(kindOf(sql)).toBe(kind);
});

test("a statement loses what stands behind it and keeps where its tokens are", () => {
  expect(classify(" SELECT 1 ; -- x").sql).toBe(" SELECT 1");
  expect(() => classify("SELECT 1;  SELECT 2")).toThrow(
    expect.objectContaining({ details: { offset: 8 } }) as Error,
  );
});
