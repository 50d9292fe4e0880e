import { jest } from "@jest/globals";
import type { Db } from "../../src/db/db.ts";
import { Engine } from "../../src/db/engine.ts";
import { openQueries } from "../../src/query/open.ts";
import type { Args } from "../../src/query/args.ts";
import { tempDir } from "../support/temp-dir.ts";

jest.setTimeout(60_000);

async function start() {
  const errors: unknown[] = [];
  const engine = new Engine({ dir: tempDir(), onError: (error) => errors.push(error) });
  const sql = openQueries({ engine, onError: (error) => errors.push(error), processes: 1 });
  await engine.create("d");
  return {
    ...sql,
    errors,
    use: <T>(work: (db: Db) => Promise<T>) => engine.use("d", work),
    stop: async () => {
      await sql.processes.close();
      sql.queries.close();
      await engine.close();
      await sql.tables.close();
    },
  };
}

let service: Awaited<ReturnType<typeof start>>;
beforeAll(async () => {
  service = await start();
  await service.use(async (db) => {
    await db.tx({
      author: "me",
      writes: Array.from({ length: 500 }, (_, n) => ({
        doc: `tasks/t${n}`,
        edit: put({ title: `task ${n}`, done: n % 2 === 1, note: n === 7 ? 'a "quoted", line\n' : "" }),
      })),
    });
    await service.queries.exec(db, {
      ...ME,
      sql: "CREATE TABLE tasks (id TEXT PRIMARY KEY, title TEXT NOT NULL, done INTEGER DEFAULT 0, note TEXT)",
    });
  });
});
afterAll(() => service.stop());

function put(value: unknown) {
  return { kind: "put", value: JSON.stringify(value) } as const;
}
const ME = { author: "me", principal: "p" };

const exec = (sql: string, args: Args = []): Promise<Record<string, unknown>> =>
  service.use(async (db) => {
    const { json } = await service.queries.exec(db, { ...ME, sql, args });
    return JSON.parse(Buffer.from(json as string).toString()) as Record<string, unknown>;
  });

async function rowsOf(format: "csv" | "ndjson", sql: string, args: Args = []): Promise<string> {
  return service.use(async (db) => {
    const { pages } = await service.queries.stream(db, { ...ME, sql, args, format });
    let text = "";
    for await (const page of pages) text += Buffer.from(page).toString();
    return text;
  });
}

test("an answer has what is in the documents, and names the commit that it holds for", async () => {
  const head = await service.use((db) => Promise.resolve(db.log.head().seq));
  expect(
    await exec("SELECT id, done, typeof(done) AS t FROM tasks WHERE title = :title", { title: "task 3" }),
  ).toEqual({
    columns: ["id", "done", "t"],
    types: ["TEXT", "INTEGER", "TEXT"],
    rows: [["t3", 1, "integer"]],
    row_count: 1,
    seq: head,
    commit: expect.stringMatching(/^b/) as string,
  });
});

test("what was written before is read, also by what is read in the server itself", async () => {
  const sql = "SELECT title FROM tasks WHERE id = ?";
  for (let n = 0; n < 5; n++) {
    await service.use((db) =>
      db.tx({ author: "me", writes: [{ doc: "tasks/own", edit: put({ title: `v${n}` }) }] }),
    );
    expect((await exec(sql, ["own"]))["rows"]).toEqual([[`v${n}`]]);
  }
});

test("a row by its key needs no process once one has proved that it is bounded, and says the same", async () => {
  const other = await start();
  try {
    await other.use(async (db) => {
      await db.tx({ author: "me", writes: [{ doc: "a/b", edit: put({ n: 1 }) }] });
      const read = async (sql: string) =>
        Buffer.from(
          (await other.queries.exec(db, { ...ME, sql, args: ["a", "b"] })).json as string,
        ).toString();
      const bounded = "SELECT value, seq FROM documents WHERE collection = ? AND key = ?";
      const from = await read(bounded);
      const unbounded = bounded.replace("seq", "random()");
      await read(unbounded);
      await other.processes.close();
      expect(await read(bounded)).toBe(from);
      await expect(read(unbounded)).rejects.toMatchObject({ code: "UNAVAILABLE" });
      // What is wrong with the arguments is said here, too, and the walls stand here as well.
      await expect(other.queries.exec(db, { ...ME, sql: bounded, args: [1] })).rejects.toMatchObject({
        code: "SQL_ERROR",
      });
    });
  } finally {
    await other.stop();
  }
});

test("numbers, bytes and names come and go exactly", async () => {
  const { rows } = await exec("SELECT ?1, ?2, ?3, ?4, ?5, ?1 + 1", [
    9007199254740993n,
    { "/": { bytes: "AP8" } },
    true,
    [1, { a: 2 }],
    null,
  ]);
  // The digits are exact in the text; JSON.parse rounds them.
  expect(JSON.stringify(rows)).toBe(
    '[[9007199254740992,{"/":{"bytes":"AP8"}},1,"[1,{\\"a\\":2}]",null,9007199254740994]]',
  );
  const text = await service.use(async (db) =>
    Buffer.from(
      (
        await service.queries.exec(db, {
          ...ME,
          sql: "SELECT 9007199254740993, 9e18, 9e999, -0.0, 7 / 2, 1.5",
        })
      ).json as string,
    ).toString(),
  );
  expect(text).toContain('"rows":[[9007199254740993,9e+18,null,-0,3,1.5]]');
  await expect(exec("SELECT ?", [])).rejects.toMatchObject({ code: "SQL_ERROR" });
  await expect(exec("SELECT :a", { b: 1 })).rejects.toMatchObject({ code: "SQL_ERROR" });
  expect((await exec("SELECT :a, $b, @c", { ":a": 1, b: 2, "@c": 3 }))["rows"]).toEqual([[1, 2, 3]]);
});

test("rows come as CSV and as lines, whole and in order", async () => {
  const csv = await rowsOf(
    "csv",
    "SELECT id, note, NULL AS n FROM tasks WHERE id IN ('t7', 't8') ORDER BY id",
  );
  expect(csv).toBe('id,note,n\r\nt7,"a ""quoted"", line\n",\r\nt8,"",\r\n');
  const lines = await rowsOf(
    "ndjson",
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT ?) SELECT x, x AS x FROM c",
    [4000],
  );
  expect(
    lines
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as unknown),
  ).toEqual(Array.from({ length: 4000 }, (_, n) => ({ x: n + 1, x_2: n + 1 })));
});

test("a reader that goes away ends the work, and others go on", async () => {
  await service.use(async (db) => {
    const { pages } = await service.queries.stream(db, {
      ...ME,
      sql: "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c",
      format: "ndjson",
      bounds: { rows: 1e9, bytes: 1e12, ms: 20_000 },
    });
    let taken = 0;
    for await (const page of pages) {
      taken += page.byteLength;
      if (taken > 200_000) break;
    }
    expect(service.processes.stats().running).toBe(0);
  });
  expect((await exec("SELECT 5"))["rows"]).toEqual([[5]]);
});

test("the names that an editor completes are those that can be named", async () => {
  const { tables } = await service.use((db) => service.queries.names(db, "p"));
  expect(tables.map(({ name }) => name)).toEqual([
    "changes",
    "commits",
    "documents",
    "schema_violations",
    "tasks",
  ]);
  expect(tables.at(-1)).toEqual({
    name: "tasks",
    type: "table",
    columns: [
      { name: "id", type: "TEXT", key: true },
      { name: "title", type: "TEXT", key: false },
      { name: "done", type: "INTEGER", key: false },
      { name: "note", type: "TEXT", key: false },
    ],
    indexes: [],
  });
});

test("nothing failed behind anybody's back", () => {
  expect(service.errors).toEqual([]);
});
