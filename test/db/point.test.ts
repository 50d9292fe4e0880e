import { parseTime, resolvePoint } from "../../src/db/point.ts";
import { CODEC_RAW, cidOf, cidToString } from "../../src/ids/cid.ts";
import { realWorld } from "../../src/world.ts";
import { tempDir } from "../support/temp-dir.ts";
import { copyOf, createLog, lastChange, set, tx, write, ACTORS } from "../log/fixture.ts";

describe("a time as text", () => {
  test.each([
    ["2026-03-01T12:00:00Z", Date.UTC(2026, 2, 1, 12)],
    ["2026-03-01t12:00:00z", Date.UTC(2026, 2, 1, 12)],
    ["2026-03-01 12:00:00Z", Date.UTC(2026, 2, 1, 12)],
    ["2026-03-01T12:00:00.25Z", Date.UTC(2026, 2, 1, 12, 0, 0, 250)],
    ["2026-03-01T12:00:00+02:30", Date.UTC(2026, 2, 1, 9, 30)],
    ["2026-03-01T12:00:00 02:30", Date.UTC(2026, 2, 1, 9, 30)],
    ["2024-02-29T00:00:00-01:00", Date.UTC(2024, 1, 29, 1)],
  ])("%s is that moment", (text, time) => {
    expect(parseTime(text)).toBe(time);
  });

  test.each([
    "",
    "yesterday",
    "2026-03-01",
    "2026-03-01T12:00:00",
    "2026-02-31T12:00:00Z",
    "2026-03-01T24:00:00Z",
    "2026-03-01T12:60:00Z",
    "2026-03-01T12:00:00+99:99",
    "20260301T120000Z",
    " 2026-03-01T12:00:00Z",
    "2026-03-01T12:00:00Z\n",
  ])("%j is none", (text) => {
    expect(parseTime(text)).toBeUndefined();
  });
});

describe("a point", () => {
  const root = tempDir();
  const START = Date.UTC(2026, 0, 1);

  /** Three commits of one document, a second apart. */
  async function three() {
    let now = START;
    const opened = createLog(root, { world: { ...realWorld, now: () => now } });
    let doc = copyOf(opened.log, "c/a", ACTORS[0]);
    const commits: string[] = [];
    const changes: string[] = [];
    for (let i = 1; i <= 3; i += 1) {
      doc = set(doc, { i });
      const bytes = lastChange(doc);
      commits.push((await opened.log.write(tx(write("c/a", [bytes])))).commit);
      changes.push(cidToString(cidOf(CODEC_RAW, bytes)));
      now += 1000;
    }
    now = START + 60_000;
    return { log: opened.log, commits, changes };
  }

  const code = (work: () => unknown): unknown => {
    try {
      return work();
    } catch (error) {
      return (error as { code?: unknown }).code;
    }
  };

  test("is the head, a seq, a commit's address, or the last commit at or before a time", async () => {
    const { log, commits } = await three();
    const time = (ms: number): string => new Date(START + ms).toISOString();
    expect(resolvePoint(log, undefined)).toBe(3);
    expect(["0", "1", "3"].map((at) => resolvePoint(log, at))).toEqual([0, 1, 3]);
    expect(commits.map((at) => resolvePoint(log, at))).toEqual([1, 2, 3]);
    expect([-1, 0, 999, 1000, 1999, 2000, 60_000].map((ms) => resolvePoint(log, time(ms)))).toEqual([
      0, 1, 1, 2, 2, 3, 3,
    ]);
    expect(code(() => resolvePoint(log, time(60_001)))).toBe("POINT_IN_FUTURE");
    await log.close();
  });

  test("that is not there is named as what it is", async () => {
    const { log, commits, changes } = await three();
    expect(code(() => resolvePoint(log, "4"))).toBe("POINT_IN_FUTURE");
    expect(code(() => resolvePoint(log, "999999999999999"))).toBe("POINT_IN_FUTURE");
    expect(code(() => resolvePoint(log, "9999-12-31T00:00:00Z"))).toBe("POINT_IN_FUTURE");
    for (const at of ["", "-1", "1.5", "1e3", "head", "2026-13-01T00:00:00Z", "1234567890123456"])
      expect(code(() => resolvePoint(log, at))).toBe("POINT_INVALID");
    // The address of a change is no point, though the log knows the commit that holds it.
    expect(code(() => resolvePoint(log, changes[1]))).toBe("COMMIT_NOT_FOUND");
    const other = await three();
    expect(code(() => resolvePoint(log, other.commits[0]))).toBe("COMMIT_NOT_FOUND");
    expect(resolvePoint(other.log, other.commits[0])).toBe(1);
    expect(code(() => resolvePoint(log, commits[0]?.slice(0, -1)))).not.toBe(1);
    await log.close();
    await other.log.close();
  });
});
