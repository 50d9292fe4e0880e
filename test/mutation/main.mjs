// Mutation run: changes one small thing in the sources of the commit path, runs the tests that should
// notice, and lists what none of them noticed. `npm run test:mutation -- --help` says how.
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { compiled, put, sandbox } from "./build.mjs";
import { EQUIVALENT, fits, reasonOf } from "./equivalent.mjs";
import { applied, mutantsOf } from "./mutators.mjs";

const ROOT = path.resolve(import.meta.dirname, "../..");

const results = [];

/** A test file; with a `#`, those of its tests whose names match what follows. */
const MODEL = "log/model#as its model|verifies";
const LOG = [MODEL, "log/write", "log/group", "log/refused", "log/read", "log/verify", "log/bundle"];

/**
 * The commit path and what goes on from it to others, each file with the tests that hold it. Those that notice most for their time come
 * first: a run ends with the first test that fails.
 */
const SUBJECTS = {
  "src/log/commit.ts": ["log/commit-and-record", ...LOG],
  "src/log/record.ts": ["log/commit-and-record", ...LOG],
  "src/log/stored-commit.ts": LOG,
  "src/log/doc-state.ts": LOG,
  "src/log/transaction.ts": [...LOG, "log/forged"],
  "src/log/group.ts": [...LOG, "log/receive"],
  "src/log/group-ground.ts": LOG,
  "src/log/group-write.ts": LOG,
  "src/log/group-merge.ts": [...LOG, "log/branch-merge", "replication/merge"],
  "src/log/log.ts": LOG,
  "src/log/refusals.ts": LOG,
  "src/log/catalog.ts": [...LOG, "store/sqlite-catalog"],
  "src/log/stage.ts": [...LOG, "store/sqlite-catalog"],
  "src/log/address-map.ts": [...LOG, "store/sqlite-catalog"],
  "src/log/recover.ts": ["log/read", ...LOG],
  "src/log/records.ts": ["log/records", ...LOG],
  "src/log/event.ts": ["log/event", "log/commit-and-record"],
  "src/log/commit-scan.ts": ["log/commit-and-record", "log/read", MODEL],
  "src/log/received.ts": ["log/receive", "replication/merge"],
  "src/log/adopt.ts": ["log/receive", "replication/merge"],
  "src/log/merge-plan.ts": ["replication/merge", "replication/model"],
  "src/log/merged.ts": ["replication/merge", "replication/model"],
  "src/log/receipt.ts": LOG,
  "src/log/commit-reader.ts": ["log/read", MODEL],
  "src/log/document-reader.ts": ["log/read", "log/branches", MODEL],
  "src/log/entry-chain.ts": ["log/read"],
  "src/log/catalog-at.ts": ["log/read", MODEL],
  "src/db/point.ts": ["db/point"],
  "src/db/json-cache.ts": ["db/json-cache"],
  "src/db/proofs.ts": ["db/proofs", "db/quarantine"],
  "src/db/quarantine.ts": ["db/proofs", "db/quarantine"],
  "src/subscriptions/cursor.ts": ["subscriptions/cursor"],
  "src/subscriptions/event-cbor.ts": ["subscriptions/event-bytes"],
  "src/subscriptions/event-json.ts": ["subscriptions/event-bytes"],
  "src/subscriptions/feed-filter.ts": ["subscriptions/feed-model"],
  "src/subscriptions/feed-event.ts": ["subscriptions/event-bytes", "subscriptions/feed-model"],
  "src/subscriptions/feed.ts": ["subscriptions/feed-model"],
  "src/subscriptions/subscription.ts": ["subscriptions/subscription-model", "subscriptions/subscriptions"],
  "src/subscriptions/subscription-ranges.ts": ["subscriptions/subscription-model"],
  "src/subscriptions/subscription-state.ts": [
    "subscriptions/subscription-model",
    "store/sqlite-subscriptions",
  ],
  "src/sync/bloom.ts": ["sync/bloom"],
  "src/sync/sync-message.ts": ["sync/sync-message"],
  "src/sync/repo-message.ts": ["sync/repo-message"],
  "src/sync/document-sync.ts": ["sync/document-sync", "sync/log-history"],
  "src/sync/log-history.ts": ["sync/log-history", "sync/document-sync"],
  "src/replication/exchange.ts": ["replication/exchange"],
  "src/replication/frames.ts": ["replication/exchange"],
  "src/db/write.ts": ["db/write", "db/engine#a principal", "db/model#as its model"],
  // What is synced only a whole process shows, with a disk around it that is watched or fails.
  "src/store/sqlite-log.ts": [
    "store/sqlite-log",
    "log/write",
    "faults/syncs",
    "faults/disk-error#on a sync|is tidied|write-ahead log is synced|while a start",
  ],
};

const { values: options } = parseArgs({
  options: {
    sample: { type: "string", default: "300" },
    seed: { type: "string", default: "1" },
    workers: { type: "string", default: String(Math.min(2, availableParallelism())) },
    files: { type: "string", default: Object.keys(SUBJECTS).join(",") },
    seconds: { type: "string", default: "120" },
    equivalent: { type: "boolean", default: false },
    least: { type: "string", default: "0" },
    out: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

if (options.help) {
  process.stdout.write(
    `npm run test:mutation -- [--sample 300|all] [--seed 1] [--workers 2] [--files a.ts,b.ts]
    [--seconds 120, after which a run counts as hanging] [--out report.json]
    [--least 80, fails when fewer per cent are noticed] [--equivalent, tries those of equivalent.mjs too]\n`,
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

/** Process groups of tests that run, and the folders they run in: neither outlives this process. */
const groups = new Set();
const sandboxes = new Set();

function endGroup(pid) {
  groups.delete(pid);
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended by itself, and everything it started.
  }
}

function opened() {
  const dir = sandbox();
  sandboxes.add(dir);
  return dir;
}

function removed(dir) {
  sandboxes.delete(dir);
  rmSync(dir, { recursive: true, force: true });
}

for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
]) {
  process.on(signal, () => {
    process.stdout.write(`ended by ${signal}; so far ${score(results)}\n`);
    process.exit(code);
  });
}
process.on("exit", () => {
  for (const pid of groups) endGroup(pid);
  for (const dir of sandboxes) removed(dir);
});

/** Runs the tests in a sandbox until the first that fails. Gives "passed", "failed" or "hung". */
function runTests(dir, tests, says = false, seconds = Number(options.seconds)) {
  return new Promise((resolve) => {
    const child = spawn(
      process.execPath,
      [
        "--experimental-vm-modules",
        "--no-warnings",
        "test/mutation/run.mjs",
        ...tests.map((test) => `test/${test.replace(/(?=#|$)/, ".test.js")}`),
      ],
      {
        cwd: dir,
        detached: true,
        stdio: ["ignore", "ignore", says ? "inherit" : "ignore"],
        env: {
          ...process.env,
          TMPDIR: path.join(dir, "tmp"),
          SKALD_TEST_SEED: "1",
          SKALD_TEST_RUNS: "40",
          ...(says ? { SKALD_MUTATION_SAYS: "1" } : {}),
        },
      },
    );
    const pid = Number(child.pid);
    groups.add(pid);
    const timer = setTimeout(() => {
      endGroup(pid);
      resolve("hung");
    }, seconds * 1000);
    child.on("exit", (code) => {
      clearTimeout(timer);
      endGroup(pid);
      rmSync(path.join(dir, "tmp"), { recursive: true, force: true });
      mkdirSync(path.join(dir, "tmp"));
      resolve(code === 0 ? "passed" : "failed");
    });
  });
}

const files = options.files.split(",");
const sources = new Map(files.map((file) => [file, readFileSync(path.join(ROOT, file), "utf8")]));
const linesOf = new Map([...sources].map(([file, source]) => [file, source.split("\n")]));
const all = [...sources].flatMap(([file, source]) =>
  mutantsOf(source).map((mutant) => {
    const text = linesOf.get(file)[mutant.line - 1].trim();
    return { ...mutant, file, lineText: text, reason: reasonOf(file, text, mutant.what) };
  }),
);
const stale = EQUIVALENT.filter(
  (entry) =>
    sources.has(entry.file) && !all.some(({ file, lineText, what }) => fits(entry, file, lineText, what)),
);
if (stale.length > 0)
  throw new Error(`equivalent.mjs names what is not there: ${JSON.stringify(stale, undefined, 1)}`);
const random = seeded(Number(options.seed));
const shuffled = all
  .map((mutant) => ({ mutant, order: random() }))
  .toSorted((a, b) => a.order - b.order)
  .map(({ mutant }) => mutant);
const queue = options.sample === "all" ? shuffled : shuffled.slice(0, Number(options.sample));
process.stdout.write(
  `${all.length} mutants in ${files.length} files, ${queue.length} to try (seed ${options.seed})\n`,
);

async function work() {
  const dir = opened();
  try {
    for (let mutant = queue.shift(); mutant; mutant = queue.shift()) {
      const { file, line, what, reason } = mutant;
      const source = sources.get(file);
      const was = source.slice(mutant.start, mutant.end).split("\n")[0];
      const result = { file, line, what, was, reason, outcome: "equivalent" };
      results.push(result);
      if (reason !== undefined && !options.equivalent) continue;
      result.outcome = "running";
      put(dir, file, compiled(applied(source, mutant)));
      result.outcome = await runTests(dir, SUBJECTS[file]);
      put(dir, file, compiled(source));
      const where = `${file}:${line}  ${what}: ${was}`;
      if (result.outcome === "passed" && reason === undefined) process.stdout.write(`unnoticed  ${where}\n`);
      if (result.outcome !== "passed" && reason !== undefined)
        process.stdout.write(`not equivalent  ${where}\n`);
      if (results.length % 25 === 0) process.stdout.write(`${score(results)}\n`);
    }
  } finally {
    removed(dir);
  }
}

/** Those on the list of equivalents count as unnoticed, and then not at all. */
function score(some) {
  const tried = some.filter(({ outcome }) => outcome !== "running");
  const noticed = tried.filter(({ outcome }) => outcome === "failed" || outcome === "hung").length;
  const listed = tried.filter(({ outcome, reason }) => reason !== undefined && !/failed|hung/.test(outcome));
  const of = (count) =>
    `${noticed} of ${count} noticed: ${((100 * noticed) / Math.max(1, count)).toFixed(1)} %`;
  const all = of(tried.length);
  return listed.length === 0
    ? all
    : `${all}; without ${listed.length} equivalent, ${of(tried.length - listed.length)}`;
}

// A suite that fails without any mutant would notice everything.
const first = opened();
const everything = [...new Set(files.flatMap((file) => SUBJECTS[file]))];
const sound = await runTests(first, everything, true, 10 * Number(options.seconds));
removed(first);
if (sound !== "passed") throw new Error(`the tests ${sound} without any mutant`);

await Promise.all(Array.from({ length: Number(options.workers) }, work));
for (const file of files) {
  const own = results.filter((result) => result.file === file);
  if (own.length > 0) process.stdout.write(`${file.padEnd(28)} ${score(own)}\n`);
}
process.stdout.write(`${score(results)}\n`);
const noticed = results.filter(({ outcome }) => outcome === "failed" || outcome === "hung").length;
if ((100 * noticed) / Math.max(1, results.length) < Number(options.least)) process.exitCode = 1;
if (options.out) writeFileSync(options.out, `${JSON.stringify(results, undefined, 1)}\n`);
