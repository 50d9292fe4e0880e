import { spawnSync } from "node:child_process";
import path from "node:path";
import { tempDir } from "../support/temp-dir.ts";
import { EXPECTED, isExpected, isExpectedFailure } from "./expected.mjs";
import { judgeDescriptors, judgeMemory, judgeStarts, judgeWal, leastSquares } from "./judge.mjs";
import { lineChart } from "./charts.mjs";

/** One life of half an hour, looked at every five seconds, with garbage that comes and goes. */
const life = (rssAt: (age: number) => number, seconds = 1800, number = 1) =>
  Array.from({ length: seconds / 5 }, (_, i) => ({
    t: i * 5000,
    life: number,
    age: i * 5,
    rss: rssAt(i * 5) + ((i * 7) % 11) * 6,
  }));

describe("the slope of memory", () => {
  test("is that of the line through the samples", () => {
    const fit = leastSquares([0, 1, 2, 3].map((x) => ({ x, y: 5 + 2 * x })));
    expect(fit.slope).toBeCloseTo(2);
    expect(fit.intercept).toBeCloseTo(5);
    expect(fit.error).toBeCloseTo(0);
  });

  test("of a server that only fills its caches passes", () => {
    const { wrong, lives } = judgeMemory(life((age) => 200 + Math.min(200, age)));
    expect(wrong).toEqual([]);
    expect(lives).toHaveLength(1);
  });

  test("of one that leaks 300 MiB an hour does not", () => {
    const { wrong } = judgeMemory(life((age) => 200 + (300 * age) / 3600));
    expect(wrong).toEqual([
      expect.stringMatching(/in life 1 memory rose by (2[89]\d|30\d|31\d) MiB an hour/),
    ]);
  });

  test("is not judged in a life that was too short", () => {
    expect(judgeMemory(life((age) => 200 + age, 1000)).lives).toEqual([]);
  });

  test("does not matter above the ceiling", () => {
    expect(judgeMemory(life(() => 1600)).wrong).toEqual([expect.stringContaining("more than 1536")]);
  });

  test("is also that of the starts", () => {
    const starts = (rise: number) =>
      Array.from({ length: 20 }, (_, i) => ({ t: i * 60_000, rss: 150 + rise * i + (i % 3) }));
    expect(judgeStarts(starts(0)).wrong).toEqual([]);
    expect(judgeStarts(starts(10)).wrong).toHaveLength(1);
  });
});

describe("descriptors in quiet moments", () => {
  const quiets = (fdsAt: (i: number) => number) =>
    Array.from({ length: 10 }, (_, i) => ({ life: 1, fds: fdsAt(i), base: 28 }));

  test("may be those of open dbs", () => {
    expect(
      judgeDescriptors(
        quiets((i) => 60 + (i % 4) * 9),
        { allowance: 76 },
      ).wrong,
    ).toEqual([]);
  });

  test("may not be more", () => {
    expect(judgeDescriptors([{ life: 1, fds: 28 + 77, base: 28 }], { allowance: 76 }).wrong).toHaveLength(1);
  });

  test("may not rise from one to the next", () => {
    const { wrong } = judgeDescriptors(
      quiets((i) => 40 + i * 6),
      { allowance: 76 },
    );
    expect(wrong).toEqual([expect.stringContaining("rose by 54")]);
  });
});

test("a write-ahead log that no checkpoint moves is seen", () => {
  const samples = (mib: number) => [
    { wal: { "log.sqlite-wal": mib * 2 ** 20, "views.sqlite-wal": 4 * 2 ** 20 } },
  ];
  expect(judgeWal(samples(20)).wrong).toEqual([]);
  expect(judgeWal(samples(60)).wrong).toEqual(["log.sqlite-wal grew to 60.0 MiB, more than 48"]);
});

describe("answers", () => {
  test("that nobody expects are not excused by what goes on", () => {
    const every = ["stopping", "full", "brim", "paused", "flood", "deleting", "restart"];
    for (const kind of Object.keys(EXPECTED)) {
      expect({ kind, expected: isExpected(kind, "500 INTERNAL", every) }).toEqual({ kind, expected: false });
      expect({ kind, expected: isExpected(kind, "503 STORAGE_FAILED", every) }).toEqual({
        kind,
        expected: false,
      });
    }
    expect(isExpectedFailure({ err: { code: "INTERNAL" } }, every)).toBe(false);
    expect(isExpectedFailure({ err: { code: "STORAGE_FAILED" } }, every)).toBe(false);
    expect(isExpectedFailure({ msg: "failure" }, every)).toBe(false);
  });

  test("of a full disk are for writes, and for reads only when it is full to the brim", () => {
    expect(isExpected("doc.put", "507 STORAGE_FULL", [])).toBe(false);
    expect(isExpected("doc.put", "507 STORAGE_FULL", ["full"])).toBe(true);
    expect(isExpected("doc.read", "507 STORAGE_FULL", ["full"])).toBe(false);
    expect(isExpected("doc.read", "507 STORAGE_FULL", ["full", "brim"])).toBe(true);
  });

  test("to what is in no table are a mistake of the soak", () => {
    expect(() => isExpected("doc.unheard-of", "200")).toThrow("doc.unheard-of");
  });
});

test("a chart breaks its line between two lives", () => {
  const samples = [1, 1, 2, 2].map((number, i) => ({ t: i * 1000, life: number, rss: 100 + i }));
  const svg = lineChart({
    title: "Memory",
    unit: "MiB",
    series: [{ name: "rss", of: (s) => s.rss }],
    samples,
  });
  expect(svg?.match(/<path d="([^"]+)"/)?.[1]?.match(/M/g)).toHaveLength(2);
});

test("the programmes are listed, and one that is not there is named", () => {
  const main = path.join(import.meta.dirname, "main.mjs");
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [main, ...args], { encoding: "utf8", cwd: tempDir() });
  expect(run("--list").stdout).toContain("SKALD_TEST_STATES=1000000");
  const unknown = run("--programmes", "nothing");
  expect(unknown.status).not.toBe(0);
  expect(unknown.stderr).toContain("no such programme: nothing");
});
