import { randomBytes } from "node:crypto";
import path from "node:path";
import Database from "better-sqlite3";
import fc from "fast-check";
import { makeTables, openTables, type TablesFile } from "../../src/store/sqlite-tables.ts";
import { TablesWriter } from "../../src/tables/writer.ts";
import type { DocumentState, Part } from "../../src/tables/steps.ts";
import { tempDir } from "../support/temp-dir.ts";

/** Whatever way a file came to a point, it holds what one holds that was made there: row for row, in the same order. */

const root = tempDir();
const owner = { uid: "00".repeat(16), epoch: 1 };
const RUNS = Number(process.env["SKALD_TEST_TABLES"] ?? 15);

/** Statements that get in each other's way, each often not applicable. */
const STATEMENTS = [
  "CREATE TABLE a (id TEXT PRIMARY KEY, x INTEGER UNIQUE, y TEXT NOT NULL, z)",
  "CREATE TABLE a (id TEXT PRIMARY KEY, x REAL CHECK (x < 5), y TEXT UNIQUE, z INTEGER, UNIQUE (x, z))",
  "CREATE TABLE IF NOT EXISTS a (key INTEGER PRIMARY KEY, x TEXT, y TEXT) STRICT",
  "CREATE TABLE b (x INTEGER NOT NULL ON CONFLICT REPLACE DEFAULT 7, n INTEGER PRIMARY KEY DESC, y BLOB) STRICT",
  "CREATE TABLE b (k PRIMARY KEY, x ANY UNIQUE ON CONFLICT REPLACE, y ANY) STRICT, WITHOUT ROWID",
  "CREATE TABLE b (k PRIMARY KEY, x, y COLLATE NOCASE UNIQUE)",
  "DROP TABLE a",
  "DROP TABLE IF EXISTS b",
  "ALTER TABLE a ADD COLUMN w TEXT DEFAULT 'w'",
  "ALTER TABLE a ADD COLUMN w2 INTEGER NOT NULL",
  "ALTER TABLE a DROP COLUMN z",
  "ALTER TABLE a DROP COLUMN y",
  "CREATE UNIQUE INDEX a_y ON a (y)",
  "CREATE UNIQUE INDEX a_x ON a (x) WHERE y IS NOT NULL",
  "CREATE INDEX a_json ON a (json_extract(y, '$.n'))",
  "CREATE INDEX b_x ON b (x, y)",
  "CREATE INDEX documents_n ON documents (json_extract(value, '$.x'))",
  "CREATE INDEX documents_y ON documents (collection, value ->> 'y') WHERE value -> 'z' -> 'n' IS NOT NULL",
  "DROP INDEX a_y",
  "DROP INDEX IF EXISTS documents_n",
  "CREATE VIEW v AS SELECT x FROM a UNION ALL SELECT x FROM b",
  "DROP VIEW v",
  "CREATE VIRTUAL TABLE a_fts USING fts5(y, content='a')",
  "CREATE VIRTUAL TABLE a_fts2 USING fts5(x, w, content=a, prefix='2 3')",
  "CREATE VIRTUAL TABLE b_fts USING fts5(y, tokenize = 'porter ascii', content=\"b\")",
  "DROP TABLE a_fts",
  "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END",
  "not a statement",
];

/** So many of them make tables. */
const MAKING = 6;

const value = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    false,
    0,
    1,
    2,
    2.5,
    -1,
    2 ** 60,
    "x",
    "y",
    "Y",
    "1",
    "1.5",
    "one two",
    '{"n":1}',
    "{",
    "",
  ),
  fc.constantFrom<unknown>([], [1, "x"], { n: 1 }, { "/": { bytes: "AQID" } }),
);
const fields = fc.record({ x: value, y: value, z: value, w: value, id: value }, { requiredKeys: [] });
const key = fc.constantFrom(
  "1",
  "2",
  "10",
  "-3",
  "01",
  "a",
  "A",
  "b",
  "é",
  "9223372036854775807",
  "9223372036854775808",
);
const documentOf = fc.record({
  collection: fc.constantFrom("a", "b", "c", "A"),
  key,
  what: fc.oneof(
    { weight: 8, arbitrary: fields },
    { weight: 3, arbitrary: fc.constantFrom("deleted", "problem") },
  ),
});
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.array(documentOf, { minLength: 1, maxLength: 12 }).map((documents) => ({ documents })),
  },
  { weight: 2, arbitrary: fc.constantFrom(...STATEMENTS).map((sql) => ({ sql })) },
  { weight: 1, arbitrary: fc.constantFrom(...STATEMENTS.slice(0, MAKING)).map((sql) => ({ sql })) },
);
const batches = fc.array(fc.array(step, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 6 });
type Batches = typeof batches extends fc.Arbitrary<infer T> ? T : never;

/** All that a point is. */
class Point {
  seq = 0;
  readonly documents = new Map<string, DocumentState>();
  readonly schema: { seq: number; index: number; sql: string }[] = [];
  schemaSeq = 0;

  /** What one step does to it, as a part. */
  take(what: Batches[number][number]): Part {
    this.seq += 1;
    const { seq } = this;
    if ("sql" in what) {
      this.schema.push({ seq, index: 0, sql: what.sql });
      this.schemaSeq = seq;
      return { schema: [...this.schema], commits: [commit(seq, [])] };
    }
    const documents = what.documents.map(({ collection, key: k, what: is }): DocumentState => {
      const name = `${collection}/${k}`;
      const state =
        is === "deleted"
          ? { name, seq }
          : is === "problem"
            ? { name, seq, problem: "DOC_UNREADABLE" }
            : { name, seq, json: JSON.stringify(is) };
      this.documents.set(name, state);
      return state;
    });
    return { documents, commits: [commit(seq, documents)] };
  }

  /** All of it at once, documents in the order of their names. */
  whole(): Part[] {
    const commits = Array.from({ length: this.seq }, (_, i) =>
      commit(
        i + 1,
        [...this.documents.values()].filter(() => false),
      ),
    );
    const documents = [...this.documents.values()]
      .filter(({ json, problem }) => json !== undefined || problem !== undefined)
      .sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
    return [{ schema: [...this.schema] }, { commits }, { documents }];
  }
}

function commit(seq: number, documents: readonly DocumentState[]) {
  const entries = documents.map(({ name, json }) => ({ doc: name, deleted: json === undefined, changes: 1 }));
  const at = {
    id: `id${seq}`,
    branch: "main",
    time: "2026-01-01T00:00:00.000Z",
    author: "ann",
    message: null,
  };
  return { seq, ...at, entries };
}

const fresh = (): string => path.join(root, `${randomBytes(6).toString("hex")}.sqlite`);

type Around = (file: TablesFile) => TablesFile;

/** A file made of parts in one go; `put` says whether it takes its name. */
function made(parts: readonly Part[], point: Point, put = false): string {
  const file = fresh();
  const writer = new TablesWriter(makeTables(file, owner, "life"));
  writer.begin([]);
  for (const part of parts) writer.feed(part);
  writer.end({ branch: 0, seq: point.seq, schema: point.schemaSeq });
  if (put) writer.file.finish();
  else writer.file.close();
  return put ? file : `${file}.new`;
}

/** Everything in a file as somebody who asks for it gets it. */
function dump(file: string): Record<string, unknown> {
  const sqlite = new Database(file, { readonly: true });
  const all: Record<string, unknown> = {};
  const tables = sqlite
    .prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name")
    .raw()
    .all() as string[][];
  for (const [name = "", sql = ""] of tables) {
    // How a full-text index lies in its own tables is its own affair: what it answers is looked at.
    if (/_fts2?_/.test(name)) continue;
    all[`schema ${name}`] = sql;
    if (name === "changes" || name === "skald_meta" || !/^CREATE (?:VIRTUAL )?TABLE/i.test(sql)) continue;
    all[name] = sqlite.prepare(`SELECT * FROM "${name}"`).raw().safeIntegers().all();
    if (!sql.startsWith("CREATE VIRTUAL")) continue;
    all[`${name} found`] = ["x", "one", "1", "y OR two"].map((words) =>
      sqlite
        .prepare(`SELECT rowid, bm25("${name}") FROM "${name}" WHERE "${name}" MATCH ?`)
        .raw()
        .safeIntegers()
        .all(words),
    );
    sqlite.prepare("SELECT 1").get();
  }
  const [check] = sqlite.pragma("integrity_check") as { integrity_check: string }[];
  all["integrity"] = check?.integrity_check;
  sqlite.close();
  return all;
}

interface Seen {
  applied: number;
  refused: number;
  texts: number;
  readonly violations: Map<string, number>;
}

/** Throws when a file comes out otherwise than one that was made at once. `around` stands between it and its writer. */
function holds(numRuns: number, around?: Around): Seen {
  const broken = around !== undefined;
  around ??= (file) => file;
  const seen: Seen = { applied: 0, refused: 0, texts: 0, violations: new Map<string, number>() };
  fc.assert(
    fc.property(batches, fc.boolean(), (list, reopened) => {
      const point = new Point();
      const file = made(point.whole(), point, true);
      let writer = new TablesWriter(around(openTables(file, owner)));
      for (const steps of list) {
        writer.begin([]);
        for (const one of steps) writer.feed(point.take(one));
        writer.end({ branch: 0, seq: point.seq, schema: point.schemaSeq });
        if (!reopened) continue;
        writer.file.close();
        writer = new TablesWriter(around(openTables(file, owner)));
      }
      writer.file.close();
      const before = dump(file);
      expect(before["integrity"]).toBe("ok");
      expect(before).toEqual(dump(made(point.whole(), point)));
      for (const [, , , code] of before["schema_violations"] as string[][])
        seen.violations.set(code as string, (seen.violations.get(code as string) ?? 0) + 1);
      for (const [, , , , problem] of before["skald_schema"] as unknown[][])
        seen[problem === null ? "applied" : "refused"] += 1;
      if (before["a_fts"]) seen.texts += 1;
    }),
    { numRuns, endOnFailure: broken },
  );
  return seen;
}

test("a file that was brought to a point by steps equals one that was made there", () => {
  const seen = holds(RUNS);
  if (process.env["SKALD_TEST_TABLES"] !== undefined)
    process.stderr.write(`${JSON.stringify({ ...seen, violations: [...seen.violations] })}\n`);
  if (RUNS < 250) return;
  // It came by everything that it is about.
  expect([...seen.violations.keys()].sort()).toEqual([
    "CHECK",
    "DOC_UNREADABLE",
    "KEY",
    "NOT_NULL",
    "SCHEMA",
    "TYPE",
    "UNIQUE",
  ]);
  expect(seen.applied).toBeGreaterThan(RUNS);
  expect(seen.texts).toBeGreaterThan(0);
});

/** The file with some of its methods in another's place. */
const worse =
  (change: (sound: TablesFile) => Partial<TablesFile>): Around =>
  (sound) => {
    const others = change(sound);
    return new Proxy(sound, {
      get: (target, name) => {
        if (Object.hasOwn(others, name)) return others[name as keyof TablesFile];
        const found: unknown = Reflect.get(target, name, target);
        return typeof found === "function" ? (found.bind(target) as unknown) : found;
      },
    });
  };
const without = (pattern: RegExp): Around =>
  worse((sound) => ({
    prepare: (sql) => sound.prepare(pattern.test(sql) ? sql.replace(" WHERE ", " WHERE FALSE AND ") : sql),
  }));

const BROKEN: Readonly<Record<string, Around>> = {
  "takes whichever came first of two with one value": worse((sound) => ({
    attempt: (work) => {
      const failure = sound.attempt(work);
      return failure && { ...failure, code: failure.code.replace("UNIQUE", "CHECK") };
    },
  })),
  "leaves what broke a constraint listed": without(
    /^DELETE FROM schema_violations WHERE collection = \? AND key/,
  ),
  "does not see that a place has become free": worse((sound) => ({
    prepare: (sql) => sound.prepare(sql.includes("count(*)") ? sql.replace("= ?", "= ? || 'x'") : sql),
  })),
  "leaves deleted documents in full-text tables": without(/^DELETE FROM .* WHERE rowid = /),
  "leaves deleted documents in tables": without(/^DELETE FROM "[ab]" WHERE/),
};

test.each(Object.entries(BROKEN))("a writer that %s is noticed", (_, around) => {
  expect(() => holds(2000, around)).toThrow(/Property failed/);
});
