import type { ChildProcess } from "node:child_process";
import Database from "better-sqlite3";
import * as A from "@automerge/automerge";
import { startChild, type ChildLimits } from "../../src/query/query-child.ts";
import { refusedWith, SqlDbs, type SqlDb } from "./sql-db.ts";

const TASKS = "CREATE TABLE tasks (id TEXT PRIMARY KEY, title TEXT, done INTEGER DEFAULT 0)";

describe("a process that ends in the middle of a write", () => {
  const children: ChildProcess[] = [];
  const dbs = new SqlDbs(undefined, (limits: ChildLimits) => {
    const child = startChild(limits);
    if (limits.writes) children.push(child);
    return child;
  });
  afterAll(() => dbs.close());

  // Takes seconds, and the rows that it writes first do not fit into SQLite's cache.
  const LONG = `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000)
    INSERT INTO tasks (id, title) SELECT 'n' || i, hex(randomblob(2000)) FROM n`;

  test(
    "keeps nothing, locks nothing, and the next one works",
    () =>
      dbs.with(
        async (sql) => {
          await sql.run("INSERT INTO tasks (id, title) VALUES ('a', 'x')");
          for (let i = 0; i < 2; i += 1) {
            expect(await sql.rows("SELECT * FROM tasks")).toEqual([["a", "x", i]]);
            const refused = refusedWith(sql.run(LONG, [], {}, { ms: 60_000 }));
            // It holds the file's lock from its first moment on; whoever follows the log does for a moment only.
            let looks = 0;
            await until(() => (looks = isLocked(sql) ? looks + 1 : 0) > 20);
            expect(children.at(-1)?.kill("SIGKILL")).toBe(true);
            expect(await refused).toMatchObject({ code: "QUERY_LIMIT" });
            expect(await sql.rows("SELECT * FROM tasks")).toEqual([["a", "x", i]]);
            await sql.run("UPDATE tasks SET done = done + 1");
          }
          expect(sql.db.log.head().seq).toBe(4);
          expect(await sql.rows("PRAGMA table_info(tasks)")).toHaveLength(3);
        },
        [TASKS],
      ),
    120_000,
  );

  test(
    "is what a statement over its time or its memory comes to",
    () =>
      dbs.with(
        async (sql) => {
          const late = await refusedWith(sql.run(LONG, [], {}, { ms: 200 }));
          expect(late).toMatchObject({ code: "QUERY_LIMIT", details: { limit: "time" } });
          await sql.run("INSERT INTO tasks (id) VALUES ('a')");
          expect(await sql.rows("SELECT count(*) FROM tasks")).toEqual([[1]]);
        },
        [TASKS],
      ),
    120_000,
  );

  function isLocked(sql: SqlDb): boolean {
    const sqlite = new Database(sql.file, { timeout: 0 });
    try {
      sqlite.exec("BEGIN IMMEDIATE; ROLLBACK");
      return false;
    } catch {
      return true;
    } finally {
      sqlite.close();
    }
  }
});

async function until(holds: () => boolean): Promise<void> {
  for (let i = 0; i < 3000 && !holds(); i += 1) await new Promise((resolve) => setTimeout(resolve, 10));
}

describe("a document that an Automerge client has open", () => {
  const dbs = new SqlDbs();
  afterAll(() => dbs.close());

  test(
    "gets an UPDATE as the smallest edit: a cursor in its text stays where it was",
    () =>
      dbs.with(
        async (sql) => {
          await sql.run("INSERT INTO tasks VALUES ('a', 'The quick brown fox', 0)");
          let open = A.load<{ title: string; note?: string; done: number }>(
            (await sql.db.save("tasks/a")).bytes,
          );
          const cursor = A.getCursor(open, ["title"], 10);
          // The client goes on meanwhile, and the server has that as well.
          open = A.change(open, (draft) => {
            draft.note = "mine";
          });
          await sql.db.tx({
            author: "client",
            writes: [{ doc: "tasks/a", changes: [A.getLastLocalChange(open) as Uint8Array] }],
          });
          const before = A.getHeads(open);
          const { seq } = await sql.run(
            "UPDATE tasks SET title = replace(title, 'quick', 'very quick'), done = 1",
          );
          open = A.loadIncremental(open, (await sql.db.save("tasks/a")).bytes);
          expect(open).toEqual({ title: "The very quick brown fox", note: "mine", done: 1 });
          expect(A.getCursorPosition(open, ["title"], cursor)).toBe(15);
          expect(A.diff(open, before, A.getHeads(open))).toEqual([
            { action: "put", path: ["done"], value: 1 },
            { action: "splice", path: ["title", 4], value: "very " },
          ]);
          const { entries } = sql.db.log.commit(seq)!.commit;
          expect(entries.map(({ doc, changes }) => [doc, changes.length])).toEqual([["tasks/a", 1]]);
        },
        [TASKS],
      ),
    120_000,
  );
});

describe("a statement that others keep getting ahead of", () => {
  const dbs = new SqlDbs();
  afterAll(() => dbs.close());

  test(
    "has its turn, and they have theirs",
    () =>
      dbs.with(
        async (sql) => {
          await sql.run("INSERT INTO tasks (id) VALUES ('mine'), ('theirs')");
          let stopped = false;
          let written = 0;
          const others = Array.from({ length: 3 }, async (_, i) => {
            for (let n = 0; !stopped; n += 1) {
              const value = JSON.stringify({ title: `${i} ${n}` });
              await sql.db.tx({
                author: "bob",
                writes: [{ doc: `tasks/other${i}`, edit: { kind: "put", value } }],
              });
              written += 1;
            }
          });
          let during = 0;
          try {
            for (let n = 1; n <= 5; n += 1)
              await sql.run("UPDATE tasks SET done = (SELECT count(*) FROM tasks) + ? WHERE id = 'mine'", [
                n,
              ]);
            during = written;
            await until(() => written > during);
          } finally {
            stopped = true;
            await Promise.all(others);
          }
          expect(during).toBeGreaterThan(5);
          expect(await sql.json("tasks/mine")).toEqual({ done: 10 });
        },
        [TASKS],
      ),
    120_000,
  );
});
