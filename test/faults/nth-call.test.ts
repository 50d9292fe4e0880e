import { rmSync } from "node:fs";
import { seedOf, seeded } from "../support/fault-process.ts";
import { wrongAfter } from "../support/nth-check.ts";
import { NthRunner, everyFault, spread, type Result, type Run } from "../support/nth-runs.ts";
import { requires } from "../support/requires.ts";
import { tempDir } from "../support/temp-dir.ts";

/** Runs of each workload; SKALD_TEST_FAULTS has another sum of them, or "all". */
const SHARES = { life: 30, recovery: 10, older: 4, service: 8, projection: 8 } as const;
const SUM = Object.values(SHARES).reduce((sum, share) => sum + share, 0);
const asked = process.env["SKALD_TEST_FAULTS"];
const FACTOR = asked === undefined ? 1 : asked === "all" ? Number.POSITIVE_INFINITY : Number(asked) / SUM;
const seed = seedOf();

/** Everything that was wrong with a run, or nothing. */
async function told(result: Result): Promise<string | undefined> {
  const wrong = [...result.violations];
  if (result.workload !== "projection") wrong.push(...(await wrongAfter(result)));
  if (wrong.length === 0) return undefined;
  const { workload, nth, fault, forever, struck, steps } = result;
  return JSON.stringify({ seed, workload, nth, fault, forever, struck, steps, wrong }, null, 2);
}

requires("cc")("the Nth call that fails", () => {
  test.each(Object.entries(SHARES))(
    "in the workload %s: right codes, nothing acknowledged lost, healed or stopped (%i runs)",
    async (workload, share) => {
      const random = seeded(seed);
      const checker = process.cpuUsage();
      const root = tempDir();
      const runner = new NthRunner(root);
      const sound = await runner.run({ workload, count: true });
      expect(await told(sound)).toBeUndefined();
      expect(sound.steps).toEqual([]);
      const runs = spread(everyFault(workload, sound.trace ?? []), Math.round(share * FACTOR), random);
      let { cpu } = sound;
      const tally: Record<string, number> = {};
      const failures: string[] = [];
      for (const run of runs) {
        const result = await runner.run(run);
        ({ cpu } = result);
        const wrong = await told({ ...result, ...run });
        if (wrong !== undefined) failures.push(wrong);
        const ended = result.hits === 0 ? "not met" : (result.steps[0]?.split(" ").at(-1) ?? "unnoticed");
        tally[`${run.fault} ${ended}`] = (tally[`${run.fault} ${ended}`] ?? 0) + 1;
        rmSync(result.dir, { recursive: true, force: true });
        if (failures.length >= 5) break;
      }
      expect(await runner.end()).toBe("");
      if (asked !== undefined) {
        const { user, system } = process.cpuUsage(checker);
        const seconds = (user + system + cpu.user + cpu.system) / 1e6;
        process.stderr.write(
          `${workload}: ${sound.calls} calls, ${runs.length} runs, ${JSON.stringify(tally)}, ${seconds.toFixed(1)} s of CPU\n`,
        );
      }
      expect(failures.join("\n")).toBe("");
    },
    asked === undefined ? 300_000 : 24 * 3600_000,
  );
});

requires("cc")("what these tests would say", () => {
  let runner: NthRunner;
  beforeAll(() => {
    runner = new NthRunner(tempDir());
  });
  afterAll(() => runner.end());

  /** What is wrong after runs that strike each of the first calls of one kind. */
  async function red(run: Omit<Run, "nth">, call: string, most: number): Promise<string[]> {
    const { trace = [] } = await runner.run({
      workload: run.workload,
      ...(run.only ? { only: run.only } : {}),
      count: true,
    });
    const wrong: string[] = [];
    const nths = trace.flatMap((entry, i) => (entry.call === call ? [i + 1] : [])).slice(0, most);
    for (const nth of nths) {
      const result = await runner.run({ ...run, nth });
      wrong.push(...(await wrongAfter(result).catch((error: unknown) => [String(error)])));
    }
    return wrong;
  }

  test("of a disk that drops what a failed sync should have kept, and says it is done: acknowledged is lost", async () => {
    const run = { workload: "life", fault: "swallow", only: "/log.sqlite-wal" } as const;
    expect(await red(run, "fsync", 10)).toContainEqual(expect.stringMatching(/was acknowledged/));
  });

  test("of a storage that answers before it has appended: acknowledged is lost", async () => {
    const run = { workload: "early", fault: "EIO", only: "/log.sqlite-wal" } as const;
    expect(await red(run, "fsync", 4)).toContainEqual(expect.stringMatching(/was acknowledged/));
  });
});
