import { cellsOf, numberOf, shortText, sqlResultOf } from "../../src/ui/sql-cells.ts";
import { Course, chartChoice, drawingOf } from "../../src/ui/sql-chart.ts";
import { completionsAt, tablesIn } from "../../src/ui/sql-completion.ts";
import { quotedName, selectAll } from "../../src/ui/sql-schema.ts";
import {
  argsText,
  argumentOf,
  errorPlace,
  kindOf,
  lineOf,
  parametersIn,
  planOf,
} from "../../src/ui/sql-statement.ts";

describe("cells", () => {
  const row = '[9007199254740993,2.0,null,"a\\n b",{"/":{"bytes":"AQI"}},-9e999,0.1]';
  test("keep every digit and say what they are", () => {
    expect(cellsOf(row)).toEqual([
      { kind: "integer", text: "9007199254740993" },
      { kind: "real", text: "2" },
      { kind: "null", text: "" },
      { kind: "text", text: "a\n b" },
      { kind: "blob", text: "AQI" },
      { kind: "real", text: "-Infinity" },
      { kind: "real", text: "0.1" },
    ]);
  });
  test("are one line in a table, and numbers where there is one to draw", () => {
    expect(cellsOf(row).map((cell) => shortText(cell))).toEqual([
      "9007199254740993",
      "2",
      "NULL",
      "a b",
      "2 bytes",
      "-Infinity",
      "0.1",
    ]);
    expect(shortText({ kind: "text", text: "x".repeat(1000) }, 10)).toBe("xxxxxxxxxx…");
    expect(cellsOf(row).map(numberOf)).toEqual([
      9007199254740992,
      2,
      undefined,
      undefined,
      undefined,
      undefined,
      0.1,
    ]);
  });
  test("an answer is read whether it has rows or not", () => {
    expect(
      sqlResultOf(
        '{"columns":["a"],"types":["TEXT"],"rows":[["x, ]"],[1]],"row_count":2,"seq":7,"commit":null,"cursor":"c"}',
      ),
    ).toEqual({
      columns: ["a"],
      types: ["TEXT"],
      rows: ['["x, ]"]', "[1]"],
      seq: 7,
      commit: null,
      cursor: "c",
      changed: undefined,
      duplicate: false,
    });
    expect(sqlResultOf('{"rows_affected":3,"seq":8,"commit":"b","cursor":"c"}')).toMatchObject({
      changed: 3,
      rows: [],
    });
  });
});

describe("a statement", () => {
  test.each([
    ["  -- delete\n select 1", "read"],
    ["/* x */ INSERT INTO a VALUES (1)", "write"],
    ["WITH a AS (SELECT 1) SELECT * FROM a", "read"],
    ["WITH a AS (SELECT 'delete') DELETE FROM b", "write"],
    ["WITH a AS (DELETE) SELECT 1", "read"],
    ["explain query plan select 1", "explain"],
    ["create table a (b)", "schema"],
    ["-- nothing", "none"],
  ])("%j does what its words say", (sql, kind) => expect(kindOf(sql)).toBe(kind));

  test("has the parameters that stand in it, not those in texts, names and comments", () => {
    const sql = `SELECT ':no', "?no", [@no], :year, -- :not
      /* ? */ @name, $x, :year FROM t WHERE time > '12:30'`;
    expect(parametersIn(sql)).toEqual([":year", "@name", "$x"]);
    expect(parametersIn("SELECT ?, ?, ?5")).toEqual(["?1", "?2", "?3", "?4", "?5"]);
    expect(parametersIn("SELECT 1")).toEqual([]);
  });

  test("takes arguments as a field gives them", () => {
    expect(["12", " 1.5", "null", "true", '"12"', "twelve", "", "01234", "{}"].map(argumentOf)).toEqual([
      12,
      1.5,
      null,
      true,
      "12",
      "twelve",
      "",
      "01234",
      "{}",
    ]);
    expect(argsText([], {})).toBeUndefined();
    expect(argsText(["?1", "?2"], { "?1": "9007199254740993" })).toBe('[9007199254740993,""]');
    expect(argsText([":a", "@b"], { ":a": 'x"y', "@b": "null" })).toBe('{"a":"x\\"y","b":null}');
  });

  test("has its error marked where its words say it is", () => {
    const sql = "SELECT titel\nFROM movies WHERE 'titel' = 1";
    const place = errorPlace(sql, "no such column: titel", undefined);
    expect(sql.slice(place?.from, place?.to)).toBe("titel");
    expect(lineOf(sql, place?.from as number)).toEqual({ line: 1, column: 8 });
    expect(errorPlace("SELEC 1", 'near "SELEC": syntax error', 0)).toEqual({ from: 0, to: 5 });
    expect(errorPlace("SELECT m.x FROM movies m", "no such column: m.x", undefined)).toEqual({
      from: 9,
      to: 10,
    });
    expect(errorPlace("SELECT (1 ", "incomplete input", undefined)).toEqual({ from: 9, to: 9 });
    expect(errorPlace("SELECT foo(1)", "no such function: foo", undefined)).toEqual({ from: 7, to: 10 });
    // Twice the same name: nobody knows which.
    expect(errorPlace("SELECT x, x", "no such column: x", undefined)).toBeUndefined();
    expect(errorPlace("SELECT 1", "out of memory", undefined)).toBeUndefined();
  });

  test("has a plan that is a tree, with what goes through everything", () => {
    expect(
      planOf([
        [2, 0, 0, "SCAN movies"],
        [5, 0, 0, "CORRELATED SCALAR SUBQUERY 1"],
        [9, 5, 0, "SEARCH documents USING PRIMARY KEY (collection=?)"],
      ]),
    ).toEqual([
      { depth: 0, detail: "SCAN movies", scans: true },
      { depth: 0, detail: "CORRELATED SCALAR SUBQUERY 1", scans: false },
      { depth: 1, detail: "SEARCH documents USING PRIMARY KEY (collection=?)", scans: false },
    ]);
  });
});

describe("completion", () => {
  const table = (name: string, ...columns: string[]) => ({
    name,
    type: "table" as const,
    columns: columns.map((column, i) => ({ name: column, type: "TEXT", key: i === 0 })),
    indexes: [],
  });
  const schema = {
    tables: [table("movies", "title", "group"), table("Old Films", "id"), table("people", "name")],
  };
  const at = (text: string) => {
    const before = text.replace(/\|.*$/s, "");
    return completionsAt(text.replace("|", ""), before, schema).map(({ label }) => label);
  };

  test("knows tables by their names and by those that the statement gives them", () => {
    const sql = 'SELECT * FROM movies m JOIN "Old Films" AS old ON 1 LEFT JOIN people WHERE 1';
    expect([...tablesIn(sql, schema).keys()]).toEqual(["movies", "m", "old films", "old", "people"]);
  });
  test("offers behind a name and a point the columns of that table alone", () => {
    expect(at("SELECT m.| FROM movies m")).toEqual(["title", "group"]);
    expect(at('SELECT "Old Films".i| FROM movies')).toEqual(["id"]);
    expect(at("SELECT x.| FROM movies")).toEqual([]);
  });
  test("offers tables where one is due, and columns of the tables named first elsewhere", () => {
    expect(at("SELECT 1 FROM m|").slice(0, 3)).toEqual(["movies", "Old Films", "people"]);
    expect(at("SELECT | FROM movies, x").slice(0, 2)).toEqual(["title", "group"]);
    expect(at("SELECT | FROM movies")).toEqual(expect.arrayContaining(["count", "WHERE", "people"]));
  });
  test("writes names as SQL takes them", () => {
    const [, group] = completionsAt("SELECT  FROM movies", "SELECT ", schema);
    expect(group).toMatchObject({ label: "group", apply: '"group"', detail: "text" });
    expect(quotedName('a"b')).toBe('"a""b"');
    expect(selectAll(schema.tables[1] as never)).toBe('SELECT id\nFROM "Old Films"\nLIMIT 100');
  });
});

describe("a chart", () => {
  const rows = ['["2001-02-03",3,"a"]', '["2001-01-03",1.5,"b"]', '["2001-03-03",null,"c"]'].map(cellsOf);
  test("offers columns of numbers, and those that can be its foot", () => {
    expect(chartChoice(3, rows)).toEqual({ values: [1], feet: [-1, 0, 1] });
    expect(chartChoice(3, [])).toEqual({ values: [], feet: [-1] });
  });
  test("is drawn in the order of its foot, with gaps where there is no number", () => {
    const { x, values, time } = drawingOf(rows, 0, 1);
    expect(time).toBe(true);
    expect(values).toEqual([1.5, 3, null]);
    expect([...x].sort((a, b) => a - b)).toEqual(x);
    expect(drawingOf(rows, -1, 1)).toEqual({ x: [1, 2, 3], values: [3, 1.5, null], time: false });
  });
  test("of one number that is watched is the course of it, as far back as is kept", () => {
    const course = new Course(3);
    for (let i = 0; i < 5; i += 1) course.note(i * 1000, i);
    course.note(9000, undefined);
    expect(course.drawing).toEqual({ x: [2, 3, 4], values: [2, 3, 4], time: true });
  });
});
