import { jest } from "@jest/globals";
import { seedOf } from "../support/fault-process.ts";
import { memoryDir } from "../support/temp-dir.ts";
import { LogNode, openShared, realSync, type SharedLog } from "./nodes.ts";
import { runSchedule } from "./schedule.ts";

/** `SKALD_TEST_SCHEDULES` for another number of schedules, `SKALD_TEST_SEED` for one of them. */
const COUNT = Number(process.env["SKALD_TEST_SCHEDULES"] ?? 150);
const FIRST = 1;

// A minute of processor time; more where a variable asks for more.
jest.setTimeout(Math.max(600_000, COUNT * 600));

let pool: SharedLog[];
beforeAll(() => {
  LogNode.root = memoryDir();
  pool = [1, 2, 3, 4, 5].map(() => openShared(LogNode.root));
});

test("peers that lose messages, break off and go back to older saves come to have all that any of them has", async () => {
  const one = process.env["SKALD_TEST_SEED"];
  const seeds = one ? [seedOf()] : Array.from({ length: COUNT }, (_, i) => FIRST + i);
  const tally: Record<string, number> = {};
  let messages = 0;
  let changes = 0;
  for (const seed of seeds) {
    const outcome = await runSchedule(seed, pool, realSync);
    if (outcome.wrong !== undefined) {
      throw new Error(`${outcome.wrong}, after round ${outcome.rounds}. Repeat with SKALD_TEST_SEED=${seed}`);
    }
    tally[`rounds ${outcome.rounds}`] = (tally[`rounds ${outcome.rounds}`] ?? 0) + 1;
    messages += outcome.messages;
    changes += outcome.changes;
  }
  if (process.env["SKALD_TEST_SCHEDULES"]) {
    process.stderr.write(`${JSON.stringify({ schedules: seeds.length, messages, changes, ...tally })}\n`);
  }
});
