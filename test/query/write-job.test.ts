import { blake3 } from "../../src/ids/hash.ts";
import { readFileSync } from "node:fs";
import { refusedWrite, tablesFile, tryWrite } from "./trial-file.ts";

const TASKS = "CREATE TABLE tasks (id TEXT PRIMARY KEY, title TEXT NOT NULL, done INTEGER DEFAULT 0)";

describe("a statement on a table", () => {
  const file = tablesFile([TASKS], {
    "tasks/a": { title: "first", done: false, tags: ["x"], note: "kept" },
    "tasks/b": { title: "second", done: 1 },
    "tasks/hidden": { done: 2 },
    "other/o": { n: 1 },
  });

  test("INSERT makes documents, with the defaults of the columns", () => {
    const tried = tryWrite(file, [
      "INSERT INTO tasks (id, title) VALUES (?, ?)",
      ["c", "third"],
      ["d", "fourth"],
    ]);
    expect(tried).toMatchObject({ seq: 7, branch: 0, affected: [2], collections: [], answers: [null] });
    expect(tried.edits).toEqual([
      ["tasks/c", "put", '{"done":0,"title":"third"}'],
      ["tasks/d", "put", '{"done":0,"title":"fourth"}'],
    ]);
  });

  test("UPDATE writes the fields that changed and no others, and keeps what a field is", () => {
    expect(tryWrite(file, "UPDATE tasks SET done = 1, title = 'first' WHERE id = 'a'").docs).toEqual({
      "tasks/a": [{ op: "replace", path: "/done", value: true }],
    });
    expect(tryWrite(file, "UPDATE tasks SET done = NULL").docs).toEqual({
      "tasks/a": [{ op: "remove", path: "/done" }],
      "tasks/b": [{ op: "remove", path: "/done" }],
    });
    const same = tryWrite(file, "UPDATE tasks SET done = done");
    expect(same).toMatchObject({ edits: [], affected: [2] });
  });

  test("DELETE ends documents, and leaves those alone that are not in the table", () => {
    expect(tryWrite(file, "DELETE FROM tasks").docs).toEqual({ "tasks/a": null, "tasks/b": null });
  });

  test("REPLACE makes a document anew: fields without a column go, and types stay", () => {
    expect(tryWrite(file, "REPLACE INTO tasks VALUES ('a', 'new', 1)").docs).toEqual({
      "tasks/a": [
        { op: "remove", path: "/tags" },
        { op: "remove", path: "/note" },
        { op: "replace", path: "/title", value: "new" },
        { op: "replace", path: "/done", value: true },
      ],
    });
  });

  test("INSERT … ON CONFLICT writes the row that is there", () => {
    const sql =
      "INSERT INTO tasks (id, title) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET title = title || excluded.title";
    const tried = tryWrite(file, [sql, ["b", "!"], ["n", "new"]]);
    expect(tried.docs).toEqual({
      "tasks/b": [{ op: "replace", path: "/title", value: "second!" }],
      "tasks/n": { title: "new", done: 0 },
    });
    expect(tried.collections).toEqual([]);
  });

  test("a row that gets another key takes its fields along", () => {
    expect(tryWrite(file, "UPDATE tasks SET id = id || '2', done = 0 RETURNING id").docs).toEqual({
      "tasks/a": null,
      "tasks/a2": { title: "first", done: false, tags: ["x"], note: "kept" },
      "tasks/b": null,
      "tasks/b2": { title: "second", done: 0 },
    });
  });

  test("keys are made where there are none", () => {
    const left = tryWrite(file, "INSERT INTO tasks (title) VALUES ('x'), ('y') RETURNING id");
    const ids = left.answers[0]?.rows.flat() as string[];
    expect(ids).toHaveLength(2);
    expect(ids[0]).toMatch(/^[0-9A-HJKMNP-TV-Z]{26}$/);
    expect(Object.keys(left.docs)).toEqual(ids.map((id) => `tasks/${id}`));
    const nulls = tryWrite(file, [
      "INSERT INTO tasks VALUES (?, ?, ?)",
      [null, "x", 1],
      ["own", "y", 1],
      [null, "z", 1],
    ]);
    expect(Object.keys(nulls.docs)).toHaveLength(3);
    expect(Object.keys(nulls.docs)).toContain("tasks/own");
  });

  test("is refused whole when one of its rows breaks a constraint", () => {
    expect(refusedWrite(file, "INSERT INTO tasks (id, title) VALUES ('x', 'x'), ('y', NULL)")).toMatchObject({
      code: "SQL_CONSTRAINT",
      message: "NOT NULL constraint failed: tasks.title.",
    });
    expect(refusedWrite(file, "INSERT INTO tasks (id, title) VALUES ('x', 'x'), ('a', 'a')")).toMatchObject({
      code: "SQL_CONSTRAINT",
      message: "UNIQUE constraint failed: tasks.id.",
    });
    expect(
      refusedWrite(file, "INSERT OR ROLLBACK INTO tasks (id, title) VALUES ('x', 'x'), ('a', 'a')"),
    ).toMatchObject({
      code: "SQL_CONSTRAINT",
    });
    expect(refusedWrite(file, "INSERT INTO tasks (id, title) VALUES ('', 'x')").code).toBe("NAME_INVALID");
    expect(refusedWrite(file, "INSERT INTO tasks (id, title) VALUES (x'00', 'x')").code).toBe(
      "SQL_CONSTRAINT",
    );
  });

  test("does not touch a document that the table does not show", () => {
    const refused = refusedWrite(file, "INSERT INTO tasks (id, title) VALUES ('hidden', 'x')");
    expect(refused).toMatchObject({ code: "SQL_CONSTRAINT", details: { doc: "tasks/hidden" } });
    expect(refusedWrite(file, "UPDATE tasks SET id = 'hidden' WHERE id = 'a'")).toMatchObject({
      code: "SQL_CONSTRAINT",
    });
    expect(tryWrite(file, "UPDATE tasks SET title = 'all'").docs).not.toHaveProperty("tasks/hidden");
  });

  test("leaves the file as it was", () => {
    const before = blake3(readFileSync(file));
    tryWrite(file, "DELETE FROM tasks");
    refusedWrite(file, "INSERT INTO tasks (id, title) VALUES ('x', 'x'), ('y', NULL)");
    expect(blake3(readFileSync(file))).toEqual(before);
    expect(tryWrite(file, "SELECT count(*) FROM tasks").answers[0]?.rows).toEqual([[2]]);
  });

  test("says which documents it stands on: its own, or all of the tables that it looked at", () => {
    const collections = (sql: string) => tryWrite(file, sql).collections;
    expect(collections("UPDATE tasks SET done = 1 WHERE id = 'a'")).toEqual([]);
    expect(collections("DELETE FROM tasks WHERE id = 'a' AND done = 0")).toEqual([]);
    // It changed nothing, and another commit may make that another row.
    expect(collections("DELETE FROM tasks WHERE id = 'a' AND done = 9")).toEqual(["tasks"]);
    expect(collections("UPDATE tasks SET done = 1 WHERE id = 'a' OR done = 7")).toEqual(["tasks"]);
    expect(collections("UPDATE tasks SET done = 1 WHERE id IN ('a', 'b')")).toEqual(["tasks"]);
    expect(collections("UPDATE tasks SET done = 1 WHERE title = 'first'")).toEqual(["tasks"]);
    expect(collections("INSERT OR IGNORE INTO tasks (id, title) VALUES ('a', 'x'), ('z', 'z')")).toEqual([
      "tasks",
    ]);
    expect(collections("INSERT INTO tasks SELECT 'k', count(*), 0 FROM tasks")).toEqual(["tasks"]);
    expect(collections("INSERT INTO tasks SELECT 'k', count(*), 0 FROM commits")).toBe("all");
    expect(collections("INSERT INTO tasks SELECT 'k', count(*), 0 FROM documents")).toBe("all");
    expect(collections("INSERT INTO tasks SELECT value, value, 0 FROM json_each('[5]')")).toEqual(["tasks"]);
  });
});

describe("a table whose key is an integer", () => {
  const file = tablesFile(["CREATE TABLE n (id INTEGER PRIMARY KEY, v TEXT)"], {
    "n/3": { v: "three" },
    "n/12": { v: 5 },
    "n/text": { v: "no row" },
  });

  test("counts on from the greatest", () => {
    expect(tryWrite(file, "INSERT INTO n (v) VALUES ('a'), ('b') RETURNING id").answers[0]?.rows).toEqual([
      [13],
      [14],
    ]);
    const tried = tryWrite(
      file,
      ["INSERT INTO n VALUES (?, ?)", [null, "a"], [20, "b"], [null, "c"]],
      "SELECT max(id) FROM n",
    );
    expect(Object.keys(tried.docs)).toEqual(["n/13", "n/20", "n/21"]);
    expect(tried.collections).toEqual(["n"]);
    expect(tryWrite(file, "INSERT INTO n DEFAULT VALUES").docs).toEqual({ "n/13": {} });
  });

  test("takes no other key", () =>
    expect(refusedWrite(file, "INSERT INTO n VALUES ('x', 1)").code).toMatch(/^SQL_/));
});

describe("a statement on documents", () => {
  const file = tablesFile([TASKS, "CREATE UNIQUE INDEX titles ON tasks (title)"], {
    "tasks/a": { title: "first" },
    "tasks/b": { title: "second" },
    "tasks/hidden": { done: 2 },
    "tasks/broken": new Error("DOC_UNREADABLE"),
    "free/x": { deep: { n: [1, 2] } },
  });

  test("writes documents of any collection", () => {
    expect(
      tryWrite(
        file,
        "UPDATE documents SET value = json_set(value, '$.deep.m', 3) WHERE collection = 'free' AND key = 'x'",
      ).docs,
    ).toEqual({ "free/x": [{ op: "replace", path: "/deep", value: { n: [1, 2], m: 3 } }] });
    expect(
      tryWrite(file, "INSERT INTO documents (collection, key, value) VALUES ('new', 'a/b', '{\"n\": 1.5}')")
        .docs,
    ).toEqual({ "new/a/b": { n: 1.5 } });
    expect(tryWrite(file, "DELETE FROM documents WHERE collection = 'free'").docs).toEqual({
      "free/x": null,
    });
    const made = tryWrite(
      file,
      "INSERT INTO documents (collection, value) VALUES ('new', '{}') RETURNING key",
    );
    expect(Object.keys(made.docs)).toEqual([`new/${made.answers[0]?.rows[0]?.[0] as string}`]);
    expect(
      tryWrite(file, "UPDATE documents SET collection = 'moved', key = 'y' WHERE collection = 'free'").docs,
    ).toEqual({ "free/x": null, "moved/y": { deep: { n: [1, 2] } } });
  });

  test("is held to the constraints of the collection's table", () => {
    const put = (key: string, value: object) =>
      refusedWrite(file, [
        "INSERT INTO documents (collection, key, value) VALUES ('tasks', ?, ?)",
        [key, JSON.stringify(value)],
      ]);
    expect(put("c", { title: "third" }).code).toBe("none");
    expect(put("c", {})).toMatchObject({
      code: "SQL_CONSTRAINT",
      message: "NOT NULL constraint failed: tasks.title.",
    });
    expect(put("c", { title: "first" }).code).toBe("SQL_CONSTRAINT");
    expect(put("broken", { title: "x" })).toMatchObject({ code: "SQL_CONSTRAINT" });
    expect(
      refusedWrite(
        file,
        "UPDATE documents SET value = json_set(value, '$.title', 'third') WHERE key = 'hidden'",
      ),
    ).toMatchObject({ code: "none" });
    // Both at once may take what the other had.
    expect(
      tryWrite(
        file,
        "UPDATE documents SET value = json_set(value, '$.title', iif(key = 'a', 'second', 'first')) WHERE key IN ('a', 'b')",
      ).docs,
    ).toMatchObject({ "tasks/a": [{ value: "second" }], "tasks/b": [{ value: "first" }] });
  });

  test("is refused for what is no document", () => {
    const put = (collection: unknown, key: unknown, value: unknown) =>
      refusedWrite(file, [
        "INSERT INTO documents (collection, key, value) VALUES (?, ?, ?)",
        [collection, key, value] as never,
      ]).code;
    expect(put("free", "a", "[]")).toBe("VALUE_INVALID");
    expect(put("free", "a", "{")).toBe("BAD_JSON");
    expect(put("free", "", "{}")).toBe("NAME_INVALID");
    expect(put("no/t", "a", "{}")).toBe("NAME_INVALID");
    expect(put("free", null, "{}")).toBe("none");
    expect(put(null, "a", "{}")).toBe("SQL_CONSTRAINT");
    expect(refusedWrite(file, "UPDATE documents SET seq = 3").code).toBe("SQL_NOT_ALLOWED");
    expect(refusedWrite(file, "INSERT INTO documents VALUES ('a', 'b', '{}', 3)").code).toBe(
      "SQL_NOT_ALLOWED",
    );
  });
});

describe("several statements", () => {
  const file = tablesFile([TASKS], { "tasks/a": { title: "first", more: [1] } });

  test("see what those before them did, whichever way they look", () => {
    const tried = tryWrite(
      file,
      "INSERT INTO tasks (id, title) VALUES ('b', 'second')",
      "UPDATE documents SET value = json_set(value, '$.title', key || '!') WHERE collection = 'tasks'",
      "SELECT id, title FROM tasks ORDER BY id",
      "UPDATE tasks SET title = title || '?' WHERE id = 'b'",
      "SELECT key, value ->> 'title' FROM documents ORDER BY key",
      "DELETE FROM documents WHERE key = 'a'",
      "SELECT count(*) FROM tasks",
    );
    expect(tried.answers.map((answer) => answer?.rows)).toEqual([
      undefined,
      undefined,
      [
        ["a", "a!"],
        ["b", "b!"],
      ],
      undefined,
      [
        ["a", "a!"],
        ["b", "b!?"],
      ],
      undefined,
      [[1]],
    ]);
    expect(tried.docs).toEqual({ "tasks/a": null, "tasks/b": { title: "b!?", done: 0 } });
    expect(tried.affected).toEqual([1, 2, 0, 1, 0, 1, 0]);
  });

  test("come to nothing when they undo each other", () => {
    const tried = tryWrite(
      file,
      "INSERT INTO tasks (id, title) VALUES ('b', 'second')",
      "UPDATE tasks SET title = 'other'",
      "DELETE FROM tasks WHERE id = 'b'",
      "UPDATE tasks SET title = 'first'",
    );
    expect(tried.edits).toEqual([]);
  });

  test("are refused together, and the one at fault is named", () => {
    expect(
      refusedWrite(file, "DELETE FROM tasks", "INSERT INTO tasks (id) VALUES ('b')", "SELECT 1"),
    ).toMatchObject({ code: "SQL_CONSTRAINT", details: { statement: 1 } });
    expect(refusedWrite(file, "DELETE FROM tasks", "CREATE TABLE x (id PRIMARY KEY)")).toMatchObject({
      code: "SQL_NOT_ALLOWED",
      details: { statement: 1 },
    });
    expect(refusedWrite(file, "DELETE FROM tasks", "DELETE FROM tasks WHERE nothing = 1")).toMatchObject({
      code: "SQL_ERROR",
      details: { statement: 1 },
    });
  });
});

describe("the walls", () => {
  const file = tablesFile(
    [
      TASKS,
      "CREATE VIEW v AS SELECT * FROM tasks",
      "CREATE VIRTUAL TABLE words USING fts5(title, content='tasks')",
    ],
    { "tasks/a": { title: "first" } },
  );

  test.each([
    "INSERT INTO commits VALUES (1, 'x', 'main', 't', 'me', NULL)",
    "DELETE FROM changes",
    "UPDATE schema_violations SET code = 'x'",
    "DELETE FROM skald_head",
    "UPDATE skald_meta SET value = 'x'",
    "DELETE FROM skald_note",
    "INSERT INTO temp.skald_note (t) VALUES (1)",
    "DELETE FROM sqlite_schema",
    "INSERT INTO words (title) VALUES ('x')",
    "INSERT INTO words (words) VALUES ('delete-all')",
    "DELETE FROM words_data",
    "INSERT INTO v VALUES ('b', 'x', 1)",
    "INSERT INTO tasks SELECT uid, value, 0 FROM (SELECT 1 AS uid, value FROM skald_meta)",
    "INSERT INTO tasks (id, title) VALUES (skald_key(0), 'x')",
    "INSERT INTO tasks (id, title) VALUES (load_extension('x'), 'x')",
    "UPDATE tasks SET title = (SELECT sql FROM sqlite_schema LIMIT 1)",
    "INSERT INTO tasks SELECT name, name, 0 FROM pragma_table_list",
    "ATTACH '/tmp/x' AS y",
    "PRAGMA writable_schema = ON",
    "BEGIN",
    "COMMIT",
    "SAVEPOINT x",
    "VACUUM INTO '/tmp/x'",
    "CREATE TEMP TABLE x (a)",
    "DROP TABLE tasks",
    "DELETE FROM tasks; DELETE FROM tasks",
  ])("%s", (sql) => {
    const refused = refusedWrite(file, sql);
    expect(refused.code).toMatch(/^SQL_(?:NOT_ALLOWED|ERROR)$/);
  });

  test("let full text and views be read by what writes", () => {
    const sql =
      "UPDATE tasks SET done = 1 WHERE id IN (SELECT id FROM words WHERE words MATCH 'first') AND id IN (SELECT id FROM v)";
    expect(tryWrite(file, sql)).toMatchObject({ affected: [1], collections: "all" });
  });
});

test("more documents than a commit takes are refused", () => {
  const file = tablesFile(["CREATE TABLE t (id INTEGER PRIMARY KEY, v)"]);
  const many = (n: number) =>
    refusedWrite(
      file,
      `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${n}) INSERT INTO t SELECT i, i FROM n`,
    );
  expect(many(1000).code).toBe("none");
  expect(many(1001)).toMatchObject({ code: "QUERY_LIMIT", details: { limit: "documents", max: 1000 } });
  expect(many(17_000)).toMatchObject({ code: "QUERY_LIMIT", details: { limit: "documents", max: 1000 } });
});
