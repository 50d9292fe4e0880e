import Database from "better-sqlite3";
import { dependencyOf, type Args, type Dependency, type TableShape } from "../../src/query/dependency.ts";
import { RowIndex, mayPass, type RowValues } from "../../src/query/row-index.ts";
import { tokensOf } from "../../src/tables/tokens.ts";
import { seedOf, seeded } from "../support/fault-process.ts";

const runs = Number(process.env["SKALD_TEST_RUNS"] ?? 12);

const COLUMNS = { k: "TEXT", i: "INTEGER", r: "REAL", n: "NUMERIC", t: "TEXT", b: "BLOB", x: "" };
const shape: TableShape = {
  name: "T",
  columns: Object.entries(COLUMNS).map(([name, type]) => ({ name, type, plain: true })),
  collated: false,
};

const dependency = (sql: string, args: Args = [], of = shape): Dependency =>
  dependencyOf(tokensOf(sql), args, [of.name], of);

describe("a SELECT of one table hangs on the rows that its condition lets through:", () => {
  const row = (values: RowValues): RowValues => ({
    k: "a",
    i: 1n,
    r: 1,
    n: 1n,
    t: "t",
    b: null,
    x: null,
    ...values,
  });
  test.each<[string, Args, RowValues, RowValues]>([
    ["SELECT * FROM T WHERE k = 'a'", [], { k: "a" }, { k: "b" }],
    ["SELECT count(*) FROM T WHERE 'a' == k", [], { k: "a" }, { k: "A" }],
    ["select i from t where k = ?", ["a"], { k: "a" }, { k: "b" }],
    ["SELECT * FROM T WHERE T.i = ?2 AND k = ?1", ["a", 5n], { k: "a", i: 5n }, { k: "a", i: 6n }],
    ["SELECT * FROM T AS u WHERE u.k = :key", { key: "a" }, { k: "a" }, { k: "b" }],
    ['SELECT * FROM main.T u WHERE "u".[k] IS $key', { key: "a" }, { k: "a" }, { k: "b" }],
    ["SELECT * FROM T WHERE i = '5'", [], { i: 5n }, { i: 4n }],
    ["SELECT * FROM T WHERE i = ?", [5], { i: 5n }, { i: 4n }],
    ["SELECT * FROM T WHERE r = 5", [], { r: 5 }, { r: 5.5 }],
    ["SELECT * FROM T WHERE t = 5", [], { t: "5" }, { t: "5.0" }],
    ["SELECT * FROM T WHERE x = 5", [], { x: 5n }, { x: "5" }],
    ["SELECT * FROM T WHERE t IS NULL", [], { t: null }, { t: "" }],
    ["SELECT * FROM T WHERE t ISNULL", [], { t: null }, { t: "" }],
    ["SELECT * FROM T WHERE k IN ('a', ?, NULL)", ["c"], { k: "c" }, { k: "b" }],
    ["SELECT * FROM T WHERE i BETWEEN -1 AND ?", [7n], { i: 7n }, { i: 8n }],
    ["SELECT * FROM T WHERE i > 3 AND i <= 5", [], { i: 5n }, { i: 3n }],
    ["SELECT * FROM T WHERE 3 < i", [], { i: 4n }, { i: 3n }],
    ["SELECT * FROM T WHERE t >= 'm'", [], { t: "n" }, { t: "a" }],
    ["SELECT * FROM T WHERE (k = 'a') AND (i > 2 OR t = 'x')", [], { k: "a" }, { k: "b" }],
    ["SELECT * FROM T WHERE k = 'a' AND lower(t) = 'x' AND NOT i = 3", [], { k: "a" }, { k: "b" }],
    ["SELECT * FROM T WHERE k = 'a' AND CASE WHEN i = 1 OR i = 2 THEN 1 END", [], { k: "a" }, { k: "b" }],
    [
      "SELECT k, max(i) FROM T WHERE k = 'a' GROUP BY k HAVING i > 1 ORDER BY 2 LIMIT 3",
      [],
      { k: "a" },
      { k: "b" },
    ],
    ["SELECT k, sum(i) OVER w FROM T WHERE k = 'a' WINDOW w AS (ORDER BY i)", [], { k: "a" }, { k: "b" }],
  ])("%s", (sql, args, inside, outside) => {
    const { tests } = dependency(sql, args);
    expect(tests).toBeDefined();
    expect(mayPass(tests ?? [], row(inside))).toBe(true);
    expect(mayPass(tests ?? [], row(outside))).toBe(false);
  });

  test("a condition that nothing passes lets no row matter", () => {
    for (const sql of ["k = NULL", "i > NULL", "k IN ()", "i BETWEEN 1 AND NULL"]) {
      const { tests } = dependency(`SELECT * FROM T WHERE ${sql}`);
      expect(mayPass(tests ?? [], row({ k: null, i: null }))).toBe(false);
    }
  });

  test("documents by their collection, with paths into their values", () => {
    const documents: TableShape = {
      name: "documents",
      columns: ["collection", "key", "value"].map((name) => ({ name, type: "TEXT", plain: true })),
      collated: false,
    };
    for (const condition of [
      "json_extract(value, '$.year') > 1990",
      "value ->> 'year' > 1990",
      "value -> '$.a' ->> 'b' = 1",
      "json_extract(d.value, '$.cast[0].name') LIKE 'A%'",
    ]) {
      const sql = `SELECT key FROM documents d WHERE collection = 'movies' AND ${condition}`;
      expect(dependency(sql, [], documents).tests).toHaveLength(1);
    }
  });
});

describe("whatever is not surely understood hangs on the whole table:", () => {
  test.each([
    "SELECT * FROM T",
    "SELECT * FROM T WHERE k = 'a' OR i = 1",
    "SELECT * FROM T WHERE NOT k = 'a'",
    "SELECT * FROM T WHERE k <> 'a'",
    "SELECT * FROM T WHERE k IS NOT 'a'",
    "SELECT * FROM T WHERE k NOT IN ('a')",
    "SELECT * FROM T WHERE k = 'a' COLLATE NOCASE",
    "SELECT * FROM T WHERE k || '' = 'a'",
    "SELECT * FROM T WHERE k = 'a' AND abs(i) = 1",
    "SELECT * FROM T WHERE k = 'a' AND json_extract(t, '$.a') = 1",
    "SELECT * FROM T WHERE k = (SELECT 'a')",
    "SELECT * FROM T WHERE k = 'a' UNION SELECT * FROM T",
    "SELECT * FROM T WHERE k = 'a' EXCEPT VALUES (1)",
    "SELECT * FROM T, T AS u WHERE T.k = 'a'",
    "SELECT * FROM T JOIN T u ON u.k = T.k WHERE T.k = 'a'",
    "SELECT (SELECT max(i) FROM T) FROM T WHERE k = 'a'",
    "WITH c AS (SELECT * FROM T) SELECT * FROM c WHERE k = 'a'",
    "SELECT * FROM T WHERE i IS TRUE",
    "SELECT * FROM T WHERE r = 0.1234567890123456789",
    "SELECT * FROM T WHERE t = 1.5",
    "SELECT * FROM T WHERE i = '1e3'",
    "SELECT * FROM T WHERE k = ?1 AND i = ?",
    "SELECT * FROM T WHERE u.k = 'a'",
    "SELECT * FROM V WHERE k = 'a'",
    "SELECT a IS DISTINCT FROM b FROM T WHERE k = 'a'",
    "SELECT * FROM T WHERE k = i",
    "SELECT * FROM T WHERE k + 1 = 2",
    "SELECT * FROM T WHERE k = 'a' = 1",
    "SELECT * FROM T WHERE (k, i) = ('a', 1)",
    "SELECT * FROM T WHERE k MATCH 'a' AND i = 1",
    "SELECT * FROM T WHERE k = 'a' AND t LIKE 'x%' ESCAPE 'yy'",
    "SELECT * FROM T WHERE end > 1 OR (i = 1 AND k = 'a' AND t = 'x')",
    "SELECT * FROM T WHERE i BETWEEN 1 AND k = 'a' AND 3 OR t = 'x'",
  ])("%s", (sql) => {
    expect(dependency(sql, ["a"])).toEqual({ tables: ["T"] });
  });

  test("columns of another collation, and those whose type says nothing", () => {
    expect(
      dependency("SELECT * FROM T WHERE k = 'a'", [], { ...shape, collated: true }).tests,
    ).toBeUndefined();
    const any = { ...shape, columns: [{ name: "k", type: "ANY", plain: true }] };
    expect(dependency("SELECT * FROM T WHERE k = 'a'", [], any).tests).toBeUndefined();
    const made = { ...shape, columns: [{ name: "k", type: "TEXT", plain: false }] };
    expect(dependency("SELECT * FROM T WHERE k = 'a'", [], made).tests).toBeUndefined();
  });

  test("a statement of several tables, or of a view", () => {
    expect(dependencyOf(tokensOf("SELECT * FROM T WHERE k = 'a'"), [], ["S", "T"], undefined)).toEqual({
      tables: ["S", "T"],
    });
    expect(dependencyOf(tokensOf("SELECT * FROM V WHERE k = 'a'"), [], ["T"], shape)).toEqual({
      tables: ["T"],
    });
  });
});

type Value = null | bigint | number | string | Uint8Array;
interface Change {
  readonly before: RowValues | undefined;
  readonly after: RowValues | undefined;
}

/** Who of all items may be concerned by a change. */
type Concerned = (index: RowIndex<number>, tests: readonly Dependency[], change: Change) => Set<number>;

const concerned: Concerned = (index, dependencies, { before, after }) => {
  const found = new Set<number>();
  for (const row of [before, after])
    if (row)
      index.concerned(row, (item) => {
        if (mayPass(dependencies[item]?.tests ?? [], row)) found.add(item);
      });
  return found;
};

/**
 * Random rows of a table of SQLite, and random statements: gives those whose result changed and who were not
 * concerned, and how many were spared.
 */
function hunt(
  whom: Concerned,
  tables = runs,
): { missed: string[]; spared: number; looked: number; narrow: number } {
  const random = seeded(seedOf());
  const pick = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)] as T;
  const VALUES: readonly (() => Value)[] = [
    () => null,
    () => BigInt(Math.floor(random() * 6) - 1),
    () => pick([0.5, 1, 2, -1, 1e18, 9007199254740992]),
    () => pick([2n ** 53n, 2n ** 53n + 1n, -(2n ** 63n), 2n ** 63n - 1n]),
    () => String(Math.floor(random() * 6) - 1),
    () =>
      pick([
        "",
        "a",
        "A",
        "b",
        "ab",
        " 1",
        "1 ",
        "1.0",
        "1e0",
        "0x1",
        ".5",
        "+1",
        "\u{1F600}",
        "\uffee",
        "ä",
        "9007199254740993",
      ]),
    () => pick([Buffer.from("a"), Buffer.from(""), Buffer.from("1")]),
  ];
  const value = (): Value => pick(VALUES)();
  const names = Object.keys(COLUMNS);
  const literal = (of: Value): string => {
    if (of === null) return "NULL";
    if (typeof of === "string") return `'${of.replaceAll("'", "''")}'`;
    if (of instanceof Uint8Array) return `x'${Buffer.from(of).toString("hex")}'`;
    if (typeof of === "bigint") return String(of);
    return Number.isInteger(of) ? `${of}.0` : String(of);
  };
  const tally = { missed: [] as string[], spared: 0, looked: 0, narrow: 0 };
  for (let run = 0; run < tables; run += 1) {
    const sqlite = new Database(":memory:");
    sqlite.defaultSafeIntegers(true);
    sqlite.exec(
      `CREATE TABLE T (id TEXT PRIMARY KEY, ${names.map((name) => `${name} ${COLUMNS[name as keyof typeof COLUMNS]}`).join(", ")}) WITHOUT ROWID`,
    );
    const operand = (args: Value[]): string => {
      const of = value();
      if (random() < 0.5) return literal(of);
      args.push(of);
      return "?";
    };
    const condition = (args: Value[]): string => {
      const column = pick(names);
      const kind = random();
      if (kind < 0.3) return `${column} ${pick(["=", "==", "IS"])} ${operand(args)}`;
      if (kind < 0.5) return `${column} ${pick(["<", "<=", ">", ">="])} ${operand(args)}`;
      if (kind < 0.6) return `${operand(args)} ${pick(["<", "<=", ">", ">=", "=", "IS"])} ${column}`;
      if (kind < 0.7) return `${column} BETWEEN ${operand(args)} AND ${operand(args)}`;
      if (kind < 0.8) return `${column} IN (${operand(args)}, ${operand(args)})`;
      if (kind < 0.84) return `NOT ${column} = ${operand(args)}`;
      if (kind < 0.88) return `(${condition(args)} ${pick(["OR", "AND"])} ${condition(args)})`;
      if (kind < 0.92) return `CASE WHEN ${condition(args)} THEN ${condition(args)} ELSE 1 END`;
      if (kind < 0.96) return `lower(${column}) = ${operand(args)}`;
      return `${column} ISNULL`;
    };
    const statements = Array.from({ length: 40 }, () => {
      const args: Value[] = [];
      let where = condition(args);
      while (random() < 0.4) where += ` ${random() < 0.85 ? "AND" : "OR"} ${condition(args)}`;
      const sql = `SELECT ${pick(["*", "count(*)", "k, max(i)", "group_concat(id)"])} FROM T WHERE ${where}`;
      return {
        sql,
        args,
        prepared: sqlite
          .prepare(sql)
          .raw(true)
          .bind(...args),
      };
    });
    const dependencies = statements.map(({ sql, args }) => dependency(sql, args));
    const index = new RowIndex<number>();
    dependencies.forEach(({ tests }, i) => tests && index.add(i, tests));
    tally.narrow += dependencies.filter(({ tests }) => tests).length;
    const text = (of: unknown): string =>
      JSON.stringify(of, (_, one: unknown) =>
        typeof one === "bigint" ? `${one}n` : Object.is(one, -0) ? "0" : one,
      );
    const results = (): string[] => statements.map(({ prepared }) => text(prepared.all()));
    const find = sqlite.prepare("SELECT * FROM T WHERE id = ?");
    const put = sqlite.prepare(`INSERT OR REPLACE INTO T VALUES (?, ${names.map(() => "?").join(", ")})`);
    const remove = sqlite.prepare("DELETE FROM T WHERE id = ?");
    let was = results();
    for (let step = 0; step < 60; step += 1) {
      const id = String(Math.floor(random() * 8));
      const before = find.get(id) as RowValues | undefined;
      const given = names.map((name) => (before && random() < 0.5 ? (before[name] as Value) : value()));
      if (random() < 0.2) remove.run(id);
      else put.run(id, ...given);
      const after = find.get(id) as RowValues | undefined;
      // Also when it is told of the values before SQLite converted them.
      const told =
        after && random() < 0.3 ? Object.fromEntries(names.map((name, i) => [name, given[i]])) : after;
      const found = whom(index, dependencies, { before, after: told });
      const now = results();
      statements.forEach(({ sql, args }, i) => {
        if (!dependencies[i]?.tests) return;
        tally.looked += 1;
        if (!found.has(i)) tally.spared += 1;
        if (now[i] !== was[i] && !found.has(i))
          tally.missed.push(
            `${sql} with ${text(args)}: ${text(before)} → ${text(after)}: ${was[i]} → ${now[i]}`,
          );
      });
      was = now;
    }
    // What leaves is found by nobody.
    dependencies.forEach(({ tests }, i) => tests && index.remove(i, tests));
    expect(index.size).toBe(0);
    index.concerned(Object.fromEntries(names.map((name) => [name, 1n])), () =>
      tally.missed.push("one that left"),
    );
    sqlite.close();
  }
  return tally;
}

test(`no change of a result of SQLite is missed, and most statements are spared (${runs} tables)`, () => {
  const { missed, ...tally } = hunt(concerned);
  if (process.env["SKALD_TEST_RUNS"] !== undefined)
    process.stderr.write(`dependencies: ${JSON.stringify(tally)}\n`);
  expect(missed.slice(0, 3)).toEqual([]);
  expect(tally.narrow).toBeGreaterThan(runs * 15);
  expect(tally.spared).toBeGreaterThan(tally.looked / 2);
});

test("one that drops the row before, the row after, or compares without affinity is noticed", () => {
  expect(
    hunt((index, tests, { after }) => concerned(index, tests, { before: undefined, after }), 2).missed,
  ).not.toEqual([]);
  expect(
    hunt((index, tests, { before }) => concerned(index, tests, { before, after: undefined })).missed,
  ).not.toEqual([]);
  const plain = (dependencies: readonly Dependency[]): Dependency[] =>
    dependencies.map(({ tables, tests }) =>
      tests ? { tables, tests: tests.map((one) => ({ ...one, affinity: "none" as const })) } : { tables },
    );
  expect(
    hunt((_, dependencies, change) => {
      const index = new RowIndex<number>();
      const own = plain(dependencies);
      own.forEach(({ tests }, i) => tests && index.add(i, tests));
      return concerned(index, own, { ...change, after: change.after && turned(change.after) });
    }).missed,
  ).not.toEqual([]);
});

/** Whole numbers as the texts that they were perhaps given as. */
function turned(row: RowValues): RowValues {
  return Object.fromEntries(
    Object.entries(row).map(([name, one]) => [
      name,
      typeof one === "bigint" && name !== "x" ? String(one) : one,
    ]),
  );
}
