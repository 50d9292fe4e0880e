import { seedOf } from "../support/fault-process.ts";
import { FACTOR, fuzz, held } from "./harness.ts";
import { PARTS } from "./targets.ts";
import { startWatchdog } from "./watchdog.ts";

const MOST_LEFT_BEHIND = 32 * 1024 * 1024;

/** The tests of one part of the targets, which has `least` runs in CI. */
export function testsOf(part: keyof typeof PARTS, least: number): void {
  const targets = PARTS[part];
  const seed = seedOf();
  const watchdog = startWatchdog(30);
  afterAll(() => watchdog.stop());

  describe(`decoders of ${part} (SKALD_TEST_SEED=${seed})`, () => {
    let before = 0;
    let runs = 0;
    beforeAll(async () => {
      // What is made once (compiled patterns, tables, caches) is there before anything is counted.
      for (const target of targets) await fuzz(target, 1, 64, watchdog);
      before = held();
    });

    test.each(targets.map((target) => [target.name, target] as const))(
      "%s: whatever comes is taken or refused with a code, soon",
      async (_, target) => {
        const began = process.cpuUsage();
        const tally = await fuzz(target, seed, Math.round(target.runs * FACTOR), watchdog);
        runs += tally.runs;
        if (process.env["SKALD_TEST_FUZZ"] !== undefined) {
          const { user, system } = process.cpuUsage(began);
          const line = { target: target.name, ...tally, cpu: (user + system) / 1e6 };
          process.stderr.write(`${JSON.stringify(line)}\n`);
        }
        expect(tally.findings).toEqual([]);
        // A target whose every input is refused, or whose every one is taken, looks at nothing.
        expect(tally.taken).toBeGreaterThan(0);
      },
      120_000 * Math.max(1, FACTOR),
    );

    test("nothing of all that stays in memory", () => {
      expect(held() - before).toBeLessThan(MOST_LEFT_BEHIND);
      expect(runs).toBeGreaterThan(least * Math.min(1, FACTOR));
    });
  });
}
