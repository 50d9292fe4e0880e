import path from "node:path";
import Database from "better-sqlite3";
import { TablesDesk } from "../../src/tables/desk.ts";
import type { Part, Step } from "../../src/tables/steps.ts";
import { tempDir } from "../support/temp-dir.ts";

const file = path.join(tempDir(), "tables.sqlite");
const owner = { uid: "00".repeat(16), epoch: 1 };
const desk = new TablesDesk();
afterAll(() => desk.close());

function run(...steps: Step[]): unknown {
  let last: unknown;
  for (const step of steps) {
    const answer = desk.answer({ id: 1, file, step });
    if ("error" in answer) throw new Error(answer.error.message);
    last = answer.result;
  }
  return last;
}

const begin: Step = { kind: "begin", wanted: [] };
const feed = (part: Part): Step => ({ kind: "feed", part });
const end = (seq: number, schema: number): Step => ({ kind: "end", head: { branch: 0, seq, schema } });
const SCHEMA = [
  { seq: 1, index: 0, sql: "CREATE TABLE c (id TEXT PRIMARY KEY, x TEXT)" },
  { seq: 2, index: 0, sql: "CREATE VIRTUAL TABLE t USING fts5(x, content='c')" },
];
const document = (key: string, x: string, seq: number) => ({
  name: `c/${key}`,
  seq,
  json: JSON.stringify({ x }),
});

function rows(sql: string): unknown[] {
  const sqlite = new Database(file, { readonly: true });
  try {
    return sqlite.prepare(sql).raw().all();
  } finally {
    sqlite.close();
  }
}

test("of a batch that is broken off nothing stays, of its schema neither, and the next one goes on", () => {
  run(
    { kind: "make", owner, life: "one" },
    begin,
    feed({ documents: [document("a", "first", 1)] }),
    end(1, 0),
  );
  run(begin, feed({ schema: SCHEMA }), feed({ documents: [document("b", "second", 2)] }), { kind: "abort" });
  expect(rows("SELECT key FROM documents")).toEqual([["a"]]);
  expect(() => rows("SELECT * FROM c")).toThrow(/no such table/);
  run(begin, feed({ documents: [document("b", "third", 3)] }), end(3, 0));
  expect(rows("SELECT value FROM documents")).toEqual([['{"x":"first"}'], ['{"x":"third"}']]);
  run(begin, feed({ schema: SCHEMA }), end(4, 2));
  run(begin, feed({ documents: [document("a", "fourth", 5)] }), { kind: "abort" });
  run(begin, feed({ documents: [document("b", "fifth", 5)] }), end(5, 2));
  expect(rows("SELECT * FROM c")).toEqual([
    ["a", "first"],
    ["b", "fifth"],
  ]);
  expect(rows("SELECT id FROM t WHERE t MATCH 'first OR fourth'")).toEqual([["a"]]);
  expect(rows("SELECT seq, schema FROM skald_head")).toEqual([[5, 2]]);
});

test("a file that is opened again knows its schema", () => {
  run({ kind: "open", owner }, begin, feed({ documents: [document("c", "sixth", 6)] }), end(6, 2));
  expect(rows("SELECT id FROM t WHERE t MATCH 'sixth'")).toEqual([["c"]]);
});

test("a full-text table of an erased document holds none of its words, of earlier rows neither", () => {
  run(begin, feed({ documents: [document("d", "kanarienvogel", 7)] }), end(7, 2));
  run(begin, feed({ documents: [document("d", "nothing", 8)] }), end(8, 2));
  const words = (): number =>
    (rows("SELECT block FROM t_data") as [Uint8Array][]).filter(([block]) =>
      Buffer.from(block).includes("kanarienvogel"),
    ).length;
  // The index has them until it merges its parts.
  expect(words()).toBeGreaterThan(0);
  run(begin, feed({ erased: ["c/d"] }), end(8, 2));
  expect(run({ kind: "tidy" })).toBe(true);
  expect(words()).toBe(0);
  expect(rows("SELECT id FROM t WHERE t MATCH 'sixth OR nothing'")).toEqual([["c"]]);
});
