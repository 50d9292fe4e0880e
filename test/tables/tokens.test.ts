import Database from "better-sqlite3";
import fc from "fast-check";
import { tokensOf } from "../../src/tables/tokens.ts";

const texts = (sql: string): string[] => tokensOf(sql).map(({ kind, text }) => `${kind} ${text}`);

describe("a statement is taken apart as SQLite does it", () => {
  test.each([
    ["SELECT a.b", ["word SELECT", "word a", "sign .", "word b"]],
    ["x /* c */ -- d\n y", ["word x", "word y"]],
    ["x /* nobody ends it", ["word x"]],
    ["'it''s' \"a\"\"b\" [c d] `e``f`", ["string 'it''s'", 'name "a""b"', "name [c d]", "name `e``f`"]],
    ["x'0aFF' X''", ["blob x'0aFF'", "blob X''"]],
    [
      "1 1.5 .5 1e-3 0x1F 1.",
      ["number 1", "number 1.5", "number .5", "number 1e-3", "number 0x1F", "number 1."],
    ],
    [
      "? ?12 :a @b $c $d::e(f)",
      ["variable ?", "variable ?12", "variable :a", "variable @b", "variable $c", "variable $d::e(f)"],
    ],
    [
      "a->>'$.b'->c||d<=e<>f",
      [
        "word a",
        "sign ->>",
        "string '$.b'",
        "sign ->",
        "word c",
        "sign ||",
        "word d",
        "sign <=",
        "word e",
        "sign <>",
        "word f",
      ],
    ],
    ["größe;", ["word größe", "sign ;"]],
  ])("%s", (sql, expected) => {
    expect(texts(sql)).toEqual(expected);
  });

  test("names and strings stand for what is between their quotes, keywords are told by their letters", () => {
    expect(tokensOf("Select 'a''b' \"c\"\"d\" [e]").map(({ value, word }) => [value, word])).toEqual([
      ["Select", "SELECT"],
      ["a'b", ""],
      ['c"d', ""],
      ["e", ""],
    ]);
  });

  test.each(["'open", '"open', "[open", "x'0'", "1abc", "a ! b", "\0", "a \\ b", "{"])(
    "what is no token is refused with its place: %j",
    (sql) => {
      expect(() => tokensOf(sql)).toThrow(expect.objectContaining({ code: "SQL_ERROR" }));
    },
  );
});

test("whatever SQLite prepares is taken apart, and reads the same when its tokens are put together again", () => {
  const db = new Database(":memory:");
  db.exec("CREATE TABLE t (a, b)");
  const parts = fc.constantFrom(
    "a",
    "b",
    "'x''y'",
    '"a"',
    "[b]",
    "`a`",
    "1",
    "2.5",
    ".5e1",
    "0x1f",
    "x'00'",
    "?",
    ":n",
    "+",
    "-",
    "*",
    "||",
    "->>",
    "->",
    "(",
    ")",
    ",",
    "<",
    "<=",
    "<>",
    "!=",
    "==",
    "=",
    "<<",
    "%",
    "&",
    "|",
    "~",
    "/*c*/",
    "--d\n",
    " ",
    "\n",
    "AND",
    "OR",
    "NOT",
    "IS",
    "NULL",
    "IN",
    "LIKE",
    "abs",
    "x",
    "1.",
    ";",
  );
  let prepared = 0;
  fc.assert(
    fc.property(fc.array(parts, { maxLength: 7 }), fc.constantFrom("", " "), (list, space) => {
      const sql = `SELECT ${list.join(space)} FROM t`;
      const explain = (text: string): unknown => {
        try {
          return db.prepare(`EXPLAIN ${text}`).all();
        } catch (error) {
          return (error as Error).message;
        }
      };
      const before = explain(sql);
      if (typeof before === "string") return;
      prepared += 1;
      const again = tokensOf(sql)
        .map(({ text }) => text)
        .join(" ");
      expect(explain(again)).toEqual(before);
    }),
    { numRuns: 3000 },
  );
  expect(prepared).toBeGreaterThan(100);
});
