import { refusedWith, SqlDbs, type SqlDb } from "./sql-db.ts";

const dbs = new SqlDbs();
afterAll(async () => {
  await dbs.close();
  expect(dbs.errors).toEqual([]);
});
const TASKS = "CREATE TABLE tasks (id TEXT PRIMARY KEY, title TEXT NOT NULL, done INTEGER DEFAULT 0)";
const inDb = (work: (sql: SqlDb) => Promise<void>) => dbs.with(work, [TASKS]);

describe("a statement that writes", () => {
  test("is one commit of its author, and what it wrote is read at once", () =>
    inDb(async (sql) => {
      const made = await sql.run(
        "INSERT INTO tasks (id, title) VALUES ('a', 'x'), ('b', 'y') RETURNING id, done",
        [],
        {
          author: "bob",
          message: "two tasks",
        },
      );
      expect(made).toMatchObject({
        seq: 2,
        duplicate: false,
        affected: [2],
        rows: [
          ["a", 0],
          ["b", 0],
        ],
      });
      const { commit } = sql.db.log.commit(2)!;
      expect(commit).toMatchObject({ author: "bob", message: "two tasks" });
      expect(commit.entries.map(({ doc }) => doc)).toEqual(["tasks/a", "tasks/b"]);
      expect(await sql.rows("SELECT * FROM tasks")).toEqual([
        ["a", "x", 0],
        ["b", "y", 0],
      ]);
      expect(await sql.json("tasks/a")).toEqual({ title: "x", done: 0 });
      await sql.run("UPDATE tasks SET done = 1 WHERE id = ?", ["b"]);
      await sql.run("DELETE FROM tasks WHERE id = :id", { id: "a" });
      expect(await sql.rows("SELECT * FROM tasks")).toEqual([["b", "y", 1]]);
      expect(await refusedWith(sql.json("tasks/a"))).toMatchObject({ code: "DOC_NOT_FOUND" });
      await sql.run("INSERT INTO tasks (id, title) VALUES ('a', 'again')");
      expect(await sql.json("tasks/a")).toEqual({ title: "again", done: 0 });
      expect(sql.db.log.head().seq).toBe(5);
    }));

  test("that changes nothing makes no commit", () =>
    inDb(async (sql) => {
      await sql.run("INSERT INTO tasks (id, title) VALUES ('a', 'x')");
      const { cid } = sql.db.log.head();
      const same = await sql.run("UPDATE tasks SET title = 'x'");
      expect(same).toMatchObject({ seq: 2, affected: [1] });
      const none = await sql.run("DELETE FROM tasks WHERE id = 'z' RETURNING *");
      expect(none).toMatchObject({ seq: 2, affected: [0], rows: [] });
      expect(sql.db.log.head()).toMatchObject({ seq: 2, cid });
      expect(same.commit).toBe(none.commit);
    }));

  test("keeps nothing of itself when a row of it is refused, or on a dry run", () =>
    inDb(async (sql) => {
      const refused = await refusedWith(
        sql.run("INSERT INTO tasks (id, title) VALUES ('a', 'x'), ('b', NULL)"),
      );
      expect(refused).toMatchObject({ code: "SQL_CONSTRAINT" });
      const dry = await sql.run("INSERT INTO tasks (id, title) VALUES ('a', 'x') RETURNING id", [], {
        dryRun: true,
      });
      expect(dry).toMatchObject({ seq: 2, rows: [["a"]] });
      expect(sql.db.log.head().seq).toBe(1);
      expect(await sql.rows("SELECT count(*) FROM documents")).toEqual([[0]]);
    }));

  test("is refused for a value that no document holds", () =>
    inDb(async (sql) => {
      const put = (value: bigint) => refusedWith(sql.run("INSERT INTO tasks VALUES ('a', 'x', ?)", [value]));
      expect(await put(2n ** 53n)).toMatchObject({ code: "VALUE_INVALID" });
      expect(await put(2n ** 53n - 1n)).toMatchObject({ code: "none" });
      const erased = await sql.db
        .erase({ author: "ann", docs: ["tasks/a"] } as never)
        .catch((error: unknown) => error);
      expect(erased).not.toBeInstanceOf(Error);
      expect(await refusedWith(sql.run("INSERT INTO tasks (id, title) VALUES ('a', 'x')"))).toMatchObject({
        code: "ERASED",
      });
    }));

  test("is answered with the first commit when it is sent again under its client_tx_id", () =>
    inDb(async (sql) => {
      const once = () =>
        sql.run("INSERT INTO tasks (id, title) VALUES ('a', 'x') RETURNING id", [], { clientTxId: "t1" });
      const first = await once();
      const again = await once();
      expect(again).toMatchObject({ seq: first.seq, commit: first.commit, duplicate: true, affected: [1] });
      expect(again.rows).toBeUndefined();
      const both = await Promise.all([
        sql.run("UPDATE tasks SET done = done + 1", [], { clientTxId: "t2" }),
        sql.run("UPDATE tasks SET done = done + 1", [], { clientTxId: "t2" }),
      ]);
      expect(both.filter(({ duplicate }) => duplicate)).toHaveLength(1);
      expect(await sql.json("tasks/a")).toMatchObject({ done: 1 });
      expect(await refusedWith(sql.run("DELETE FROM tasks", [], { clientTxId: "t 3" }))).toMatchObject({
        code: "NAME_INVALID",
      });
    }));
});

describe("a batch", () => {
  test("is one commit, each statement seeing those before it", () =>
    inDb(async (sql) => {
      const done = await sql.run([
        {
          sql: "INSERT INTO tasks (id, title) VALUES (?, ?)",
          values: [
            ["a", "x"],
            ["b", "y"],
            ["c", "z"],
          ],
        },
        { sql: "UPDATE tasks SET done = 1 WHERE title > ?", args: ["x"] },
        {
          sql: "INSERT INTO documents (collection, key, value) VALUES ('sums', 'done', json_object('n', (SELECT sum(done) FROM tasks)))",
        },
        { sql: "SELECT count(*) FROM documents" },
      ]);
      expect(done).toMatchObject({ seq: 2, affected: [3, 2, 1, 0], rows: [[4]] });
      expect(await sql.json("sums/done")).toEqual({ n: 2 });
      expect(sql.db.log.commit(2)?.commit.entries).toHaveLength(4);
    }));

  test("is refused as a whole, and for too much of anything", () =>
    inDb(async (sql) => {
      const insert = "INSERT INTO tasks (id, title) VALUES (?, ?)";
      const twice = {
        sql: insert,
        values: [
          ["a", "x"],
          ["a", "y"],
        ],
      };
      expect(await refusedWith(sql.run([{ sql: "DELETE FROM tasks" }, twice]))).toMatchObject({
        code: "SQL_CONSTRAINT",
        details: { statement: 1 },
      });
      expect(await refusedWith(sql.run([]))).toMatchObject({ code: "BAD_REQUEST" });
      expect(await refusedWith(sql.run([{ ...twice, args: [] }]))).toMatchObject({ code: "BAD_REQUEST" });
      const many = Array.from({ length: 1001 }, (_, i) => [`k${i}`, "x"]);
      expect(await refusedWith(sql.run([{ sql: insert, values: many }]))).toMatchObject({
        code: "TOO_LARGE",
      });
      const rows = `SELECT value, value FROM json_each(?)`;
      const list = JSON.stringify(many.map(([id]) => id));
      expect(await refusedWith(sql.run(`INSERT INTO tasks (id, title) ${rows}`, [list]))).toMatchObject({
        code: "QUERY_LIMIT",
        details: { limit: "documents", max: 1000 },
      });
      expect(sql.db.log.head().seq).toBe(1);
      await sql.run([{ sql: insert, values: many.slice(1) }]);
      expect(await sql.rows("SELECT count(*) FROM tasks")).toEqual([[1000]]);
    }));
});

describe("a statement of the schema", () => {
  test("is a commit that others see at once, and is refused in SQLite's words", () =>
    inDb(async (sql) => {
      expect(sql.db.log.head().seq).toBe(1);
      await sql.run(
        "INSERT INTO documents (collection, key, value) VALUES ('notes', '7', '{\"text\":\"t\"}')",
      );
      await sql.schema("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)");
      expect(await sql.rows("SELECT * FROM notes")).toEqual([[7, "t"]]);
      await sql.run("INSERT INTO notes (text) VALUES ('u')");
      expect(await sql.json("notes/8")).toEqual({ text: "u" });
      await sql.schema("ALTER TABLE notes ADD COLUMN stars INTEGER DEFAULT 3");
      await sql.run("INSERT INTO notes (text) VALUES ('v')");
      expect(await sql.json("notes/9")).toEqual({ text: "v", stars: 3 });
      const { seq } = sql.db.log.head();
      expect(await refusedWith(sql.schema("CREATE TABLE notes (id PRIMARY KEY)"))).toMatchObject({
        code: "SQL_ERROR",
        message: "table notes already exists",
      });
      expect(await refusedWith(sql.schema("CREATE INDEX i ON notes (nothing)"))).toMatchObject({
        code: "SQL_ERROR",
      });
      expect(await refusedWith(sql.schema("CREATE TABLE two (a, b, PRIMARY KEY (a, b))"))).toMatchObject({
        code: "SCHEMA_INVALID",
      });
      expect(await refusedWith(sql.schema('CREATE TABLE "no name" (a PRIMARY KEY)'))).toMatchObject({
        code: "SCHEMA_INVALID",
      });
      expect(await sql.schema("CREATE TABLE IF NOT EXISTS notes (id PRIMARY KEY)")).toMatchObject({ seq });
      expect(await sql.schema("CREATE TABLE fine (id PRIMARY KEY)", { dryRun: true })).toMatchObject({
        seq: seq + 1,
      });
      expect(sql.db.log.head().seq).toBe(seq);
      await sql.schema("DROP TABLE notes");
      expect(await sql.json("notes/7")).toEqual({ text: "t" });
    }));

  test("is made once when it is asked for twice at once", () =>
    inDb(async (sql) => {
      const make = () => refusedWith(sql.schema("CREATE TABLE once (id PRIMARY KEY)"));
      const codes = (await Promise.all([make(), make(), make()])).map(({ code }) => code);
      expect(codes.toSorted()).toEqual(["SQL_ERROR", "SQL_ERROR", "none"]);
      const again = () => sql.schema("CREATE TABLE twice (id PRIMARY KEY)", { clientTxId: "s" });
      const first = await again();
      expect(await again()).toMatchObject({ seq: first.seq, duplicate: true });
    }));
});

describe("another branch", () => {
  test("is written as it is, with a schema of its own, and takes nothing once it is closed", () =>
    inDb(async (sql) => {
      await sql.run("INSERT INTO tasks (id, title) VALUES ('a', 'x'), ('b', 'y')");
      await sql.db.log.createBranch("draft", { author: "ann" });
      await sql.run("UPDATE tasks SET title = 'main' WHERE id = 'a'");
      const branch = "draft";
      const done = await sql.run("UPDATE tasks SET title = title || '!' RETURNING title", [], { branch });
      expect(done.rows).toEqual([["x!"], ["y!"]]);
      expect(sql.db.log.commit(done.seq)?.commit.branch).toBe("draft");
      await sql.schema("CREATE UNIQUE INDEX titles ON tasks (title)", { branch });
      const twice = "INSERT INTO tasks (id, title) VALUES ('c', 'x!')";
      expect(await refusedWith(sql.run(twice, [], { branch }))).toMatchObject({ code: "SQL_CONSTRAINT" });
      await sql.run(twice);
      expect(await sql.rows("SELECT id, title FROM tasks")).toEqual([
        ["a", "main"],
        ["b", "y"],
        ["c", "x!"],
      ]);
      const both = await Promise.all(
        ["p", "q"].map((id) =>
          sql.run("INSERT INTO tasks VALUES (?, ?, (SELECT count(*) FROM tasks)) RETURNING done", [id, id], {
            branch,
          }),
        ),
      );
      expect(both.map(({ rows }) => rows?.[0]?.[0]).toSorted((a, b) => Number(a) - Number(b))).toEqual([
        2, 3,
      ]);
      await sql.db.log.closeBranch("draft", { author: "ann" });
      expect(await refusedWith(sql.run("DELETE FROM tasks", [], { branch }))).toMatchObject({
        code: "BRANCH_CLOSED",
      });
      expect(await refusedWith(sql.run("DELETE FROM tasks", [], { branch: "none" }))).toMatchObject({
        code: "BRANCH_NOT_FOUND",
      });
    }));
});
