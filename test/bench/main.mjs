import { fork } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { printRows, rewriteReadme, saveResults } from "./report.mjs";

/**
 * `npm run bench -- [--quick] [--only library,http] [--data <dir>] [--save] [--readme] [--profile <dir>]`
 *
 * Every subject runs in a process of its own, so that none warms up or fills the heap of another.
 * Every figure stands beside what it is compared with in the same run: on a machine that is shared
 * only the ratios mean something.
 */
const SUBJECTS = [
  "raw-sqlite",
  "library",
  "http",
  "socket",
  "authorise",
  "document-growth",
  "cold-read",
  "points",
  "history",
  "diff",
  "verify",
  "upkeep",
  "disk",
  "memory",
  "trace",
  "peers",
  "stock-clients",
  "live-updates",
  "fan-out",
  "idle-memory",
  "clone",
  "feed",
  "sse",
  "archive",
  "sql-queries",
  "sql-point",
  "sql-busy",
  "sql-points",
  "sql-bulk",
  "sql-watch",
];

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string" },
    data: { type: "string" },
    scale: { type: "string", default: "1" },
    traces: { type: "string" },
    save: { type: "boolean", default: false },
    readme: { type: "boolean", default: false },
    profile: { type: "string" },
  },
});

if (values.readme && values.only === undefined && !values.quick) {
  rewriteReadme();
} else {
  await measure();
  if (values.readme) rewriteReadme();
}

async function measure() {
  const wanted = values.only?.split(",") ?? SUBJECTS;
  const unknown = wanted.filter((name) => !SUBJECTS.includes(name));
  if (unknown.length > 0)
    throw new Error(`no such subject: ${unknown.join(", ")}; there are ${SUBJECTS.join(", ")}`);
  const dir = mkdtempSync(path.join(tmpdir(), "skald-bench-"));
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => stop.abort());
  if (values.profile) mkdirSync(values.profile, { recursive: true });
  const results = {};
  try {
    for (const name of wanted) {
      if (stop.signal.aborted) break;
      const from = performance.now();
      const rows = await runSubject(name, dir, stop.signal);
      results[name] = rows;
      printRows(name, rows, (performance.now() - from) / 1000);
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  // A figure that falls short is a figure; something that is not equal or did not run is a failure.
  const broken = Object.values(results)
    .flat()
    .filter((row) => row.pass === false);
  if (broken.some((row) => row.reach === undefined || row.reach === "equal")) process.exitCode = 1;
  // Figures of small sizes are for looking at, not for keeping.
  if ((values.save || (!values.quick && values.scale === "1")) && !stop.signal.aborted)
    saveResults(results, values.quick, SUBJECTS);
}

function runSubject(name, dir, signal) {
  const profile = values.profile && path.resolve(values.profile);
  const context = {
    dir,
    quick: values.quick,
    scale: Number(values.scale),
    data: values.data ?? process.env["SKALD_DATA"],
    traces: values.traces?.split(","),
    profile,
  };
  return new Promise((resolve) => {
    const child = fork(
      fileURLToPath(new URL("subject.mjs", import.meta.url)),
      [name, JSON.stringify(context)],
      {
        stdio: ["ignore", "inherit", "inherit", "ipc"],
      },
    );
    let rows;
    signal.addEventListener("abort", () => child.kill("SIGTERM"), { once: true });
    child.on("message", (message) => (rows = message));
    child.on("exit", (code, by) =>
      resolve(rows ?? [{ work: name, note: `ended with ${code ?? by}`, pass: false }]),
    );
  });
}
