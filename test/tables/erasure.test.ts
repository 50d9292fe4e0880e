import { readdirSync } from "node:fs";
import path from "node:path";
import Database from "better-sqlite3";
import { Engine } from "../../src/db/engine.ts";
import { writeEvents } from "../../src/db/write-events.ts";
import { TablesOf } from "../../src/tables/tables.ts";
import { filesIn, setUid, traces } from "../support/canary.ts";
import { tempDir } from "../support/temp-dir.ts";

// One word, so that a full-text index has it as it is.
const CANARY = "kanarienvogelindermine";
const root = tempDir();
const open = (dir: string): Engine =>
  new Engine({ dir, reserve: 0, documents: { workers: 1 }, onError: (error) => errors.push(error) });
const errors: unknown[] = [];

async function filled(engine: Engine): Promise<void> {
  await engine.create("notes");
  await engine.use("notes", async (db) => {
    setUid(db.log.identity.uid);
    const put = (doc: string, value: unknown) =>
      db.tx({ author: "ann", writes: [{ doc, edit: { kind: "put", value: JSON.stringify(value) } }] });
    for (const sql of [
      "CREATE TABLE c (id TEXT PRIMARY KEY, title TEXT, n INTEGER NOT NULL)",
      "CREATE INDEX c_title ON c (title)",
      "CREATE INDEX d_title ON documents (value ->> 'title')",
      "CREATE VIRTUAL TABLE c_fts USING fts5(title, content='c', prefix='2 4')",
    ])
      await writeEvents(db, { author: "ann", events: [{ type: "schema.change", sql }] });
    for (let n = 0; n < 40; n += 1) await put(`c/d${n}`, { title: `words of ${n}`, n });
    await put("c/her", { title: `a ${CANARY} here`, n: 1 });
    // Out of its table, and longer than a page.
    await put("c/his", { title: `${CANARY} `.repeat(400) });
  });
}

const query = (file: string, sql: string): unknown[] => {
  const sqlite = new Database(file, { readonly: true });
  const rows = sqlite.prepare(sql).raw().all();
  sqlite.close();
  return rows;
};

test("nothing of an erased document is left in any file once the erasure answers", async () => {
  const dir = path.join(root, "open");
  const engine = open(dir);
  const tablesOf = new TablesOf({ engine, onError: (error) => errors.push(error) });
  await filled(engine);
  await engine.use("notes", async (db) => {
    const tables = tablesOf.of(db);
    const { file } = await tables.current();
    const found = `SELECT id FROM c_fts WHERE c_fts MATCH '${CANARY}'`;
    expect(query(file, found)).toEqual([["her"]]);
    await db.tx({
      author: "ann",
      writes: [
        { doc: "c/her", edit: { kind: "merge-patch", patch: `{"title":"${CANARY} ${CANARY} again"}` } },
      ],
    });
    await tables.current();
    expect(query(file, found)).toEqual([["her"]]);
    // The tables, and the write-ahead log that they are written to.
    expect(
      traces(dir, CANARY).filter((found) => /tables\.sqlite(?:-wal)?: its bytes/.test(found)),
    ).not.toEqual([]);
    const { removed } = await db.erase({ author: "ann", docs: ["c/her", "c/his"] });
    expect(removed).toBe(true);
    expect(traces(dir, CANARY)).toEqual([]);
    expect(query(file, found)).toEqual([]);
    expect(query(file, "SELECT count(*) FROM c")).toEqual([[40]]);
    // It says who wrote it and when, and follows on.
    const place = await tables.current();
    expect(query(place.file, "SELECT seq, deleted FROM changes WHERE key = 'her' ORDER BY seq")).toEqual([
      [45, 0],
      [47, 0],
      [48, 1],
    ]);
    expect(query(place.file, "SELECT * FROM schema_violations")).toEqual([]);
    expect(traces(dir, CANARY)).toEqual([]);
  });
  await engine.close();
  await tablesOf.close();
  expect(traces(dir, CANARY)).toEqual([]);
  expect(filesIn(dir).some((name) => name.endsWith("tables.sqlite"))).toBe(true);
  expect(errors).toEqual([]);
}, 60_000);

test("tables that nobody has open are dropped by an erasure", async () => {
  const dir = path.join(root, "left");
  const first = open(dir);
  const tablesOf = new TablesOf({ engine: first, onError: (error) => errors.push(error) });
  await filled(first);
  await first.use("notes", (db) => tablesOf.of(db).current());
  await first.close();
  await tablesOf.close();
  expect(traces(dir, CANARY)).not.toEqual([]);
  const engine = open(dir);
  await engine.use("notes", async (db) => {
    expect((await db.erase({ author: "ann", docs: ["c/her", "c/his"] })).removed).toBe(true);
  });
  expect(traces(dir, CANARY)).toEqual([]);
  expect(readdirSync(engine.folderOf("notes")).filter((name) => name.startsWith("tables"))).toEqual([]);
  // Somebody who holds them and has not used them neither.
  const others = new TablesOf({ engine, onError: (error) => errors.push(error) });
  await engine.use("notes", async (db) => {
    const tables = others.of(db);
    expect(query((await tables.current()).file, "SELECT count(*) FROM c")).toEqual([[40]]);
  });
  await engine.close();
  await others.close();
  expect(errors).toEqual([]);
}, 60_000);
