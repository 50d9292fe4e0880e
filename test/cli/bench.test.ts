import { once } from "node:events";
import { measure, quantile } from "../../src/cli/bench-run.ts";
import { CliError } from "../../src/cli/failure.ts";
import { runSkald, startServer, startSkald, type SkaldServer } from "../support/skald-process.ts";
import { tempDir } from "../support/temp-dir.ts";

let server: SkaldServer;

beforeAll(async () => {
  server = await startServer(tempDir());
});

async function ask(method: string, path: string): Promise<unknown> {
  const answer = await fetch(`${server.url}/api/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${server.token}` },
  });
  return answer.status === 204 ? undefined : answer.json();
}

async function dbs(): Promise<string[]> {
  return ((await ask("GET", "/db")) as { dbs: { db: string }[] }).dbs.map(({ db }) => db);
}

/** A measurement that is under way, and the db it is in. */
async function underWay() {
  const child = startSkald(["bench", "--seconds", "60", "--dir", server.dir]);
  let err = "";
  child.stderr.on("data", (part: Buffer) => (err += part.toString()));
  const closed = once(child, "close");
  let [db] = await dbs();
  while (db === undefined) [db] = await dbs();
  return { child, db, ended: async () => ({ code: ((await closed) as [number | null])[0], err }) };
}

test("each step is measured, in a db that is gone afterwards", async () => {
  const flags = ["--seconds", "0.1", "--connections", "4", "--dir", server.dir];
  const json = await runSkald(["bench", "--json", ...flags, "--seconds", "0.2"]);
  expect(json.code).toBe(0);
  const rows = json.out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, number>);
  expect(rows).toMatchObject([
    { step: "one write at a time", connections: 1 },
    { step: "create", connections: 4 },
    { step: "change", connections: 4 },
    { step: "read", connections: 4 },
    { step: "transaction of 2", connections: 4 },
  ]);
  for (const { requests, per_second, p50_ms, p99_ms } of rows) {
    expect(Math.min(requests as number, per_second as number, p50_ms as number)).toBeGreaterThan(0);
    expect(p99_ms).toBeGreaterThanOrEqual(p50_ms as number);
  }
  const { code, out } = await runSkald(["bench", ...flags]);
  expect(code).toBe(0);
  expect(out.split("\n")[0]).toMatch(/^step +connections +requests +per second +p50 ms +p99 ms$/);
  expect(out.trim().split("\n")).toHaveLength(6);
  expect(await dbs()).toEqual([]);
});

test("Ctrl-C deletes the db and ends with 130", async () => {
  const { child, ended } = await underWay();
  child.kill("SIGINT");
  expect(await ended()).toMatchObject({ code: 130 });
  expect(await dbs()).toEqual([]);
});

test("a measurement that fails says why and ends with 1", async () => {
  const { db, ended } = await underWay();
  await ask("DELETE", `/db/${db}?confirm=${db}`);
  expect(await ended()).toMatchObject({ code: 1, err: expect.stringContaining("DB_NOT_FOUND") });
  expect(await dbs()).toEqual([]);
});

test("wrong numbers are wrong usage", async () => {
  const wrong = ["--seconds=0", "--connections=1.5"];
  const results = await Promise.all(wrong.map((flag) => runSkald(["bench", flag, "--dir", server.dir])));
  expect(results.map(({ code }) => code)).toEqual([2, 2]);
});

test("a request that is put off is counted apart, and a failure ends all connections", async () => {
  let calls = 0;
  let stopped = false;
  const load = { connections: 2, seconds: 60, stopped: () => stopped, onRequest: () => {} };
  const request = async (): Promise<void> => {
    calls += 1;
    if (calls === 1) throw new CliError("WORK_BUSY", "later");
    if (calls >= 20) stopped = true;
    await Promise.resolve();
  };
  const { requests, refused } = await measure({ ...load, request });
  expect({ requests, refused }).toEqual({ requests: calls - 1, refused: 1 });
  stopped = false;
  const failing = measure({ ...load, request: () => Promise.reject(new CliError("DISK_FULL", "full")) });
  await expect(failing).rejects.toMatchObject({ code: "DISK_FULL" });
});

test("a quantile is one of the values", () => {
  const values = Array.from({ length: 100 }, (_, i) => i + 1);
  expect([quantile(values, 0.5), quantile(values, 0.99), quantile([7], 0.99), quantile([], 0.5)]).toEqual([
    50, 99, 7, 0,
  ]);
});
