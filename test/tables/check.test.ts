import path from "node:path";
import { readdirSync } from "node:fs";
import Database from "better-sqlite3";
import { Engine } from "../../src/db/engine.ts";
import { verifyLines } from "../../src/db/verify.ts";
import { writeEvents } from "../../src/db/write-events.ts";
import { TablesOf } from "../../src/tables/tables.ts";
import { tempDir } from "../support/temp-dir.ts";

const errors: unknown[] = [];
const engine = new Engine({ dir: path.join(tempDir(), "data"), reserve: 0, documents: { workers: 1 } });
const tablesOf = new TablesOf({ engine, onError: (error) => errors.push(error) });
const writes = (from: number, count: number) =>
  Array.from({ length: count }, (_, i) => ({
    doc: `c/${from + i}`,
    edit: { kind: "put" as const, value: JSON.stringify({ title: `word${i}`, n: i % 7 }) },
  }));

beforeAll(async () => {
  await engine.create("one");
  await engine.use("one", async (db) => {
    for (const sql of [
      "CREATE TABLE c (id TEXT PRIMARY KEY, title TEXT, n INTEGER UNIQUE)",
      "CREATE VIRTUAL TABLE c_fts USING fts5(title, content='c')",
    ])
      await writeEvents(db, { author: "ann", events: [{ type: "schema.change", sql }] });
    await db.tx({ author: "ann", writes: writes(0, 20) });
  });
}, 60_000);
afterAll(async () => {
  await engine.close();
  await tablesOf.close();
  expect(errors).toEqual([]);
});

async function verdict(): Promise<{
  verdict: string;
  problems: { what: string; where: string; heals?: string }[];
}> {
  const options = { tables: (db: Parameters<TablesOf["check"]>[0]) => tablesOf.check(db) };
  let last = "";
  for await (const line of verifyLines(engine, "one", new AbortController().signal, options)) last = line;
  return JSON.parse(last) as Awaited<ReturnType<typeof verdict>>;
}

const current = () => engine.use("one", (db) => tablesOf.of(db).current());

test("a db that has no tables yet has none to be wrong, and none are made", async () => {
  expect(await verdict()).toMatchObject({ verdict: "sound" });
  expect(readdirSync(engine.folderOf("one"))).not.toContain("tables.sqlite");
});

test("tables are compared with ones that are made anew, also while the db is written", async () => {
  await current();
  expect(await verdict()).toMatchObject({ verdict: "sound", problems: [] });
  const writing = engine.use("one", async (db) => {
    for (let n = 0; n < 10; n += 1) await db.tx({ author: "ann", writes: writes(n * 3, 5) });
  });
  expect(await verdict()).toMatchObject({ verdict: "sound", problems: [] });
  await writing;
  expect(readdirSync(path.join(engine.folderOf("one"), "points"))).toEqual([]);
});

/** Files that something other than the log had a hand in. */
test.each([
  ["a row is another", "UPDATE c SET title = 'x' WHERE id = '1'", ["c"]],
  ["a document is missing", "DELETE FROM documents WHERE key = '2'", ["documents"]],
  ["a violation is not listed", "DELETE FROM schema_violations", ["schema_violations"]],
  ["an author is another", "UPDATE commits SET author = 'bob' WHERE seq = 2", ["commits"]],
  ["a full-text row is missing", "DELETE FROM c_fts WHERE title = 'word3'", ["c_fts"]],
  ["an index is missing that the schema has not", "CREATE INDEX mine ON c (title)", ["mine"]],
])("a file of which %s is found, and healed by a rebuild", async (_, sql, tables) => {
  const { file } = await current();
  const sqlite = new Database(file);
  sqlite.exec(sql);
  sqlite.close();
  const found = await verdict();
  expect(found.verdict).toBe("damaged");
  expect(found.problems).toEqual(
    tables.map((where) => expect.objectContaining({ what: "tables", where, heals: "rebuild" }) as unknown),
  );
  await engine.rebuild("one");
  await current();
  expect(await verdict()).toMatchObject({ verdict: "sound" });
});
