import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { jest } from "@jest/globals";
import { QueryProcesses } from "../../src/query/processes.ts";
import { boundsOf } from "../../src/query/queries.ts";
import { seedOf, seeded } from "../support/fault-process.ts";
import { tablesFile } from "./tables-file.ts";

jest.setTimeout(3_600_000);

const asked = process.env["SKALD_TEST_BOMBS"];
const COUNT = Number(asked ?? 12);
const MS = asked === undefined ? 150 : 300;

/** Statements that would take all of something, of a size that is drawn. */
const BOMBS: readonly ((size: number) => string)[] = [
  () => "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c",
  () => "WITH RECURSIVE c(x) AS (SELECT 1 UNION SELECT x + 1 FROM c) SELECT max(x) FROM c",
  (n) =>
    `WITH RECURSIVE c(x) AS (SELECT '${"x".repeat(n)}' UNION ALL SELECT x || x FROM c) SELECT length(x) FROM c`,
  (n) => `SELECT hex(zeroblob(${n * 1_000_000}))`,
  (n) => `SELECT hex(randomblob(${n * 1_000_000}))`,
  (n) => `SELECT printf('%.*c', ${n * 10_000_000}, 'x')`,
  (n) => `SELECT printf('%*d', ${n * 10_000_000}, 1)`,
  (n) => `SELECT replace(hex(zeroblob(${n * 10_000})), '0', hex(zeroblob(10000)))`,
  (n) => `SELECT replace(printf('%.${n * 1000}c', 'x'), 'x', printf('%.100000c', 'y'))`,
  () => "SELECT group_concat(a.value || b.value || c.value) FROM documents a, documents b, documents c",
  () => "SELECT json_group_array(a.value) FROM documents a, documents b, documents c",
  () =>
    "SELECT json_group_object(a.key || b.key || c.key, a.value) FROM documents a, documents b, documents c",
  () =>
    "SELECT a.value FROM documents a, documents b, documents c, documents d ORDER BY a.value || d.key DESC LIMIT 1",
  () =>
    "SELECT DISTINCT a.value || b.key || c.key || d.key FROM documents a, documents b, documents c, documents d LIMIT 1 OFFSET 90000000",
  () =>
    "SELECT count(*) FROM documents a, documents b, documents c, documents d WHERE a.key || b.key LIKE '%' || c.key || d.key",
  (n) => `SELECT '${"a".repeat(n * 100)}' LIKE '${"%a".repeat(n * 20)}b'`,
  (n) => `SELECT '${"a".repeat(n * 100)}' GLOB '${"*a".repeat(n * 20)}b'`,
  (n) => `SELECT ${"(".repeat(n * 10)}1${")".repeat(n * 10)}`,
  (n) => `SELECT ${"NOT ".repeat(n * 20)}1`,
  (n) => `SELECT 1 ${"+ 1 ".repeat(n * 100)}`,
  (n) => `SELECT 1 IN (${Array.from({ length: n * 100 }, (_, i) => i).join()})`,
  (n) =>
    `SELECT ${Array.from({ length: n * 20 }, (_, i) => `(SELECT count(*) FROM documents d${i})`).join()}`,
  (n) =>
    `SELECT 1 FROM ${Array.from({ length: 2 + (n % 70) }, (_, i) => `documents d${i}`).join()} WHERE 0 + d0.seq`,
  (n) => `SELECT 1 ${"UNION ALL SELECT 1 ".repeat(n * 20)}`,
  (n) => `SELECT json('${"[".repeat(n * 100)}${"]".repeat(n * 100)}')`,
  (n) =>
    `SELECT count(*) FROM json_tree(json_array(${Array.from({ length: n }, () => "(SELECT json_group_array(value) FROM documents)").join()})), documents, documents`,
  (n) =>
    `WITH ${Array.from({ length: 1 + (n % 40) }, (_, i) => `c${i} AS (SELECT * FROM ${i === 0 ? "documents" : `c${i - 1} x, c${i - 1} y`})`).join()} SELECT count(*) FROM c${n % 40}`,
  () =>
    "SELECT sum(1) OVER (ORDER BY a.key || b.key || c.key ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM documents a, documents b, documents c",
  (n) =>
    `SELECT * FROM tasks_fts WHERE tasks_fts MATCH '${Array.from({ length: n * 20 }, () => "task*").join(" OR ")}'`,
  () => "SELECT value FROM documents a, (SELECT 1 FROM documents, documents)",
];

test("a statement that would take everything ends at its bound, and the server stays as small as it was", async () => {
  const seed = seedOf();
  const next = seeded(seed);
  const { file, sqlite } = tablesFile(300);
  const processes = new QueryProcesses();
  const run = (sql: string, ms = 60_000) =>
    processes.run<object>(
      { kind: "read", principal: "p", request: { file, sql, args: [] } },
      boundsOf({ ms }),
    );
  const outcomes = new Map<string, number>();
  let late = 0;
  try {
    await run("SELECT 1");
    const before = process.memoryUsage();
    let most = 0;
    for (let n = 0; n < COUNT; n++) {
      const bomb = BOMBS[asked === undefined ? Math.floor((n * BOMBS.length) / COUNT) : n % BOMBS.length];
      const sql = (bomb as (size: number) => string)(1 + Math.floor(next() * 100));
      // A process that was ended is replaced with the next statement, which this one need not wait for.
      await run("SELECT 1");
      const from = performance.now();
      const outcome = await run(sql, MS).then(
        () => "rows",
        (error: unknown) => {
          const { code, details } = error as { code: string; details: { limit?: string } };
          return details.limit === undefined ? code : `${code} ${details.limit}`;
        },
      );
      late = Math.max(late, performance.now() - from - MS);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      const now = process.memoryUsage();
      most = Math.max(most, now.external + now.arrayBuffers - before.external - before.arrayBuffers);
    }
    if (asked !== undefined)
      process.stderr.write(
        `${COUNT} bombs, seed ${seed}: ${JSON.stringify(Object.fromEntries(outcomes))}, at most ${late.toFixed(0)} ms after ${MS} ms, ${(most / 2 ** 20).toFixed(1)} MiB more\n`,
      );
    expect({ seed, most: most < 32 * 2 ** 20 }).toEqual({ seed, most: true });
    expect(
      [...outcomes.keys()].filter(
        (outcome) => !/^(?:rows|QUERY_LIMIT \w+|SQL_ERROR|TOO_LARGE)$/.test(outcome),
      ),
    ).toEqual([]);
    expect(outcomes.get("QUERY_LIMIT time")).toBeGreaterThan(0);
    expect(JSON.parse((await run("SELECT 7")).body.toString())).toMatchObject({ rows: [[7]] });
  } finally {
    await processes.close();
    sqlite.close();
  }
});

test("a process whose server was killed in the middle of a statement ends by itself", async () => {
  const { file, sqlite } = tablesFile(3);
  const dist = path.resolve(import.meta.dirname, "../../dist/query/processes.js");
  const script = `
    import { QueryProcesses } from ${JSON.stringify(dist)};
    import { startChild } from ${JSON.stringify(dist.replace("processes.js", "query-child.js"))};
    const processes = new QueryProcesses({ start: (limits) => { const child = startChild(limits); console.log(child.pid); return child; } });
    const sql = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";
    await processes.run({ kind: "read", principal: "p", request: { file: ${JSON.stringify(file)}, sql, args: [] } }, { ms: 600000, rows: 1, bytes: 100 });
  `;
  const server = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const pid = Number(
    await new Promise<string>((resolve) => server.stdout.once("data", (said) => resolve(String(said)))),
  );
  const busy = () => Number(readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1]?.split(" ")[11]);
  // It is inside of the statement: its processor time grows without end.
  while (busy() < 60) await new Promise((resolve) => setTimeout(resolve, 50));
  server.kill("SIGKILL");
  const gone = (): boolean => {
    try {
      return / Z /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
    } catch {
      return true;
    }
  };
  for (let tries = 0; !gone(); tries++) {
    if (tries > 400) throw new Error("It still runs.");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  sqlite.close();
});
