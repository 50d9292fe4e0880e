import { METHODS } from "node:http";
import { tempDir } from "../support/temp-dir.ts";
import { API, problem, startHttp, type Ask, type Reply } from "./fixture.ts";

const { ask, server } = await startHttp(tempDir(), { args: ["--log-level", "debug"] });
const DB = `${API}/db/shop`;

const exec = (sql: string, more: object = {}, asked: Ask = {}): Promise<Reply> =>
  ask("POST", `${DB}/query/exec`, { ...asked, body: { sql, ...more } });

async function rows(sql: string, more: object = {}, asked: Ask = {}): Promise<unknown[][]> {
  const reply = await exec(sql, more, asked);
  if (reply.status !== 200) throw new Error(`${sql}: ${reply.text}`);
  return reply.json["rows"] as unknown[][];
}

const put = (doc: string, value: object): Promise<Reply> => ask("PUT", `${DB}/docs/${doc}`, { body: value });
const head = async (): Promise<number> => (await ask("GET", DB)).json["seq"] as number;

beforeAll(async () => {
  await ask("PUT", DB);
  await put("items/a", { name: "Apple", price: 1.5, stock: 9007199254740991, tags: ["fruit", "red"] });
  await put("items/b", { name: "Bread", price: 3, fresh: true });
  await put("items/c", { name: 'Comma, "quote"', price: null });
  await put("notes/hello", { text: "" });
}, 60_000);

describe("documents without any table", () => {
  test("are rows, whose JSON can be looked into", async () => {
    const reply = await exec(
      "SELECT key, value ->> '$.name' AS name, value ->> 'price' AS price FROM documents WHERE collection = ? AND value ->> 'price' > ? ORDER BY price",
      { args: ["items", 1] },
    );
    expect(reply.status).toBe(200);
    expect(reply.json).toMatchObject({
      columns: ["key", "name", "price"],
      rows: [
        ["a", "Apple", 1.5],
        ["b", "Bread", 3],
      ],
      row_count: 2,
      seq: 4,
      cursor: reply.headers["skald-cursor"],
      commit: reply.headers["skald-commit"],
    });
    expect(reply.headers["skald-seq"]).toBe("4");
    expect(Object.keys(reply.json)).toEqual([
      "columns",
      "types",
      "rows",
      "row_count",
      "seq",
      "commit",
      "cursor",
    ]);
    const page = await ask("GET", `${DB}/changes?since=${reply.json["cursor"] as string}`);
    expect(page.json["events"]).toEqual([]);
  });

  test("have a history that SQL can read", async () => {
    expect(
      await rows("SELECT key, seq, deleted FROM changes WHERE collection = 'items' ORDER BY seq"),
    ).toEqual([
      ["a", 1, 0],
      ["b", 2, 0],
      ["c", 3, 0],
    ]);
    expect(await rows("SELECT count(*), min(branch) FROM commits WHERE seq <= 4")).toEqual([[4, "main"]]);
  });

  test("arguments and answers keep every digit and every byte", async () => {
    const sql =
      "SELECT ? + 0 AS big, typeof(?) AS bytes, ? AS text, ? || '' AS list, ? AS truth, ? AS gone, 7 / ? AS whole";
    const text =
      '{"sql":' +
      JSON.stringify(sql) +
      ',"args":[9223372036854775807,{"/":{"bytes":"AQI"}},"ü\\u0000",[1.0, 9007199254740993],true,null,2]}';
    const reply = await ask("POST", `${DB}/query/exec`, {
      headers: { "content-type": "application/json" },
      body: Buffer.from(text),
    });
    expect(reply.text).toContain(
      '"rows":[[9223372036854775807,"blob","ü\\u0000","[1.0, 9007199254740993]",1,null,3]]',
    );
    const named = await rows("SELECT :a, @b, $c", { args: { a: 1, b: "x", c: null } });
    expect(named).toEqual([[1, "x", null]]);
    expect((await exec("SELECT x'0102' AS b")).json["rows"]).toEqual([[{ "/": { bytes: "AQI" } }]]);
  });

  test("an answer holds what was acknowledged before it was asked for", async () => {
    for (let i = 0; i < 5; i += 1) {
      const { json } = await put("counts/one", { n: i });
      const reply = await exec("SELECT value ->> 'n' FROM documents WHERE collection = 'counts'");
      expect(reply.json["rows"]).toEqual([[i]]);
      expect(reply.json["seq"]).toBeGreaterThanOrEqual(json["seq"] as number);
    }
  });
});

describe("rows as text", () => {
  const sql =
    "SELECT key, value ->> 'name' AS \"the name\", value ->> 'price' AS price, '' AS empty, x'0102' AS b FROM documents WHERE collection = 'items' ORDER BY key";

  test("CSV has the names first, nothing for NULL, quotes where they are needed", async () => {
    const reply = await exec(sql, {}, { headers: { accept: "text/csv" } });
    expect(reply.headers["content-type"]).toBe("text/csv; charset=utf-8; header=present");
    expect(reply.headers["skald-seq"]).toMatch(/^\d+$/);
    expect(reply.text).toBe(
      'key,the name,price,empty,b\r\na,Apple,1.5,"",AQI\r\nb,Bread,3,"",AQI\r\nc,"Comma, ""quote""",,"",AQI\r\n',
    );
  });

  test("lines of JSON have a head, an object for each row, and an end", async () => {
    const reply = await exec(`${sql} LIMIT 2`, {}, { headers: { accept: "application/x-ndjson" } });
    const lines = reply.text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines).toEqual([
      expect.objectContaining({
        columns: ["key", "the name", "price", "empty", "b"],
        seq: expect.any(Number) as number,
      }),
      { key: "a", "the name": "Apple", price: 1.5, empty: "", b: { "/": { bytes: "AQI" } } },
      { key: "b", "the name": "Bread", price: 3, empty: "", b: { "/": { bytes: "AQI" } } },
      expect.objectContaining({ row_count: 2 }),
    ]);
    expect(lines.at(-1)?.["cursor"]).toBe(reply.headers["skald-cursor"]);
  });

  test("many more rows come than JSON has, and what breaks off says so on its last line", async () => {
    const many =
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i FROM n";
    const csv = await exec(many, {}, { headers: { accept: "text/csv" } });
    expect(csv.text.split("\r\n")).toHaveLength(20_002);
    problem(await exec(many), 422, "QUERY_LIMIT");
    const broken =
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT abs(CASE WHEN i < 19000 THEN i ELSE -9223372036854775808 END) AS a FROM n";
    const lines = (await exec(broken, {}, { headers: { accept: "application/x-ndjson" } })).text
      .trimEnd()
      .split("\n");
    expect(JSON.parse(lines.at(-1) as string)).toMatchObject({
      error: { code: "SQL_ERROR", hint: expect.any(String) as string },
    });
    // A CSV has no place for it: it ends without its last chunk.
    await expect(exec(broken, {}, { headers: { accept: "text/csv" } })).rejects.toThrow(/aborted|hang up/);
  });

  test("a form that there is none of is refused, and a statement that fails is a problem in any form", async () => {
    problem(await exec(sql, {}, { headers: { accept: "text/html" } }), 406, "NOT_ACCEPTABLE");
    problem(await exec("SELECT nothing", {}, { headers: { accept: "text/csv" } }), 400, "SQL_ERROR");
    problem(
      await exec("SELECT nothing", {}, { headers: { accept: "application/x-ndjson" } }),
      400,
      "SQL_ERROR",
    );
  });
});

describe("tables and writes", () => {
  test("a table makes a collection's fields columns, and what is written to it is a commit", async () => {
    const made = await exec(
      "CREATE TABLE items (id TEXT PRIMARY KEY, name TEXT NOT NULL, price REAL, fresh BOOLEAN)",
    );
    expect({ status: made.status, text: made.text }).toMatchObject({ status: 200 });
    expect(made.json["seq"]).toBe(await head());
    expect(await rows("SELECT * FROM items ORDER BY id")).toEqual([
      ["a", "Apple", 1.5, null],
      ["b", "Bread", 3, 1],
      ["c", 'Comma, "quote"', null, null],
    ]);
    const { token } = await ask.token(["shop:query.write"], { subject: "ann" });
    const written = await exec(
      "INSERT INTO items (id, name, price) VALUES (?, ?, ?)",
      { args: ["d", "Dill", 0.5], message: "herbs" },
      { token },
    );
    expect(written.json).toMatchObject({ rows_affected: 1, seq: await head() });
    expect((await ask("GET", `${DB}/docs/items/d`)).json).toEqual({ name: "Dill", price: 0.5 });
    const commit = await ask("GET", `${DB}/commits/${written.json["commit"] as string}`);
    expect(commit.json).toMatchObject({ author: "ann", message: "herbs" });
    const updated = await exec(
      "UPDATE items SET price = price * 2 WHERE id IN ('a', 'd') RETURNING id, price",
    );
    expect(updated.json).toMatchObject({ rows_affected: 2, columns: ["id", "price"] });
    expect(new Set((updated.json["rows"] as unknown[]).map(String))).toEqual(new Set(["a,3", "d,1"]));
    // What has no column is kept.
    expect((await ask("GET", `${DB}/docs/items/a`)).json).toMatchObject({ price: 3, tags: ["fruit", "red"] });
    const upsert =
      "INSERT INTO items (id, name, price) VALUES ('d', 'Dill', 9) ON CONFLICT (id) DO UPDATE SET price = excluded.price";
    expect((await exec(upsert)).json).toMatchObject({ rows_affected: 1 });
    expect((await exec("DELETE FROM items WHERE id = 'd'")).json).toMatchObject({ rows_affected: 1 });
    expect((await ask("GET", `${DB}/docs/items/d`)).status).toBe(404);
  });

  test("a dry run says what it would do and keeps nothing", async () => {
    const before = await head();
    for (const reply of [
      await exec("DELETE FROM items", { dry_run: true }),
      await ask("POST", `${DB}/query/exec?dry_run=true`, { body: { sql: "DELETE FROM items" } }),
    ])
      expect(reply.json).toMatchObject({ rows_affected: 3 });
    expect(await head()).toBe(before);
  });

  test("a statement sent twice with one name is written once", async () => {
    const insert = "INSERT INTO items (id, name) VALUES ('once', 'Once')";
    const first = await exec(insert, { client_tx_id: "insert-once" });
    const before = await head();
    const again = await ask("POST", `${DB}/query/exec`, {
      body: { sql: insert },
      headers: { "idempotency-key": "insert-once" },
    });
    expect({ status: again.status, seq: again.json["seq"], commit: again.json["commit"] }).toEqual({
      status: 200,
      seq: first.json["seq"],
      commit: first.json["commit"],
    });
    expect(await head()).toBe(before);
  });

  test("several statements are one commit or nothing", async () => {
    const before = await head();
    const done = await ask("POST", `${DB}/query/batch`, {
      body: {
        statements: [
          {
            sql: "INSERT INTO items (id, name, price) VALUES (?, ?, ?)",
            values: [
              ["x1", "One", 1],
              ["x2", "Two", 2],
              ["x3", "Three", 3],
            ],
          },
          { sql: "UPDATE items SET price = price + :more WHERE id LIKE 'x%'", args: { more: 10 } },
        ],
        message: "load",
      },
    });
    expect({ status: done.status, text: done.text }).toMatchObject({ status: 200 });
    expect(await head()).toBe(before + 1);
    expect(await rows("SELECT price FROM items WHERE id LIKE 'x%' ORDER BY id")).toEqual([[11], [12], [13]]);
    const failed = await ask("POST", `${DB}/query/batch`, {
      body: {
        statements: [
          { sql: "DELETE FROM items" },
          { sql: "INSERT INTO items (id, name) VALUES ('y', NULL)" },
        ],
      },
    });
    problem(failed, 409, "SQL_CONSTRAINT");
    expect(await head()).toBe(before + 1);
  });

  test("the past is read with at, another branch with branch", async () => {
    expect(await rows("SELECT count(*) FROM documents WHERE collection = 'items'", { at: "2" })).toEqual([
      [2],
    ]);
    const made = await ask("POST", `${DB}/branches`, { body: { name: "draft" } });
    expect(made.status).toBe(201);
    await exec("UPDATE items SET name = 'Apfel' WHERE id = 'a'", { branch: "draft" });
    expect(await rows("SELECT name FROM items WHERE id = 'a'", { branch: "draft" })).toEqual([["Apfel"]]);
    expect(await rows("SELECT name FROM items WHERE id = 'a'")).toEqual([["Apple"]]);
    problem(await exec("SELECT 1", { at: "99999" }), 400, "POINT_IN_FUTURE");
    problem(await exec("SELECT 1", { branch: "none" }), 404, "BRANCH_NOT_FOUND");
    expect((await exec("DELETE FROM items", { at: "2" })).status).toBeGreaterThanOrEqual(400);
  });

  test("the schema names what an editor completes", async () => {
    const reply = await ask("GET", `${DB}/query/schema`);
    const tables = reply.json["tables"] as { name: string; columns: { name: string }[] }[];
    expect(tables.map(({ name }) => name)).toEqual(
      expect.arrayContaining(["documents", "commits", "changes", "items"]),
    );
    expect(tables.find(({ name }) => name === "items")?.columns.map(({ name }) => name)).toEqual([
      "id",
      "name",
      "price",
      "fresh",
    ]);
    expect(JSON.stringify(tables)).not.toMatch(/skald_|sqlite_/);
    const etag = reply.headers.etag as string;
    await put("items/e", { name: "Egg" });
    expect((await ask("GET", `${DB}/query/schema`, { headers: { "if-none-match": etag } })).status).toBe(304);
    await exec("CREATE VIEW cheap AS SELECT id FROM items WHERE price < 5");
    expect((await ask("GET", `${DB}/query/schema`, { headers: { "if-none-match": etag } })).status).toBe(200);
  });
});

describe("what a statement does decides what it needs", () => {
  const STATEMENTS = {
    read: ["SELECT 1", "VALUES (1)", "WITH a AS (SELECT 1) SELECT * FROM a", "EXPLAIN QUERY PLAN SELECT 1"],
    write: [
      "INSERT INTO items (id, name) VALUES ('w', 'W') ON CONFLICT DO NOTHING",
      "UPDATE items SET price = 1 WHERE id = 'none'",
      "DELETE FROM items WHERE id = 'none'",
    ],
    admin: ["CREATE INDEX items_name ON items (name)", "DROP INDEX items_name", "PRAGMA table_info(items)"],
  } as const;
  const CLASSES = Object.keys(STATEMENTS) as (keyof typeof STATEMENTS)[];

  test.each(CLASSES)("query.%s allows its class and no other", async (own) => {
    const { token } = await ask.token([`shop:query.${own}`]);
    for (const kind of CLASSES) {
      for (const sql of STATEMENTS[kind]) {
        const before = await head();
        const reply = await exec(sql, {}, { token });
        expect({ own, sql, status: reply.status }).toEqual({ own, sql, status: kind === own ? 200 : 403 });
        if (kind === own) continue;
        expect(problem(reply, 403, "FORBIDDEN")["action"]).toBe(`query.${kind}`);
        expect(await head()).toBe(before);
      }
    }
  });

  test("what a write gives back is read", async () => {
    const { token } = await ask.token(["shop:query.write"]);
    const before = await head();
    const sql = "UPDATE items SET price = 7 RETURNING *";
    expect(problem(await exec(sql, {}, { token }), 403, "FORBIDDEN")["action"]).toBe("query.read");
    expect(await head()).toBe(before);
    const both = await ask.token(["shop:query.write", "shop:query.read"]);
    expect((await exec(`${sql} `, { dry_run: true }, { token: both.token })).status).toBe(200);
  });

  test("a token limited to a prefix is told why it is refused", async () => {
    const { token } = await ask.token(["shop:query.read:items/"]);
    const refused = problem(await exec("SELECT 1", {}, { token }), 403, "FORBIDDEN");
    expect(refused["detail"]).toMatch(/prefix/);
  });

  test("every statement of a batch is looked at before the first one runs", async () => {
    const { token } = await ask.token(["shop:query.write"]);
    const before = await head();
    const reply = await ask("POST", `${DB}/query/batch`, {
      token,
      body: {
        statements: [{ sql: "DELETE FROM items" }, { sql: "UPDATE items SET price = 1 RETURNING name" }],
      },
    });
    problem(reply, 403, "FORBIDDEN");
    expect(await head()).toBe(before);
  });
});

describe("statements that are refused say what to do", () => {
  test.each<[string, number, string, RegExp]>([
    ["", 400, "SQL_ERROR", /no statement/],
    ["SELEC 1", 400, "SQL_ERROR", /near "SELEC"/],
    ["SELECT * FROM nowhere", 400, "SQL_ERROR", /no such table: nowhere/],
    ["SELECT nme FROM items", 400, "SQL_ERROR", /no such column: nme/],
    ["SELECT 1; SELECT 2", 403, "SQL_NOT_ALLOWED", /more than one statement/],
    ["ATTACH 'x' AS y", 403, "SQL_NOT_ALLOWED", /ATTACH/],
    ["PRAGMA journal_mode = DELETE", 403, "SQL_NOT_ALLOWED", /journal_mode/],
    ["SELECT load_extension('x')", 403, "SQL_NOT_ALLOWED", /load_extension/],
    ["SELECT * FROM skald_head", 403, "SQL_NOT_ALLOWED", /table/],
    ["SELECT ?", 400, "SQL_ERROR", /1 parameters; there are 0/],
    ["SELECT :a", 400, "SQL_ERROR", /parameter/],
    ["INSERT INTO items (id) VALUES ('z')", 409, "SQL_CONSTRAINT", /NOT NULL/],
    ["INSERT INTO items (id, name) VALUES ('a', 'again')", 409, "SQL_CONSTRAINT", /UNIQUE|PRIMARY/],
    ["CREATE TABLE two (a TEXT, b TEXT)", 422, "SCHEMA_INVALID", /PRIMARY KEY/],
    ["CREATE TABLE documents (id TEXT PRIMARY KEY)", 422, "SCHEMA_INVALID", /documents/],
  ])("%s", async (sql, status, code, detail) => {
    const before = await head();
    const reply = await exec(sql);
    expect(problem(reply, status, code)["detail"]).toMatch(detail);
    expect(await head()).toBe(before);
  });

  test.each<[string, RegExp]>([
    ["SELECT * FROM nowhere", /CREATE TABLE/],
    ['SELECT * FROM items WHERE name = "Apple"', /single quotes/],
    ["SELECT nme FROM items", /query\/schema/],
    ["SELECT ?", /`args`/],
    ["SELECT * FROM sqlite_schema", /query\/schema/],
    ["BEGIN", /batch/],
    ["SELECT 1; SELECT 2", /batch/],
    [
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 9999) SELECT i FROM n",
      /text\/csv/,
    ],
    ["CREATE TRIGGER t AFTER INSERT ON items BEGIN SELECT 1; END", /watch/],
  ])("%s: the hint says what to do", async (sql, hint) => {
    expect((await exec(sql)).json["hint"]).toMatch(hint);
  });

  test("a statement that never ends is ended, and others are answered meanwhile", async () => {
    const endless = exec(
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    );
    expect(await rows("SELECT 1")).toEqual([[1]]);
    expect(problem(await endless, 422, "QUERY_LIMIT")["limit"]).toBe("time");
  }, 60_000);
});

describe("stored statements", () => {
  const NAMES = `${DB}/query/statements`;
  const save = (name: string, sql: string, more: object = {}): Promise<Reply> =>
    ask("PUT", `${NAMES}/${name}`, { body: { sql, ...more } });

  beforeAll(async () => {
    const made = await save("cheap", "SELECT id, price FROM items WHERE price < :most ORDER BY id", {
      description: "Below a price",
    });
    expect({ status: made.status, text: made.text }).toMatchObject({ status: 201 });
    await save("echo", "SELECT :x AS x, typeof(:x) AS type");
  });

  test("are saved, listed, shown, replaced and removed", async () => {
    expect((await ask("GET", `${NAMES}/cheap`)).json).toMatchObject({
      name: "cheap",
      sql: "SELECT id, price FROM items WHERE price < :most ORDER BY id",
      description: "Below a price",
      parameters: ["most"],
    });
    const list = (await ask("GET", `${NAMES}?limit=1`)).json;
    expect((list["statements"] as { name: string }[]).map(({ name }) => name)).toEqual(["cheap"]);
    const next = (await ask("GET", `${NAMES}?cursor=${list["cursor"] as string}`)).json;
    expect((next["statements"] as { name: string }[]).map(({ name }) => name)).toEqual(["echo"]);
    const before = await head();
    expect((await save("echo", "SELECT :x AS x, typeof(:x) AS type")).status).toBe(200);
    expect(await head()).toBe(before);
    expect((await save("gone", "SELECT 1")).status).toBe(201);
    expect((await save("gone", "SELECT 2 AS two")).status).toBe(200);
    expect((await ask("GET", `${DB}/query/gone.json`)).json["rows"]).toEqual([[2]]);
    expect((await ask("DELETE", `${NAMES}/gone`)).status).toBe(200);
    problem(await ask("GET", `${DB}/query/gone.json`), 404, "STATEMENT_NOT_FOUND");
    problem(await ask("DELETE", `${NAMES}/gone`), 404, "STATEMENT_NOT_FOUND");
  });

  test("run by their names, with arguments from the URL, in every form and at every point", async () => {
    const reply = await ask("GET", `${DB}/query/cheap.json?most=5`);
    expect({ status: reply.status, columns: reply.json["columns"] }).toEqual({
      status: 200,
      columns: ["id", "price"],
    });
    const csv = await ask("GET", `${DB}/query/cheap.csv?most=5`);
    expect(csv.text).toMatch(/^id,price\r\n/);
    expect((await ask("GET", `${DB}/query/cheap.ndjson?most=5`)).text).toMatch(
      /^\{"columns":\["id","price"\]/,
    );
    const past = await ask("GET", `${DB}/query/echo.json?x=1&at=5`);
    expect(past.json).toMatchObject({ seq: 5 });
    problem(await ask("GET", `${DB}/query/cheap.xml?most=5`), 404, "NOT_FOUND");
    for (const [text, value, type] of [
      ["12", 12, "integer"],
      ["012", "012", "text"],
      ["%2212%22", "12", "text"],
      ["1.5", 1.5, "real"],
      ["null", null, "null"],
      ["true", 1, "integer"],
      ["a%20b", "a b", "text"],
      ["", "", "text"],
    ] as const)
      expect({ text, rows: (await ask("GET", `${DB}/query/echo.json?x=${text}`)).json["rows"] }).toEqual({
        text,
        rows: [[value, type]],
      });
    for (const search of ["", "?y=1", "?x=1&y=2", "?x=1&x=2"]) {
      const wrong = await ask("GET", `${DB}/query/echo.json${search}`);
      expect({ search, status: wrong.status }).toEqual({ search, status: 400 });
    }
  });

  test("answer 304 as long as nothing was committed, and have no tag when the moment is in them", async () => {
    const path = `${DB}/query/cheap.json?most=5`;
    const { etag } = (await ask("GET", path)).headers as { etag: string };
    expect((await ask("GET", path, { headers: { "if-none-match": etag } })).status).toBe(304);
    expect((await ask("GET", `${path}0`, { headers: { "if-none-match": etag } })).status).toBe(200);
    await put("notes/other", { n: 1 });
    const later = await ask("GET", path, { headers: { "if-none-match": etag } });
    expect({ status: later.status, same: later.headers.etag === etag }).toEqual({ status: 200, same: false });
    await save("dice", "SELECT random() AS r");
    expect((await ask("GET", `${DB}/query/dice.json`)).headers.etag).toBeUndefined();
  });

  test("a token may be limited to some of them, and sees no others", async () => {
    const { token } = await ask.token(["shop:query.run:ch"]);
    expect((await ask("GET", `${DB}/query/cheap.json?most=5`, { token })).status).toBe(200);
    problem(await ask("GET", `${DB}/query/echo.json?x=1`, { token }), 403, "FORBIDDEN");
    problem(await ask("GET", `${DB}/query/none.json`, { token }), 403, "FORBIDDEN");
    problem(await exec("SELECT 1", {}, { token }), 403, "FORBIDDEN");
    const list = await ask("GET", NAMES, { token });
    expect((list.json["statements"] as { name: string }[]).map(({ name }) => name)).toEqual(["cheap"]);
    problem(await ask("PUT", `${NAMES}/cheap`, { token, body: { sql: "SELECT 1" } }), 403, "FORBIDDEN");
  });

  test("a ticket lets in who cannot send a header", async () => {
    const { token } = await ask.token(["shop:query.run:cheap"]);
    const made = await ask("POST", `${API}/tickets`, { token, body: { db_id: "shop", action: "query.run" } });
    const path = `${DB}/query/cheap.csv?most=5&ticket=${made.json["ticket"] as string}`;
    const reply = await ask("GET", path, { token: null });
    expect({ status: reply.status, text: reply.text.slice(0, 8) }).toEqual({ status: 200, text: "id,price" });
    expect((await ask("GET", path, { token: null })).status).toBe(401);
  });

  test("only what reads is saved, with names for its parameters, and only what could run", async () => {
    problem(await save("bad", "DELETE FROM items"), 403, "SQL_NOT_ALLOWED");
    problem(await save("bad", "SELECT ?"), 400, "BAD_REQUEST");
    problem(await save("bad", "SELECT :at"), 400, "BAD_REQUEST");
    problem(await save("bad", "SELECT * FROM nothing"), 400, "SQL_ERROR");
    problem(await save("bad", "SELECT * FROM skald_head"), 403, "SQL_NOT_ALLOWED");
    problem(await save("a.b", "SELECT 1"), 400, "NAME_INVALID");
    problem(await ask("GET", `${NAMES}/bad`), 404, "STATEMENT_NOT_FOUND");
  });
});

const known = METHODS.includes("QUERY");
(known ? describe : describe.skip)("the method QUERY", () => {
  const query = (body: string, type: string, search = ""): Promise<Reply> =>
    ask("QUERY", `${DB}/query${search}`, { headers: { "content-type": type }, body: Buffer.from(body) });

  test("reads, as SQL with arguments in the URL or as JSON", async () => {
    const sql = await query("SELECT :n + 1 AS n", "application/sql", "?n=4");
    expect(sql.json).toMatchObject({ columns: ["n"], rows: [[5]] });
    const body = await query('{"sql":"SELECT ?","args":[1]}', "application/json");
    expect(body.json["rows"]).toEqual([[1]]);
    problem(await query('{"sql":"SELECT 1"}', "application/json", "?n=4"), 400, "BAD_REQUEST");
    problem(await query("SELECT 1", "text/plain"), 415, "UNSUPPORTED_MEDIA_TYPE");
    const past = await query("SELECT count(*) FROM documents", "application/sql", "?at=2");
    expect(past.json["rows"]).toEqual([[2]]);
  });

  test("does nothing else", async () => {
    const before = await head();
    problem(await query("DELETE FROM items", "application/sql"), 403, "SQL_NOT_ALLOWED");
    expect(await head()).toBe(before);
  });

  test("is among what the path takes", async () => {
    expect((await ask("OPTIONS", `${DB}/query`)).headers.allow).toMatch(/QUERY/);
    problem(await ask("GET", `${DB}/query`), 405, "METHOD_NOT_ALLOWED");
  });
});

test("neither logs nor metrics hold a statement or its arguments", async () => {
  await exec("SELECT 'canary-text' AS c, ? AS d", { args: ["canary-argument"] });
  await exec("SELECT canary_column");
  const { text } = await ask("GET", "/metrics");
  expect(text).toMatch(/^skald_sql_statements_total/m);
  expect(text).toMatch(/route="\/db\/:db\/query\/exec"/);
  expect(text + server.log()).not.toMatch(/canary/);
});
