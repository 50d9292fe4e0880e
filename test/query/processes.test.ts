import { getEventListeners } from "node:events";
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import path from "node:path";
import { getPriority } from "node:os";
import type { ChildProcess } from "node:child_process";
import { jest } from "@jest/globals";
import { QueryProcesses, type ProcessesOptions } from "../../src/query/processes.ts";
import { startChild } from "../../src/query/query-child.ts";
import { boundsOf } from "../../src/query/queries.ts";
import type { Bounds } from "../../src/query/job.ts";
import { tempDir } from "../support/temp-dir.ts";
import { tablesFile } from "./tables-file.ts";

jest.setTimeout(60_000);

const ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";

/** Processes with the children that they started. */
function start(options: ProcessesOptions = {}) {
  const { file, sqlite } = tablesFile();
  const children: ChildProcess[] = [];
  const processes = new QueryProcesses({
    ...options,
    start: (limits) => {
      const child = startChild(limits);
      children.push(child);
      return child;
    },
  });
  opened.push(async () => {
    await processes.close();
    sqlite.close();
  });
  const read = async (
    sql: string,
    bounds: Partial<Bounds> = {},
    principal = "p",
    signal?: AbortSignal,
  ): Promise<{ rows: unknown[][]; seq: number; commit: string }> => {
    const request = { file, sql, args: [] };
    const { body } = await processes.run<object>(
      { kind: "read", principal, request },
      boundsOf(bounds),
      signal,
    );
    return JSON.parse(body.toString()) as { rows: unknown[][]; seq: number; commit: string };
  };
  return { file, sqlite, processes, children, read };
}

const opened: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0)) await close();
});

const isAlive = (pid: number): boolean => {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
};

async function until(done: () => boolean): Promise<void> {
  for (let tries = 0; !done(); tries++) {
    if (tries > 1000) throw new Error("It did not come to pass.");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test("an answer names the state that it was read in", async () => {
  const { read } = start();
  expect(await read("SELECT count(*) FROM tasks")).toEqual({
    columns: ["count(*)"],
    types: ["INTEGER"],
    rows: [[100]],
    row_count: 1,
    seq: 3,
    commit: "bafythree",
  });
});

test("a process starts with the first statement, has a lower priority, no environment and nothing open of the server's", async () => {
  const { read, children, processes, file } = start();
  expect(processes.stats().processes).toBe(0);
  await read("SELECT 1");
  const pid = children[0]?.pid as number;
  expect(processes.stats().processes).toBe(1);
  expect(getPriority(pid)).toBeGreaterThan(getPriority());
  const environment = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").filter(Boolean);
  expect(environment.map((line) => line.split("=")[0]).toSorted()).toEqual(
    // The shell sets PWD and its like for itself.
    expect.not.arrayContaining(["PATH", "HOME", "SKALD_TOKEN", "NODE_OPTIONS"]),
  );
  expect(
    environment.filter(
      (line) => !/^(?:PWD|OLDPWD|_|SHLVL|UV_THREADPOOL_SIZE|SQLITE_TMPDIR|TMPDIR)=/.test(line),
    ),
  ).toEqual([]);
  const files = readdirSync(`/proc/${pid}/fd`)
    .map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`))
    .filter((target) => target.startsWith("/") && !/^\/dev\/(?:null|urandom)$/.test(target));
  expect(files.map((name) => name.replace(file, "FILE")).toSorted()).toEqual(
    expect.arrayContaining(["FILE"]),
  );
  expect(files.filter((name) => !name.startsWith(file))).toEqual([]);
});

test("a statement that overruns its time ends with its process, and nobody else notices", async () => {
  const { read, children } = start();
  await read("SELECT 1");
  const long = read(ENDLESS, { ms: 300 }).catch((error: unknown) => error);
  const others = await Promise.all(Array.from({ length: 20 }, () => read("SELECT 2")));
  expect(others.every(({ rows }) => rows[0]?.[0] === 2)).toBe(true);
  expect(await long).toMatchObject({ code: "QUERY_LIMIT", details: { limit: "time", max: 300 } });
  await until(() => children.filter(({ signalCode }) => signalCode === "SIGKILL").length === 1);
  expect((await read("SELECT 3")).rows).toEqual([[3]]);
});

test("what was quick before and takes its time now does not hold up what was sent behind it", async () => {
  const { read, file, processes } = start({ processes: 1 });
  const sql =
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT ?) SELECT count(*) FROM c";
  const enough = new AbortController();
  const counted = (n: number) =>
    processes.run<object>(
      { kind: "read", principal: "p", request: { file, sql, args: [n] } },
      boundsOf({ ms: 60_000 }),
      enough.signal,
    );
  for (let seen = 0; seen < 4; seen++) {
    await counted(1);
    await read("SELECT 1");
  }
  const long = expect(counted(1e12)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  const behind = await Promise.all([1, 2, 3].map(() => read("SELECT 1", { ms: 60_000 })));
  expect(behind.map(({ rows }) => rows)).toEqual([[[1]], [[1]], [[1]]]);
  expect(processes.stats().running).toBe(1);
  enough.abort();
  await long;
});

test("memory beyond the bound fails the statement alone", async () => {
  const { read } = start({ processes: 1 });
  const beyond = { code: "QUERY_LIMIT", details: { limit: "memory" } };
  await expect(read("SELECT hex(zeroblob(200000000))")).rejects.toMatchObject(beyond);
  await expect(
    read("SELECT group_concat(hex(zeroblob(20000000))) FROM (SELECT * FROM tasks LIMIT 9)"),
  ).rejects.toMatchObject(beyond);
  expect((await read("SELECT 1")).rows).toEqual([[1]]);
});

test("a process that is killed fails its job and is replaced", async () => {
  const { read, children } = start({ processes: 1 });
  await read("SELECT 1");
  const doomed = expect(read(ENDLESS)).rejects.toMatchObject({ code: "QUERY_LIMIT" });
  children[0]?.kill("SIGKILL");
  const other = read("SELECT 4");
  await doomed;
  expect((await other).rows).toEqual([[4]]);
  expect(children).toHaveLength(2);
});

test("who asks for much waits for himself", async () => {
  const { read } = start({ processes: 1 });
  await read("SELECT 1");
  const order: string[] = [];
  const slow = "SELECT count(*) FROM tasks a, tasks b, tasks c WHERE a.id || b.id || c.id = ?1";
  const many = Array.from({ length: 6 }, (_, n) =>
    read(slow.replace("?1", `'${n}'`), {}, "many").then(() => order.push("many")),
  );
  const one = read(slow.replace("?1", "'x'"), {}, "one").then(() => order.push("one"));
  await Promise.all([...many, one]);
  expect(order.indexOf("one")).toBeLessThan(4);
});

test("work that nobody waits for any more is given up", async () => {
  const { read, processes, children } = start({ processes: 1 });
  await read("SELECT 1");
  const gone = new AbortController();
  const left = read(ENDLESS, {}, "p", gone.signal);
  setTimeout(() => gone.abort(), 50);
  await expect(left).rejects.toMatchObject({ code: "UNAVAILABLE" });
  await until(() => processes.stats().running === 0);
  await until(() => children[0]?.signalCode === "SIGKILL");
});

test("a signal that outlives its statements is listened to for none of them", async () => {
  const { read } = start({ processes: 1 });
  const { signal } = new AbortController();
  for (let n = 0; n < 3; n++) await read("SELECT 1", {}, "p", signal);
  expect(getEventListeners(signal, "abort")).toEqual([]);
});

test("closing ends what runs and what waits, and leaves no process", async () => {
  const { read, processes, children } = start();
  await read("SELECT 1");
  const all = Promise.allSettled(Array.from({ length: 10 }, () => read(ENDLESS)));
  await until(() => processes.stats().running > 0);
  await processes.close();
  expect((await all).map((one) => (one as { reason?: { code: string } }).reason?.code)).toEqual(
    Array.from({ length: 10 }, () => "UNAVAILABLE"),
  );
  expect(children.filter(({ pid }) => isAlive(pid as number))).toEqual([]);
  await expect(read("SELECT 1")).rejects.toMatchObject({ code: "UNAVAILABLE" });
});

test("a file that takes the place of another is the one that is read from then on", async () => {
  const { read, file, sqlite } = start({ processes: 1 });
  expect((await read("SELECT count(*) FROM tasks")).rows).toEqual([[100]]);
  const { renameSync, rmSync } = await import("node:fs");
  const other = tablesFile(7, path.join(tempDir(), "tables.sqlite"));
  other.sqlite.pragma("wal_checkpoint(TRUNCATE)");
  other.sqlite.close();
  sqlite.close();
  for (const name of [`${file}-wal`, `${file}-shm`]) rmSync(name, { force: true });
  renameSync(other.file, file);
  expect((await read("SELECT count(*) FROM tasks")).rows).toEqual([[7]]);
});

test("a change of the schema is seen, and what was looked through before is looked through again", async () => {
  const { read, sqlite } = start({ processes: 1 });
  expect((await read("SELECT * FROM open_tasks LIMIT 1")).rows).toEqual([["t0", "TASK 0"]]);
  sqlite.exec("DROP VIEW open_tasks; CREATE VIEW open_tasks AS SELECT word FROM skald_secret");
  await expect(read("SELECT * FROM open_tasks LIMIT 1")).rejects.toMatchObject({ code: "SQL_NOT_ALLOWED" });
});
