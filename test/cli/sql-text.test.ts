import { argumentJson, argumentsJson, isOfSchema, statementsOf } from "../../src/cli/sql-arguments.ts";
import { answerTexts, distinctNames, objectText, sqlTable } from "../../src/cli/sql-output.ts";

test.each([
  ["12", "12"],
  ["-0.5e3", "-0.5e3"],
  ["9007199254740993", "9007199254740993"],
  ["null", "null"],
  ["true", "true"],
  ['"12"', '"12"'],
  ["012", '"012"'],
  ["+1", '"+1"'],
  ["1.", '"1."'],
  ["NULL", '"NULL"'],
  ["", '""'],
  ['"', '"\\""'],
  ['"a" or "b"', '"\\"a\\" or \\"b\\""'],
  ["[1]", '"[1]"'],
])("the word %j is the argument %s", (word, text) => {
  expect(argumentJson(word)).toBe(text);
});

test("arguments come in their order or by name, not both", () => {
  expect(argumentsJson([], [])).toBeUndefined();
  expect(argumentsJson(["1", "a"], [])).toBe('[1,"a"]');
  expect(argumentsJson([], [":n=1", "s=a=b", "t="])).toBe('{"n":1,"s":"a=b","t":""}');
  expect(() => argumentsJson(["1"], ["n=1"])).toThrow(/not both/);
  expect(() => argumentsJson([], ["n"])).toThrow(/name=value/);
  expect(() => argumentsJson([], ["n=1", "$n=2"])).toThrow(/twice/);
});

test("a file is cut at the semicolons that end a statement", () => {
  const text = `-- a; comment
    CREATE TABLE "a;b" (id TEXT PRIMARY KEY, [c;d] TEXT DEFAULT 'x;''y');
    /* another; one */ ;;
    INSERT INTO "a;b" VALUES ('1', \`e;f\`)
    ; SELECT 1 -- the end;`;
  expect(statementsOf(text)).toEqual([
    `-- a; comment\n    CREATE TABLE "a;b" (id TEXT PRIMARY KEY, [c;d] TEXT DEFAULT 'x;''y')`,
    "INSERT INTO \"a;b\" VALUES ('1', `e;f`)",
    "SELECT 1 -- the end;",
  ]);
  expect(statementsOf(" -- nothing\n ; /* still")).toEqual([]);
});

test.each([
  ["CREATE TABLE t (id TEXT PRIMARY KEY)", true],
  ["-- a table\n /* of things */ drop view v", true],
  ["alter table t add column n", true],
  ["INSERT INTO creates VALUES ('create')", false],
  ["-- create\nSELECT 1", false],
])("%j is of the schema: %s", (sql, is) => {
  expect(isOfSchema(sql)).toBe(is);
});

const ANSWER =
  '{"columns":["name","n","n"],"types":["TEXT",null,null],"rows":[["a\\u0007b",9007199254740993,null],["",-1.5,{"/":{"bytes":"AQI"}}]],"row_count":2,"seq":4}';

test("rows become objects with every digit, and columns of one name are told apart", () => {
  const answer = answerTexts(ANSWER);
  const names = distinctNames(answer?.columns ?? []);
  expect(names).toEqual(["name", "n", "n_2"]);
  expect(answer?.rows.map((row) => objectText(names, row))).toEqual([
    '{"name":"a\\u0007b","n":9007199254740993,"n_2":null}',
    '{"name":"","n":-1.5,"n_2":{"/":{"bytes":"AQI"}}}',
  ]);
  expect(answerTexts('{"rows_affected":1,"seq":4}')).toBeUndefined();
});

test("a table aligns its columns, shows NULL and no control character, and fits into the terminal", () => {
  const answer = answerTexts(ANSWER);
  if (!answer) throw new Error("no rows");
  expect(sqlTable(answer).split("\n")).toEqual([
    "name                 n  n",
    "----  ----------------  ---------------------",
    "a�b   9007199254740993  NULL",
    '                  -1.5  {"/":{"bytes":"AQI"}}',
    "",
  ]);
  const long = { columns: ["id", "text"], rows: [["1", JSON.stringify("x".repeat(100))]] };
  for (const line of sqlTable(long, 40).split("\n")) expect(line.length).toBeLessThanOrEqual(40);
  expect(sqlTable(long, 40)).toContain("x…");
});
