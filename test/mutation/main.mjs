// Mutation run: changes one small thing in the sources of the commit path, runs the tests that should
// notice, and lists what none of them noticed. `npm run test:mutation -- --help` says how.
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { compiled, sandbox } from "./build.mjs";
import { applied, mutantsOf } from "./mutators.mjs";

const ROOT = path.resolve(import.meta.dirname, "../..");

const LOG = ["log/write", "log/group", "log/read", "log/refused", "log/verify", "log/bundle"];

/** The commit path, each file with the tests that hold it, quick ones first: most mutants die there. */
const SUBJECTS = {
  "src/log/commit.ts": ["log/commit-and-record", ...LOG],
  "src/log/record.ts": ["log/commit-and-record", ...LOG],
  "src/log/stored-commit.ts": LOG,
  "src/log/doc-state.ts": LOG,
  "src/log/transaction.ts": [...LOG, "log/forged"],
  "src/log/group.ts": LOG,
  "src/log/log.ts": LOG,
  "src/log/refusals.ts": LOG,
  "src/log/catalog.ts": [...LOG, "store/sqlite-catalog"],
  "src/log/recover.ts": LOG,
  "src/log/records.ts": LOG,
  "src/db/write.ts": ["db/write", "db/model", "db/engine"],
  "src/store/sqlite-log.ts": ["store/sqlite-log", "log/write"],
};

const { values: options } = parseArgs({
  options: {
    sample: { type: "string", default: "300" },
    seed: { type: "string", default: "1" },
    workers: { type: "string", default: String(Math.min(2, availableParallelism())) },
    files: { type: "string", default: Object.keys(SUBJECTS).join(",") },
    seconds: { type: "string", default: "120" },
    out: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

if (options.help) {
  process.stdout.write(
    `npm run test:mutation -- [--sample 300|all] [--seed 1] [--workers 2] [--files a.ts,b.ts]
    [--seconds 120, after which a run counts as hanging] [--out report.json]\n`,
  );
  process.exit(0);
}

function seeded(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Runs the tests in a sandbox until the first that fails. Gives "passed", "failed" or "hung". */
function runTests(dir, tests, says = false) {
  return new Promise((resolve) => {
    const child = spawn(
      process.execPath,
      [
        "--experimental-vm-modules",
        "--no-warnings",
        "test/mutation/run.mjs",
        ...tests.map((test) => `test/${test}.test.js`),
      ],
      {
        cwd: dir,
        detached: true,
        stdio: ["ignore", "ignore", says ? "inherit" : "ignore"],
        env: {
          ...process.env,
          TMPDIR: path.join(dir, "tmp"),
          SKALD_TEST_SEED: "1",
          ...(says ? { SKALD_MUTATION_SAYS: "1" } : {}),
        },
      },
    );
    const stop = () => {
      try {
        process.kill(-Number(child.pid), "SIGKILL");
      } catch {
        // It has ended by itself, and everything it started.
      }
    };
    const timer = setTimeout(
      () => {
        stop();
        resolve("hung");
      },
      Number(options.seconds) * 1000,
    );
    child.on("exit", (code) => {
      clearTimeout(timer);
      stop();
      rmSync(path.join(dir, "tmp"), { recursive: true, force: true });
      mkdirSync(path.join(dir, "tmp"));
      resolve(code === 0 ? "passed" : "failed");
    });
  });
}

const files = options.files.split(",");
const sources = new Map(files.map((file) => [file, readFileSync(path.join(ROOT, file), "utf8")]));
const all = [...sources].flatMap(([file, source]) =>
  mutantsOf(source).map((mutant) => ({ file, ...mutant })),
);
const random = seeded(Number(options.seed));
const shuffled = all
  .map((mutant) => ({ mutant, order: random() }))
  .toSorted((a, b) => a.order - b.order)
  .map(({ mutant }) => mutant);
const queue = options.sample === "all" ? shuffled : shuffled.slice(0, Number(options.sample));
process.stdout.write(
  `${all.length} mutants in ${files.length} files, ${queue.length} to try (seed ${options.seed})\n`,
);

const results = [];

async function work() {
  const dir = sandbox();
  try {
    for (let mutant = queue.shift(); mutant; mutant = queue.shift()) {
      const { file, line, what } = mutant;
      const source = sources.get(file);
      const target = path.join(dir, `${file.slice(0, -3)}.js`);
      writeFileSync(target, compiled(applied(source, mutant)));
      const outcome = await runTests(dir, SUBJECTS[file]);
      writeFileSync(target, compiled(source));
      const was = source.slice(mutant.start, mutant.end).split("\n")[0];
      results.push({ file, line, what, was, outcome });
      if (outcome === "passed") process.stdout.write(`unnoticed  ${file}:${line}  ${what}: ${was}\n`);
      if (results.length % 25 === 0) process.stdout.write(`${score(results)}\n`);
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function score(some) {
  const noticed = some.filter(({ outcome }) => outcome !== "passed").length;
  return `${noticed} of ${some.length} noticed: ${((100 * noticed) / Math.max(1, some.length)).toFixed(1)} %`;
}

// A suite that fails without any mutant would notice everything.
const first = sandbox();
const sound = await runTests(first, [...new Set(files.flatMap((file) => SUBJECTS[file]))], true);
rmSync(first, { recursive: true, force: true });
if (sound !== "passed") throw new Error(`the tests ${sound} without any mutant`);

await Promise.all(Array.from({ length: Number(options.workers) }, work));
for (const file of files) {
  const own = results.filter((result) => result.file === file);
  if (own.length > 0) process.stdout.write(`${file.padEnd(28)} ${score(own)}\n`);
}
process.stdout.write(`${score(results)}\n`);
if (options.out) writeFileSync(options.out, `${JSON.stringify(results, undefined, 1)}\n`);
