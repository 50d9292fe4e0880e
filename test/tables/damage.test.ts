import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import Database from "better-sqlite3";
import { Engine } from "../../src/db/engine.ts";
import type { Db } from "../../src/db/db.ts";
import { writeEvents } from "../../src/db/write-events.ts";
import { isSkaldError } from "../../src/errors.ts";
import { TablesOf } from "../../src/tables/tables.ts";
import { seeded, seedOf } from "../support/fault-process.ts";
import { tempDir } from "../support/temp-dir.ts";

const root = tempDir();
const KILLS = Number(process.env["SKALD_TEST_KILLS"] ?? 1);
const SCRIPT = path.resolve(import.meta.dirname, "../support/tables-follower.mjs");

interface Held {
  readonly engine: Engine;
  readonly tablesOf: TablesOf;
  readonly errors: unknown[];
  close(): Promise<void>;
}

function open(dir: string): Held {
  const errors: unknown[] = [];
  const onError = (error: unknown): void => void errors.push(error);
  const engine = new Engine({ dir, reserve: 0, documents: { workers: 1 }, onError });
  const tablesOf = new TablesOf({ engine, onError });
  const close = async (): Promise<void> => {
    await engine.close();
    await tablesOf.close();
  };
  return { engine, tablesOf, errors, close };
}

const put = (db: Db, doc: string, value: unknown) =>
  db.tx({ author: "ann", writes: [{ doc, edit: { kind: "put", value: JSON.stringify(value) } }] });
const SCHEMA = [
  "CREATE TABLE c (id TEXT PRIMARY KEY, title TEXT, n INTEGER UNIQUE)",
  "CREATE VIRTUAL TABLE c_fts USING fts5(title, content='c')",
];

async function filled({ engine }: Held, dbId: string, title: string): Promise<void> {
  await engine.create(dbId);
  await engine.use(dbId, async (db) => {
    for (const sql of SCHEMA)
      await writeEvents(db, { author: "ann", events: [{ type: "schema.change", sql }] });
    for (let n = 0; n < 5; n += 1) await put(db, `c/${n}`, { title, n });
  });
}

/** Everything that somebody can ask the file for, in the order in which it answers. */
function contents(file: string): unknown {
  const sqlite = new Database(file, { readonly: true });
  try {
    return [
      "skald_head",
      "skald_schema",
      "documents",
      "commits",
      "changes",
      "schema_violations",
      "c",
      "c_fts",
    ].map((table) => sqlite.prepare(`SELECT * FROM ${table}`).raw().all());
  } finally {
    sqlite.close();
  }
}

const change =
  (sql: string) =>
  (file: string): void => {
    const sqlite = new Database(file);
    sqlite.unsafeMode();
    sqlite.exec(sql);
    sqlite.close();
  };

/** What may stand where the file is looked for. */
const DAMAGE: Readonly<Record<string, (file: string, other: string) => void>> = {
  "is not SQLite": (file) => writeFileSync(file, "tables of another kind"),
  "is empty": (file) => truncateSync(file, 0),
  "ends in the middle": (file) => truncateSync(file, 8192),
  "has a page of another": (file) => {
    const bytes = readFileSync(file);
    bytes.copy(bytes, 4096, 8192, 12_288);
    writeFileSync(file, bytes);
  },
  "is of another db": (file, other) => cpSync(other, file),
  "is of another life of the db": change("UPDATE skald_meta SET value = '7' WHERE name = 'epoch'"),
  "is of a newer version": change("PRAGMA user_version = 99"),
  "was not finished": change("DELETE FROM skald_head"),
  "knows of commits that the log does not have": change("UPDATE skald_head SET seq = 900"),
  "has another table in the place of one of ours": change(
    "DROP TABLE commits; CREATE TABLE commits (seq INTEGER PRIMARY KEY, id)",
  ),
  "is that of another branch": change("UPDATE skald_head SET branch = 3"),
};

describe("a file is made anew that", () => {
  let sound: unknown;
  const held = open(path.join(root, "damage"));
  const of = (dbId: string) => path.join(held.engine.folderOf(dbId), "tables.sqlite");

  beforeAll(async () => {
    await filled(held, "one", "first");
    await filled(held, "two", "second");
    for (const dbId of ["one", "two"]) await held.engine.use(dbId, (db) => held.tablesOf.of(db).current());
    sound = contents(of("one"));
    await held.close();
  }, 60_000);

  test.each(Object.keys(DAMAGE))("%s", async (name) => {
    const dir = path.join(root, `damage ${Object.keys(DAMAGE).indexOf(name)}`);
    cpSync(path.join(root, "damage"), dir, { recursive: true });
    const again = open(dir);
    const file = path.join(again.engine.folderOf("one"), "tables.sqlite");
    DAMAGE[name]?.(file, path.join(again.engine.folderOf("two"), "tables.sqlite"));
    await again.engine.use("one", (db) => again.tablesOf.of(db).current());
    expect(contents(file)).toEqual(sound);
    await again.engine.use("one", async (db) => {
      await put(db, "c/6", { title: "after", n: 6 });
      await again.tablesOf.of(db).current();
    });
    expect(contents(file)).not.toEqual(sound);
    // It costs nothing else.
    for (const error of again.errors)
      expect(isSkaldError(error) && path.basename(String(error.details["file"]))).toBe("tables.sqlite");
    await again.close();
  });
});

test("one that breaks while it is in use is made anew, and says that it is another", async () => {
  const held = open(path.join(root, "live"));
  await filled(held, "one", "first");
  await held.engine.use("one", async (db) => {
    const tables = held.tablesOf.of(db);
    const before = await tables.current();
    const sound = contents(before.file);
    change("DROP TABLE c; DROP TABLE changes")(before.file);
    await put(db, "c/1", { title: "again", n: 1 });
    const after = await tables.current();
    expect(after.life).not.toBe(before.life);
    await put(db, "c/1", { title: "first", n: 1 });
    await tables.current();
    expect(JSON.stringify(contents(after.file))).toContain("first");
    expect((contents(after.file) as unknown[][])[6]).toEqual((sound as unknown[][])[6]);
  });
  expect(held.errors.map((error) => isSkaldError(error) && error.code)).toEqual(["DERIVED_DAMAGED"]);
  await held.close();
});

test("a rebuild of the db makes the tables anew as well", async () => {
  const held = open(path.join(root, "rebuild"));
  await filled(held, "one", "first");
  const current = () => held.engine.use("one", (db) => held.tablesOf.of(db).current());
  const before = await current();
  const sound = contents(before.file);
  change("UPDATE documents SET value = '{}'")(before.file);
  expect(contents(before.file)).not.toEqual(sound);
  mkdirSync(path.join(path.dirname(before.file), "points"), { recursive: true });
  await held.engine.rebuild("one");
  expect(existsSync(path.join(path.dirname(before.file), "points"))).toBe(false);
  const after = await current();
  expect(contents(after.file)).toEqual(sound);
  expect(after.life).not.toBe(before.life);
  await held.close();
  expect(held.errors).toEqual([]);
});

test(
  "a process that is killed while it writes leaves a file of some commit, from which the next one goes on",
  async () => {
    const seed = seedOf();
    const random = seeded(seed);
    for (let kill = 0; kill < KILLS; kill += 1) {
      const dir = path.join(root, `kill ${kill}`);
      const first = open(dir);
      await filled(first, "killed", "first");
      await first.close();
      const child = spawn(process.execPath, [SCRIPT, dir], { stdio: ["ignore", "pipe", "inherit"] });
      let lines = 0;
      const until = 1 + Math.floor(random() * 10);
      child.stdout.on("data", (part: Buffer) => {
        lines += part.toString().split("\n").length - 1;
        if (lines >= until) setTimeout(() => child.kill("SIGKILL"), random() * 12);
      });
      await new Promise((resolve) => child.on("close", resolve));
      expect({ seed, said: lines >= until }).toEqual({ seed, said: true });
      const held = open(dir);
      const current = () => held.engine.use("killed", (db) => held.tablesOf.of(db).current());
      const { file } = await current();
      const found = contents(file);
      await held.engine.rebuild("killed");
      await current();
      expect({ seed, found }).toEqual({ seed, found: contents(file) });
      await held.close();
      expect({ seed, errors: held.errors }).toEqual({ seed, errors: [] });
    }
  },
  60_000 + KILLS * 20_000,
);
