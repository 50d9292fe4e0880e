import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { drawChart } from "./chart.mjs";
import { show } from "./figures.mjs";

const RESULTS = new URL("../../fixtures/bench/results.json", import.meta.url);
const CHART = new URL("../../fixtures/bench/chart.svg", import.meta.url);
const README = new URL("../../README.md", import.meta.url);

export function printRows(name, rows, seconds) {
  process.stdout.write(`\n${name} (${seconds.toFixed(1)} s)\n`);
  for (const row of rows) {
    const figures = row.ours === undefined ? "" : `${show(row.ours)} ${row.unit ?? ""}`;
    const beside = row.theirs === undefined ? "" : `${row.against} ${show(row.theirs)}`;
    const ratio = row.ratio === undefined ? "" : `ratio ${row.ratio.toFixed(2)}`;
    const line = [
      verdict(row),
      row.work,
      figures,
      beside,
      ratio,
      row.reach && `(reach ${row.reach})`,
      row.note,
    ];
    process.stdout.write(`  ${line.filter(Boolean).join(" | ")}\n`);
  }
}

function verdict(row) {
  return row.pass === undefined ? "    " : row.pass ? "PASS" : "FAIL";
}

/** Keeps the figures of the subjects that ran; those of the others stay as they are. */
export function saveResults(subjects, quick, order) {
  const before = existsSync(RESULTS) ? JSON.parse(readFileSync(RESULTS, "utf8")) : { subjects: {} };
  const taken = {
    date: new Date().toISOString().slice(0, 10),
    node: process.version,
    cores: availableParallelism(),
    quick,
  };
  for (const [name, rows] of Object.entries(subjects)) before.subjects[name] = { ...taken, rows };
  const names = order.filter((name) => before.subjects[name]);
  const kept = Object.fromEntries(names.map((name) => [name, before.subjects[name]]));
  mkdirSync(new URL(".", RESULTS), { recursive: true });
  const rounded = (_, value) => (typeof value === "number" ? Number(value.toPrecision(4)) : value);
  writeFileSync(RESULTS, `${JSON.stringify({ ...taken, subjects: kept }, rounded, 2)}\n`);
  writeFileSync(CHART, drawChart(kept));
}

const BEGIN = "<!-- bench:begin -->";
const END = "<!-- bench:end -->";

/** Puts the kept figures between the two markers of the README. Without markers nothing is written. */
export function rewriteReadme() {
  const text = existsSync(README) ? readFileSync(README, "utf8") : "";
  const from = text.indexOf(BEGIN);
  const to = text.indexOf(END);
  if (from < 0 || to < from || !existsSync(RESULTS)) {
    process.stderr.write(`README.md has no ${BEGIN} … ${END}, or there are no results: nothing to rewrite\n`);
    return;
  }
  const { subjects } = JSON.parse(readFileSync(RESULTS, "utf8"));
  writeFileSync(README, `${text.slice(0, from + BEGIN.length)}\n\n${table(subjects)}\n\n${text.slice(to)}`);
}

function table(subjects) {
  // What SQLite does by itself is no figure of ours.
  const all = Object.entries(subjects).flatMap(([name, taken]) => (name === "raw-sqlite" ? [] : [taken]));
  const lines = ["| work | Skald | beside | ratio | to reach |", "|---|--:|--:|--:|:--|"];
  for (const { rows } of all) {
    for (const row of rows) {
      if (row.ours === undefined && row.reach !== "equal") continue;
      const beside = row.theirs === undefined ? "" : `${show(row.theirs)} ${row.against}`;
      const ours =
        row.reach === "equal" ? (row.pass ? "equal" : "not equal") : `${show(row.ours)} ${row.unit ?? ""}`;
      const cells = [row.work, ours, beside, row.ratio?.toFixed(2) ?? "", row.reach ?? ""];
      lines.push(`| ${cells.map((cell) => cell.trim().replaceAll("|", "\\|")).join(" | ")} |`);
    }
  }
  const nodes = [...new Set(all.map(({ node }) => node))].join(", ");
  const cores = [...new Set(all.map(({ cores }) => cores))].join(", ");
  const last =
    all
      .map(({ date }) => date)
      .toSorted((a, b) => a.localeCompare(b))
      .at(-1) ?? "";
  const quick = all.some((taken) => taken.quick) ? " Some of them with small sizes (`--quick`)." : "";
  return `${lines.join("\n")}\n\nMeasured ${last} with Node ${nodes} on ${cores} cores; both sides of a ratio in one run.${quick} \`npm run bench\` measures anew.`;
}
