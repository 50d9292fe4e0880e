import path from "node:path";
import Database from "better-sqlite3";
import { Engine } from "../../src/db/engine.ts";
import type { Db } from "../../src/db/db.ts";
import { writeEvents } from "../../src/db/write-events.ts";
import { TablesOf, type Applied, type Place, type RowChange } from "../../src/tables/tables.ts";
import { tempDir } from "../support/temp-dir.ts";

const root = tempDir();
let engine: Engine;
let tablesOf: TablesOf;
const errors: unknown[] = [];
let count = 0;

beforeAll(() => {
  engine = new Engine({ dir: path.join(root, "data"), reserve: 0, documents: { workers: 1 } });
  tablesOf = new TablesOf({ engine, onError: (error) => errors.push(error) });
});
afterAll(async () => {
  await engine.close();
  await tablesOf.close();
  expect(errors).toEqual([]);
});

async function withDb(work: (db: Db) => Promise<void>): Promise<void> {
  const dbId = `db${(count += 1)}`;
  await engine.create(dbId);
  await engine.use(dbId, work);
}

const put = (db: Db, doc: string, value: unknown) =>
  db.tx({ author: "ann", writes: [{ doc, edit: { kind: "put", value: JSON.stringify(value) } }] });
const schema = (db: Db, sql: string) =>
  writeEvents(db, { author: "ann", events: [{ type: "schema.change", sql }] });

function query({ file }: Pick<Place, "file">, sql: string): unknown[] {
  const sqlite = new Database(file, { readonly: true });
  try {
    return sqlite.prepare(sql).raw().all();
  } finally {
    sqlite.close();
  }
}

test("a db is there as documents, commits and changes, with everything committed before the call", () =>
  withDb(async (db) => {
    await put(db, "c/a", { n: 1 });
    const { time } = await put(db, "c/b", { n: 2, text: "é" });
    await db.tx({
      author: "bob",
      message: "both",
      writes: [
        { doc: "c/a", edit: { kind: "merge-patch", patch: '{"n":3}' } },
        { doc: "c/b", delete: true },
      ],
    });
    const place = await tablesOf.of(db).current();
    expect(place).toMatchObject({ branch: "main", seq: 3 });
    expect(query(place, "SELECT * FROM documents")).toEqual([["c", "a", '{"n":3}', 3]]);
    expect(query(place, "SELECT seq, branch, author, message FROM commits")).toEqual([
      [1, "main", "ann", null],
      [2, "main", "ann", null],
      [3, "main", "bob", "both"],
    ]);
    expect(query(place, "SELECT id, time FROM commits WHERE seq = 2")).toEqual([
      [expect.stringMatching(/^bafy/), new Date(time).toISOString()],
    ]);
    expect(
      query(place, "SELECT collection, key, seq, author, message, deleted, changes FROM changes"),
    ).toEqual([
      ["c", "a", 1, "ann", null, 0, 1],
      ["c", "a", 3, "bob", "both", 0, 1],
      ["c", "b", 2, "ann", null, 0, 1],
      ["c", "b", 3, "bob", "both", 1, 1],
    ]);
    expect(query(place, "SELECT branch, seq, schema FROM skald_head")).toEqual([[0, 3, 0]]);
    await put(db, "c/c", {});
    const later = await tablesOf.of(db).current();
    expect(later.life).toBe(place.life);
    expect(query(later, "SELECT key FROM documents ORDER BY key")).toEqual([["a"], ["c"]]);
  }));

test("a collection's table has its documents as rows, and follows them", () =>
  withDb(async (db) => {
    await put(db, "tasks/one", { title: "first", done: true, more: [1, 2] });
    await schema(
      db,
      "CREATE TABLE tasks (id TEXT PRIMARY KEY, title TEXT NOT NULL, done INTEGER DEFAULT 0, more)",
    );
    await put(db, "tasks/two", { title: "second" });
    await put(db, "tasks/three", { done: 1 });
    await put(db, "other/one", { title: "not here" });
    const tables = tablesOf.of(db);
    const place = await tables.current();
    expect(query(place, "SELECT * FROM tasks")).toEqual([
      ["one", "first", 1, "[1,2]"],
      ["two", "second", null, null],
    ]);
    expect(query(place, "SELECT * FROM schema_violations")).toEqual([
      ["tasks", "three", 4, "NOT_NULL", "NOT NULL constraint failed: tasks.title"],
    ]);
    const told: Applied[] = [];
    const stop = tables.onApplied((applied) => told.push(applied));
    const enough = tables.want("tasks");
    await put(db, "tasks/three", { title: "third", done: 1 });
    await db.tx({ author: "ann", writes: [{ doc: "tasks/one", delete: true }] });
    expect(query(await tables.current(), "SELECT id, done FROM tasks")).toEqual([
      ["three", 1],
      ["two", null],
    ]);
    expect(query(place, "SELECT * FROM schema_violations")).toEqual([]);
    expect(told.length).toBeGreaterThan(0);
    expect(told.at(-1)).toMatchObject({ seq: 7, schemaChanged: false });
    const rows = told.flatMap(({ touched }): (RowChange | "all")[] => {
      const changes = touched.get("tasks") ?? [];
      return changes === "all" ? ["all"] : [...changes];
    });
    expect(rows).toEqual(
      expect.arrayContaining([
        { key: "one", before: { id: "one", title: "first", done: 1, more: "[1,2]" } },
        { key: "three", after: { id: "three", title: "third", done: 1, more: null } },
      ]),
    );
    expect(told.at(-1)?.touched.get("documents")).toBe("all");
    stop();
    enough();
    await schema(db, "CREATE VIEW open_tasks AS SELECT * FROM tasks WHERE done = 0");
    await put(db, "tasks/two", { title: "second", done: 0 });
    expect(query(await tables.current(), "SELECT id FROM open_tasks")).toEqual([["two"]]);
    expect(told.at(-1)?.seq).toBe(7);
  }));
