import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { canMount, insideEnv, isInside } from "./disk.mjs";
import { runLoad } from "./load-soak.mjs";
import { PROGRAMMES, listProgrammes, runProgramme } from "./programmes.mjs";
import { writeReport } from "./report.mjs";

/**
 * `npm run test:soak -- --hours 1 [--out <dir>] [--seed <n>] [--dir <dir>] [--disk-mb 1024] [--load 1]`
 * `npm run test:soak -- --programmes power-cut,fuzz`, `--list`, `--self-test`: see specs/13-soak.md.
 */
const { values } = parseArgs({
  options: {
    hours: { type: "string", default: "1" },
    dir: { type: "string" },
    out: { type: "string" },
    seed: { type: "string" },
    "disk-mb": { type: "string", default: "1024" },
    load: { type: "string", default: "1" },
    programmes: { type: "string" },
    list: { type: "boolean", default: false },
    "self-test": { type: "boolean", default: false },
  },
});

const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => stop.abort());
const tell = (line) => process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${line}\n`);

if (values.list) process.stdout.write(`load         the default\n${listProgrammes()}\n`);
else if (values.programmes !== undefined) await programmes(values.programmes.split(","));
else if (!isInside() && canMount()) again();
else await soak();

/** The same in a mount namespace of its own, so that its small disk is nobody else's. */
function again() {
  const args = ["--mount", process.execPath, fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  const child = spawn("unshare", args, { stdio: "inherit", env: insideEnv(), detached: true });
  stop.signal.addEventListener("abort", () => child.kill("SIGTERM"));
  child.once("exit", (code) => (process.exitCode = code ?? 1));
}

async function programmes(names) {
  const unknown = names.filter((name) => !(name in PROGRAMMES) && name !== "load");
  if (unknown.length > 0) throw new Error(`no such programme: ${unknown.join(", ")}\n${listProgrammes()}`);
  let failed = 0;
  for (const name of names) {
    if (stop.signal.aborted) break;
    const passed = await runProgramme(name, { seed: values.seed, signal: stop.signal });
    tell(`${name}: ${passed === undefined ? "not in this tree" : passed ? "passed" : "FAILED"}`);
    if (passed !== true) failed += 1;
  }
  process.stdout.write(`soak: ${names.length} checks, ${failed} failed\n`);
  process.exitCode = failed === 0 ? 0 : 1;
}

async function soak() {
  const hours = Number(values.hours);
  if (!(hours > 0)) throw new Error("--hours takes a number above 0");
  const seed = Number(values.seed ?? process.env["SKALD_TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
  const temporary = values.dir === undefined;
  const root = temporary ? mkdtempSync(path.join(tmpdir(), "skald-soak-")) : path.resolve(values.dir);
  mkdirSync(root, { recursive: true });
  if (existsSync(path.join(root, "disk", "data")))
    throw new Error(`${root} holds an earlier run; give --dir another folder`);
  const stamp = new Date().toISOString().slice(0, 16).replaceAll(":", "");
  const out = path.resolve(values.out ?? path.join(tmpdir(), `skald-soak-report-${stamp}-${seed}`));
  mkdirSync(out, { recursive: true });
  if (existsSync(path.join(out, "samples.ndjson")))
    throw new Error(`${out} holds an earlier report; give --out another folder`);
  if (values["self-test"]) return selfTest({ root, out, seed });
  tell(`seed ${seed}, ${hours} h, report in ${out}`);
  try {
    const result = await runLoad({
      ms: hours * 3_600_000,
      seed,
      root,
      out,
      diskMb: Number(values["disk-mb"]),
      load: Number(values.load),
      tell,
      signal: stop.signal,
    });
    process.stdout.write(`${path.join(out, "report.md")}\n${writeReport(out, result)}\n`);
    process.exitCode = result.findings.failed === 0 ? 0 : 1;
  } finally {
    if (temporary) rmSync(root, { recursive: true, force: true });
  }
  // Sockets of stalled readers and agents may be left; the verdict is out.
  process.exit();
}

/** Short runs on broken builds of the soak's own making: each must be seen. */
async function selfTest({ root, out, seed }) {
  const broken = {
    nothing: { spoil: undefined, sees: undefined },
    "a falsified acknowledgement": {
      sees: /was acknowledged as/,
      spoil: (book) => {
        for (const seq of book?.commits.keys() ?? []) {
          book.commits.set(seq, "bafyfalsified");
          return;
        }
      },
    },
    "an acknowledgement of what is not there": {
      sees: /was acknowledged and is not there/,
      spoil: (book) => book?.commits.set(99_999_999, "bafynever"),
    },
    "an invented commit": {
      sees: /commits that nobody was told of|nobody was told/,
      spoil: (book) => {
        if (!book) return;
        for (const seq of [...book.commits.keys()].slice(0, 5)) book.commits.delete(seq);
        book.byTx.clear();
        book.nameless = -1;
      },
    },
  };
  let failed = 0;
  for (const [name, { spoil, sees }] of Object.entries(broken)) {
    const at = path.join(root, name.replaceAll(" ", "-"));
    mkdirSync(at, { recursive: true });
    const result = await runLoad({
      ms: 8000,
      seed,
      root: at,
      out: path.join(out, name.replaceAll(" ", "-")),
      diskMb: 512,
      load: 0.4,
      tell: () => {},
      signal: stop.signal,
      spoil,
    });
    const found = [...result.findings.all.values()].map(({ what }) => what);
    const right = sees ? found.some((what) => sees.test(what)) : found.length === 0;
    if (!right) failed += 1;
    tell(`${name}: ${right ? (sees ? "seen" : "nothing found") : `NOT AS IT MUST BE: ${found.join("; ")}`}`);
  }
  rmSync(root, { recursive: true, force: true });
  process.stdout.write(`soak: ${Object.keys(broken).length} checks, ${failed} failed\n`);
  process.exit(failed === 0 ? 0 : 1);
}
