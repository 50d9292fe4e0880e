import { spawn } from "node:child_process";
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { jest } from "@jest/globals";
import Database from "better-sqlite3";
import type { ChildProcess } from "node:child_process";
import { FUNCTIONS } from "../../src/query/functions.ts";
import { QueryProcesses } from "../../src/query/processes.ts";
import { startChild } from "../../src/query/query-child.ts";
import { boundsOf } from "../../src/query/queries.ts";
import { inspect, PLAIN, type Instruction } from "../../src/query/walls.ts";
import { requires } from "../support/requires.ts";
import { tablesFile } from "./tables-file.ts";

jest.setTimeout(120_000);

const LIST = readFileSync(path.resolve(import.meta.dirname, "../../fixtures/query/escapes.txt"), "utf8")
  .split("\n")
  .filter((line) => line !== "" && !line.startsWith("#"))
  .map((line) => line.split("\t") as [string, string]);

let opened: ReturnType<typeof start> | undefined;
const setting = (): ReturnType<typeof start> => (opened ??= start());

function start() {
  const { file, sqlite } = tablesFile(5);
  const dir = path.dirname(file);
  const other = new Database(path.join(dir, "other.sqlite"));
  other.exec("CREATE TABLE t (a); INSERT INTO t VALUES ('CANARY')");
  other.close();
  writeFileSync(path.join(dir, "secret.txt"), "CANARY\n");
  const children: ChildProcess[] = [];
  const processes = new QueryProcesses({
    processes: 1,
    start: (limits) => {
      const child = startChild(limits);
      children.push(child);
      return child;
    },
  });
  const say = async (sql: string): Promise<{ outcome: string; said: string }> => {
    const text = sql.replaceAll("{DIR}", dir);
    try {
      const { body } = await processes.run<object>(
        { kind: "read", principal: "p", request: { file, sql: text, args: [] } },
        boundsOf(),
      );
      return { outcome: "rows", said: body.toString() };
    } catch (error) {
      const { code, message, details } = error as { code: string; message: string; details: unknown };
      return { outcome: code, said: (message + JSON.stringify(details)).replaceAll(text, "") };
    }
  };
  const files = (): Record<string, number> =>
    Object.fromEntries(readdirSync(dir).map((name) => [name, statSync(path.join(dir, name)).size]));
  return { file, dir, sqlite, processes, children, say, files };
}

afterAll(async () => {
  await opened?.processes.close();
  opened?.sqlite.close();
});

test("the list is long enough to be worth its name", () => {
  expect(LIST.length).toBeGreaterThan(200);
  expect(new Set(LIST.map(([, sql]) => sql)).size).toBe(LIST.length);
});

test("everything on the list comes to what it says there, and tells nothing of what is behind the walls", async () => {
  const { say, files, dir, sqlite } = setting();
  const before = files();
  const found: string[] = [];
  for (const [wanted, sql] of LIST) {
    const { outcome, said } = await say(sql);
    if (outcome !== wanted) found.push(`${sql}: ${outcome} instead of ${wanted}: ${said}`);
    if (/CANARY|skald_meta|vtab:/.test(said) || (said.includes(dir) && !sql.includes("{DIR}")))
      found.push(`${sql} tells ${said}`);
  }
  expect(found).toEqual([]);
  expect(files()).toEqual(before);
  expect(sqlite.pragma("integrity_check", { simple: true })).toBe("ok");
  expect(setting().processes.stats().restarts).toBe(0);
});

test("with one line of the walls taken out, the list is not kept", async () => {
  // The same program, held against walls that let the file's own tables through.
  const { sqlite } = setting();
  const program = sqlite
    .prepare("EXPLAIN SELECT word FROM skald_secret")
    .raw()
    .all() as unknown as Instruction[];
  const root = sqlite.prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'skald_secret'").pluck().get();
  const none = { roots: new Map<number, string>(), virtual: new Map<string, string>() };
  expect(() => inspect(program, none)).toThrow(expect.objectContaining({ code: "SQL_NOT_ALLOWED" }) as Error);
  expect(inspect(program, { ...none, roots: new Map([[root as number, "skald_secret"]]) }).tables).toEqual([
    "skald_secret",
  ]);
});

test("no file is opened, made, renamed or removed but the tables file", async () => {
  requires("strace");
  const { say, children, dir, file } = setting();
  await say("SELECT 1");
  const trace = path.join(dir, "..", `${path.basename(dir)}.trace`);
  const strace = spawn(
    "strace",
    [
      "-f",
      "-p",
      String(children.at(-1)?.pid),
      "-e",
      "trace=%file,socket,connect,fork,vfork,clone,clone3,execve",
      "-o",
      trace,
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  await new Promise<void>((resolve) => strace.stderr.once("data", () => resolve()));
  for (const [, sql] of LIST) await say(sql);
  strace.kill("SIGINT");
  await new Promise((resolve) => strace.once("exit", resolve));
  const calls = readFileSync(trace, "utf8")
    .split("\n")
    .filter((line) => /\w\(/.test(line));
  // Something was seen at all: each job looks whether its file is still the one that it knows.
  expect(calls.filter((line) => line.includes(file)).length).toBeGreaterThan(LIST.length / 2);
  const outside = calls.filter(
    (line) =>
      !line.includes(`"${file}"`) && !line.includes(`"${file}-wal"`) && !line.includes(`"${file}-shm"`),
  );
  expect(outside).toEqual([]);
});

test("every function that SQLite has is on a list, and every one on a list is there", () => {
  const sqlite = new Database(":memory:");
  const there = new Set((sqlite.pragma("function_list") as { name: string }[]).map(({ name }) => name));
  sqlite.close();
  expect([...there].filter((name) => !FUNCTIONS.has(name))).toEqual([]);
  expect([...FUNCTIONS.keys()].filter((name) => !there.has(name))).toEqual([]);
});

test("no instruction that touches more than a statement's own memory passes", () => {
  const open = { roots: new Map<number, string>(), virtual: new Map<string, string>() };
  const outcome = (opcode: string): string => {
    try {
      inspect([[0, opcode, 1, 1, 1, null, 0, null]], open);
      return "passes";
    } catch (error) {
      return (error as { code: string }).code;
    }
  };
  const harmful = `OpenRead OpenWrite ReopenIdx VOpen Transaction Savepoint AutoCommit Checkpoint JournalMode Vacuum
    VUpdate VBegin VCreate VDestroy VRename VCheck Clear CreateBtree Destroy ParseSchema LoadAnalysis DropTable DropIndex
    DropTrigger SqlExec IncrVacuum SetCookie ReadCookie Pagecount MaxPgcnt IntegrityCk Program Param TableLock Expire
    FkCheck FkCounter MemMax ResetCount Function PureFunc SomethingNew`;
  expect(harmful.split(/\s+/).filter((opcode) => outcome(opcode) === "passes")).toEqual([]);
  expect([...PLAIN].filter((opcode) => outcome(opcode) !== "passes")).toEqual([]);
});

describe("what people ask passes", () => {
  test.each([
    "SELECT * FROM tasks WHERE id = 't1'",
    "SELECT done, count(*), group_concat(title, ', ' ORDER BY title) FROM tasks GROUP BY done HAVING count(*) > 0",
    "SELECT id, row_number() OVER (PARTITION BY done ORDER BY price DESC) FROM tasks",
    "SELECT id, lag(price, 1) OVER w, sum(price) OVER w FROM tasks WINDOW w AS (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)",
    "SELECT a.id FROM tasks a JOIN tasks b USING (done) WHERE a.id < b.id ORDER BY 1 LIMIT 3 OFFSET 1",
    "SELECT DISTINCT done FROM tasks UNION SELECT 3 EXCEPT SELECT 1",
    "SELECT * FROM tasks LEFT JOIN documents d ON d.key = tasks.id AND d.collection = 'tasks'",
    "SELECT * FROM tasks FULL JOIN changes c ON c.key = tasks.id",
    "SELECT value ->> '$.title' AS t FROM documents WHERE json_extract(value, '$.done') ORDER BY t COLLATE NOCASE",
    "SELECT d.key, e.value FROM documents d, json_each(d.value) e WHERE e.type = 'text'",
    "WITH RECURSIVE n(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n WHERE x < 5) SELECT group_concat(x) FROM n",
    "WITH a AS MATERIALIZED (SELECT * FROM tasks) SELECT count(*) FROM a x, a y WHERE x.id = y.title",
    "SELECT * FROM open_tasks WHERE shout LIKE 'TASK%' AND id IN ('t0', 't2', 't4')",
    "SELECT id, CASE done WHEN 1 THEN 'yes' ELSE 'no' END, CAST(price AS TEXT), price BETWEEN 0 AND 1 FROM tasks",
    "SELECT snippet(tasks_fts, 1, '<', '>', '…', 3) FROM tasks_fts WHERE tasks_fts MATCH 'task AND 1' ORDER BY rank",
    "SELECT id FROM tasks WHERE lower(title) = 'task 1'",
    "SELECT id FROM tasks WHERE (done, price) > (0, 0.5) OR id = 't0' OR title = 'task 1'",
    "SELECT * FROM (SELECT done, max(price) OVER (PARTITION BY done) m FROM tasks) WHERE m > 0",
    "SELECT percentile(price, 50), median(price), avg(price), total(price) FROM tasks",
    "SELECT count(DISTINCT title), sum(price) FILTER (WHERE done = 1) FROM tasks",
    "SELECT id FROM tasks WHERE NOT EXISTS (SELECT 1 FROM changes c WHERE c.key = tasks.id) ORDER BY random() LIMIT 2",
    "SELECT c.author, d.time FROM commits c JOIN changes d USING (seq)",
    "SELECT strftime('%Y', time), date(time, '+1 day') FROM commits",
    "SELECT * FROM schema_violations",
    "SELECT * FROM places WHERE x0 >= 1 AND x1 <= 5",
  ])("%s", async (sql) => {
    const { outcome, said } = await setting().say(sql);
    expect({ outcome, said: outcome === "rows" ? "" : said }).toEqual({ outcome: "rows", said: "" });
  });
});
