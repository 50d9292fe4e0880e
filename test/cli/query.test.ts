import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { runSkald, startServer, type RunResult } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";

const home = tempDir();
mkdirSync(home, { recursive: true });
const server = await startServer(path.join(home, "data"));
const env = { SKALD_URL: server.url, SKALD_TOKEN: server.token ?? "" };

const run = (args: readonly string[], input?: string): Promise<RunResult> =>
  runSkald(args, { env, ...(input === undefined ? {} : { input }) });

async function skald(args: readonly string[], input?: string): Promise<RunResult> {
  const result = await run(args, input);
  expect({ args, code: result.code, err: result.code === 0 ? "" : result.err }).toEqual({
    args,
    code: 0,
    err: "",
  });
  return result;
}

beforeAll(async () => {
  await skald(["db", "create", "shop"]);
  await skald(["doc", "put", "shop", "items/a"], '{"name": "Apple", "price": 1.5, "big": 9007199254740991}');
  await skald(["doc", "put", "shop", "items/b"], '{"name": "Bread, \\"dark\\""}');
}, 60_000);

test("a file of statements is one commit", async () => {
  const file = path.join(home, "schema.sql");
  writeFileSync(
    file,
    "-- a table; and what is in it\nCREATE TABLE items (id TEXT PRIMARY KEY, name TEXT NOT NULL, price REAL);\n",
  );
  await skald(["query", "shop", "--file", file]);
  writeFileSync(
    file,
    "INSERT INTO items (id, name) VALUES ('c', 'semi;colon');\nUPDATE items SET price = 2 WHERE id = 'c';",
  );
  const { err } = await skald(["query", "shop", "--file", file, "--message", "more"]);
  expect(err).toMatch(/^2 statements: 2 rows changed by commit 4\.$/m);
  const wrong = await run(["query", "shop", "--file", file]);
  expect({ code: wrong.code, err: wrong.err.split(":")[0] }).toEqual({ code: 1, err: "SQL_CONSTRAINT" });
}, 60_000);

test("rows come as a table, as CSV, as lines and as the server's answer", async () => {
  const sql = "SELECT id, name, price FROM items WHERE id < ? ORDER BY id";
  const table = await skald(["query", "shop", sql, "c"]);
  expect(table.out.split("\n")).toEqual([
    "id  name           price",
    "--  -------------  -----",
    "a   Apple            1.5",
    'b   Bread, "dark"   NULL',
    "",
  ]);
  expect(table.err).toMatch(/^2 rows at seq \d+\.$/m);
  expect((await skald(["query", "shop", sql, "c", "--csv"])).out).toBe(
    'id,name,price\r\na,Apple,1.5\r\nb,"Bread, ""dark""",\r\n',
  );
  const big = "SELECT :n AS n, value ->> 'big' AS big FROM documents WHERE key = 'a'";
  expect((await skald(["query", "shop", big, "--param", "n=9223372036854775807", "--ndjson"])).out).toBe(
    '{"n":9223372036854775807,"big":9007199254740991}\n',
  );
  const json = await skald(["query", "shop", big, "--param", "n=9223372036854775807", "--json"]);
  expect(json.out).toContain('"rows":[[9223372036854775807,9007199254740991]]');
  const file = path.join(home, "out.csv");
  await skald(["query", "shop", sql, "b", "--csv", "-o", file]);
  expect(readFileSync(file, "utf8")).toBe("id,name,price\r\na,Apple,1.5\r\n");
  expect((await skald(["query", "shop", "-"], "SELECT 1 AS one")).out).toMatch(/^one\n---\n {2}1\n$/);
  expect(
    (await skald(["query", "shop", "SELECT count(*) AS n FROM documents", "--at", "1", "--csv"])).out,
  ).toBe("n\r\n1\r\n");
}, 60_000);

test("what is written is told, and a dry run keeps nothing", async () => {
  const update = "UPDATE items SET price = 3 WHERE id = 'a' RETURNING id, price";
  const tried = await skald(["query", "shop", update, "--dry-run"]);
  expect(tried.out).toMatch(/^a +3/m);
  const written = await skald(["query", "shop", update, "--message", "dearer"]);
  expect(written.err).toMatch(/^1 row changed by commit \d+\.$/m);
  expect((await skald(["doc", "history", "shop", "items/a"])).out).toMatch(/dearer/);
}, 60_000);

test("stored statements are saved, listed, shown, run and removed", async () => {
  await skald([
    "statement",
    "save",
    "shop",
    "cheap",
    "SELECT id FROM items WHERE price < :most ORDER BY id",
    "--description",
    "below a price",
  ]);
  expect((await skald(["statement", "list", "shop"])).out).toMatch(/^cheap {2}:most {2}below a price$/m);
  expect((await skald(["statement", "show", "shop", "cheap"])).out).toMatch(/^SELECT id FROM items/);
  expect((await skald(["statement", "run", "shop", "cheap", "--param", "most=2.5", "--csv"])).out).toBe(
    "id\r\nc\r\n",
  );
  expect((await run(["statement", "run", "shop", "cheap"])).err).toMatch(/^SQL_ERROR: .*most/);
  await skald(["statement", "remove", "shop", "cheap"]);
  expect((await run(["statement", "run", "shop", "cheap"])).err).toMatch(/^STATEMENT_NOT_FOUND: /);
}, 60_000);

test("wrong statements and wrong usage say what to do", async () => {
  expect(await run(["query", "shop", "SELECT * FROM itms"])).toMatchObject({
    code: 1,
    err: expect.stringMatching(/^SQL_ERROR: no such table: itms/) as string,
  });
  for (const args of [
    ["query", "shop"],
    ["query", "shop", "SELECT 1", "--file", "x.sql"],
    ["query", "shop", "SELECT 1", "--csv", "--json"],
    ["query", "shop", "SELECT ?", "1", "--param", "a=1"],
    ["query", "shop", "SELECT :a", "--param", "a"],
  ])
    expect({ args, code: (await run(args)).code }).toEqual({ args, code: 2 });
}, 60_000);

test("a directory that no server runs on answers alike", async () => {
  const dir = path.join(home, "alone");
  const alone = (args: readonly string[]): Promise<RunResult> =>
    runSkald([...args, "--dir", dir], { env: {} });
  expect((await alone(["db", "create", "notes"])).code).toBe(0);
  expect((await alone(["query", "notes", "CREATE TABLE t (id TEXT PRIMARY KEY, n INTEGER)"])).code).toBe(0);
  expect((await alone(["query", "notes", "INSERT INTO t VALUES ('x', 1), ('y', 2)"])).err).toMatch(
    /^2 rows changed/m,
  );
  expect((await alone(["query", "notes", "SELECT sum(n) AS s FROM t", "--csv"])).out).toBe("s\r\n3\r\n");
}, 60_000);
