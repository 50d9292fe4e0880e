import path from "node:path";
import { missed, record, type Recording } from "../support/disk-recorder.ts";
import { seedOf, seeded } from "../support/fault-process.ts";
import { PowerCheck } from "../support/power-check.ts";
import { revive } from "../support/power-engine.ts";
import { explore, type Explored } from "../support/power-explore.ts";
import {
  afterCut,
  afterKill,
  exploreStarts,
  recordStarts,
  type Interrupted,
} from "../support/power-recover.ts";
import { requires } from "../support/requires.ts";
import { memoryDir } from "../support/temp-dir.ts";

const CI_STATES = 800;
const STATES = Number(process.env["SKALD_TEST_STATES"] ?? CI_STATES);
/** A long hunt records more seeds instead of looking at one trace more often. */
const SEEDS = Math.ceil(STATES / CI_STATES);

/** Each with its part of the states. */
const WORKLOADS = { storm: 10, large: 1, dbs: 8, compact: 10, reopen: 8, service: 8, log: 5 } as const;
const PARTS = Object.values(WORKLOADS).reduce((sum, part) => sum + part, 0);
/** Of the states, those on which the whole engine starts, and of these those whose projections are compared. */
const REVIVED = 60 / CI_STATES;
const WITH_VIEWS = 20 / 400;
/** Starts of a seed that are cut again, half of them after a power cut and half after a kill, and states of each. */
const STARTS = 60;
const START_STATES = 16;

const root = memoryDir();
const seed = seedOf();
let runs = 0;
const place = (): string => path.join(root, `${++runs}`);

function tally(line: string): void {
  if (process.env["SKALD_TEST_STATES"] !== undefined) process.stderr.write(`${line}\n`);
}

/** CPU seconds of this process that `work` took. */
async function timed<T>(work: () => Promise<T>): Promise<[T, string]> {
  const before = process.cpuUsage();
  const result = await work();
  const { user, system } = process.cpuUsage(before);
  return [result, ((user + system) / 1e6).toFixed(1)];
}

async function recorded(workload: string, from: number, broken?: string): Promise<Recording> {
  const recording = await record(place(), {
    workload,
    seed: from,
    ...(broken === undefined ? {} : { broken }),
  });
  expect(missed(recording)).toEqual([]);
  return recording;
}

const interrupted = new Map<number, Interrupted[]>();

requires("cc")("a power cut", () => {
  test.each(Object.entries(WORKLOADS))(
    "at any moment of %s loses nothing that was acknowledged and leaves what opens",
    async (workload, part) => {
      const total = { states: 0, opened: 0, revived: 0, rebuilt: 0 };
      for (let nth = 0; nth < SEEDS; nth += 1) {
        const from = seed + nth;
        const random = seeded(from);
        const { ops } = await recorded(workload, from);
        const check = new PowerCheck(place());
        const dir = place();
        const states = Math.round(((STATES / SEEDS) * part) / PARTS);
        const starts: Interrupted[] = [];
        const most = Math.ceil((STARTS * part) / PARTS);
        const [explored, cpu] = await timed(() =>
          explore({
            ops,
            states,
            seed: from,
            check,
            also: async (state) => {
              if (starts.length < most && random() < (2 * most) / states)
                starts.push((starts.length % 2 === 0 ? afterCut : afterKill)(state, check));
              // One at least, however few there are.
              if (total.revived > 0 && random() >= REVIVED) return [];
              total.revived += 1;
              const revived = await revive(state.image, state.ledger, dir, random() < WITH_VIEWS);
              total.rebuilt += revived.rebuilt;
              return revived.problems;
            },
          }),
        );
        expect({ seed: from, workload, problems: explored.problems }).toEqual({
          seed: from,
          workload,
          problems: [],
        });
        expect(explored.states).toBe(states);
        total.states += explored.states;
        total.opened += check.opened;
        interrupted.set(from, [...(interrupted.get(from) ?? []), ...starts]);
        tally(`${workload} seed ${from}: ${ops.length} calls, ${states} states, ${cpu} s`);
      }
      expect(total.revived).toBeGreaterThan(0);
      tally(`${workload}: ${JSON.stringify(total)}`);
    },
    3_600_000,
  );

  test("while a start makes good an earlier cut or kill loses nothing that was acknowledged or read", async () => {
    for (const [from, starts] of interrupted) {
      const { recording, parts } = await recordStarts(place(), starts, from);
      expect(parts).toHaveLength(starts.length);
      const [explored, cpu] = await timed(() => exploreStarts(starts, parts, START_STATES, from));
      expect({ seed: from, problems: explored.problems }).toEqual({ seed: from, problems: [] });
      expect(starts.length).toBeGreaterThanOrEqual(50);
      expect(explored.states).toBeGreaterThan(starts.length * 10);
      tally(
        `starts of seed ${from}: ${starts.length}, ${recording.ops.length} calls, ${explored.states} states, ${cpu} s`,
      );
      starts.length = 0;
    }
  }, 3_600_000);
});

requires("cc")("a build that breaks a promise", () => {
  const share = (name: string, { bad, states }: Explored): void =>
    tally(`${name}: ${bad} of ${states} states lose something`);

  test.each([
    ["synchronous=NORMAL", "normal", "storm", /commits of a are lost/],
    ["synchronous=OFF", "off", "storm", /commits of a are lost/],
    ["synchronous=NORMAL", "normal", "service", /token .* is lost/],
    ["an acknowledgement before the append", "early", "log", /commits of a are lost/],
    ["no sync of a folder that was made", "folders", "log", /the db a is lost/],
    ["no sync of a folder that was removed from", "folders", "dbs", /is there and nothing knows it/],
    ["no sync of a log that was emptied", "emptied", "reopen", /refuses to open/, 8000],
  ])("by %s (%s, %s) is found out", async (name, broken, workload, problem, states = 500) => {
    const { ops } = await recorded(workload, seed, broken);
    const explored = await explore({ ops, states, seed, check: new PowerCheck(place()) });
    share(`${name}, ${workload}`, explored);
    expect(explored.problems.join("\n")).toMatch(problem);
  });

  test("by telling what a killed process wrote before it is durable is found out", async () => {
    const { ops } = await recorded("storm", seed);
    const check = new PowerCheck(place());
    const starts: Interrupted[] = [];
    const wals = new Set(
      ops.flatMap((op) => (op.kind === "open" && op.path.endsWith("/log.sqlite-wal") ? [op.file] : [])),
    );
    await explore({
      ops,
      states: 1000,
      seed,
      check,
      also: (state) => {
        // Killed when all of a commit was written and none of it synced.
        const next = ops[state.at + 1];
        if (
          next?.kind === "sync" &&
          wals.has(next.file) &&
          (state.ledger.dbs.get("a")?.acked ?? 0) > 8 &&
          starts.length < 12
        )
          starts.push(afterKill(state, check));
        return [];
      },
    });
    const { parts } = await recordStarts(place(), starts, seed, "unsettled");
    const explored = await exploreStarts(starts, parts, 100, seed);
    share("no settling at the start", explored);
    expect(explored.problems.join("\n")).toMatch(/commits of a are lost/);
  });
});

requires("cc")("the recorder", () => {
  test("misses no call: leaving out any kind of them leads to other files", async () => {
    const recording = await recorded("dbs", seed);
    for (const kind of ["write", "unlink", "mkdir", "rmdir"]) {
      const ops = recording.ops.filter((op) => op.kind !== kind);
      let noticed: boolean;
      try {
        noticed = missed({ ...recording, ops }).length > 0;
      } catch {
        noticed = true;
      }
      expect([kind, noticed]).toEqual([kind, true]);
    }
  });
});
