import { writeFileSync } from "node:fs";
import path from "node:path";
import { lineChart } from "./charts.mjs";

const CHARTS = [
  {
    file: "memory.svg",
    title: "Memory",
    unit: "MiB",
    series: [
      ["resident", (s) => s.rss],
      ["heap in use", (s) => s.heap],
      ["outside the heap", (s) => s.external],
    ],
  },
  {
    file: "descriptors.svg",
    title: "Open descriptors",
    unit: "of the server",
    series: [["descriptors", (s) => s.fds]],
  },
  {
    file: "wal.svg",
    title: "Largest write-ahead log",
    unit: "MiB",
    series: ["log.sqlite-wal", "catalog.sqlite-wal", "views.sqlite-wal"].map((file) => [
      file,
      (s) => (s.wal?.[file] ?? 0) / 2 ** 20,
    ]),
  },
  { file: "disk.svg", title: "Data directory", unit: "MiB", series: [["all files", (s) => s.dir / 2 ** 20]] },
  {
    file: "rates.svg",
    title: "Answers and commits",
    unit: "a second",
    series: [
      ["answers", (s) => s.requests],
      ["commits", (s) => s.commits],
    ],
  },
  {
    file: "latency.svg",
    title: "Time to an answer",
    unit: "ms",
    series: [
      ["median", (s) => s.p50],
      ["99th percentile", (s) => s.p99],
    ],
  },
  {
    file: "loop.svg",
    title: "Processor and event loop",
    unit: "% of one core, ms",
    series: [
      ["processor", (s) => s.cpu],
      ["event-loop lag, 99th percentile", (s) => s.lag],
    ],
  },
];

/** Writes report.md with its charts; gives the verdict line. */
export function writeReport(out, result) {
  const { findings, samples, marks, tally, stops, starts, lives, quiets, memory, wal, missing, seed, ms } =
    result;
  const drawn = [];
  for (const { file, title, unit, series } of CHARTS) {
    const svg = lineChart({
      title,
      unit,
      series: series.map(([name, of]) => ({ name, of })),
      samples,
      marks,
    });
    if (!svg) continue;
    writeFileSync(path.join(out, file), svg);
    drawn.push(`![${title}](${file})`);
  }
  const verdict = `soak: ${findings.checks + tally.requests} checks, ${findings.failed} failed`;
  const happened = {};
  for (const { kind } of marks) happened[kind] = (happened[kind] ?? 0) + 1;
  const lines = [
    "# Soak",
    "",
    `**${verdict}**`,
    "",
    ...table(
      ["", ""],
      [
        ["seed", seed],
        ["time", `${(ms / 60_000).toFixed(1)} min`],
        ["answers", tally.requests],
        ["commits acknowledged", tally.commits],
        ["lives of the server", lives],
        [
          "what was done",
          Object.entries(happened)
            .map(([kind, n]) => `${kind} ${n}`)
            .join(", "),
        ],
        ["start, longest", `${Math.round(Math.max(0, ...starts))} ms`],
        ["stop, longest", `${Math.round(Math.max(0, ...stops))} ms`],
        ["disk filled", `${result.fills} times, ${result.readsWhileFull} lists read meanwhile`],
        ["resident, most", `${Math.round(Math.max(0, ...samples.map(({ rss }) => rss ?? 0)))} MiB`],
        [
          "memory after starts",
          result.startsRise === undefined
            ? "too few"
            : `${result.startsRise.toFixed(1)} MiB from first to last`,
        ],
        [
          "write-ahead logs, largest",
          Object.entries(wal)
            .map(([file, bytes]) => `${file} ${(bytes / 2 ** 20).toFixed(1)} MiB`)
            .join(", "),
        ],
        ["left out", missing.length === 0 ? "nothing" : missing.join("; ")],
      ],
    ),
    "",
    ...(findings.all.size === 0 ? ["Nothing was found.", ""] : findingLines(findings)),
    ...drawn.flatMap((chart) => [chart, ""]),
    "## Memory of the lives that lasted",
    "",
    ...(memory.lives.length === 0
      ? ["None lasted long enough to judge its slope."]
      : table(
          ["life", "judged for", "slope, MiB an hour", "±", "most, MiB"],
          memory.lives.map((each) => [
            each.life,
            `${Math.round(each.seconds)} s`,
            each.mibPerHour.toFixed(1),
            each.error.toFixed(1),
            Math.round(each.most),
          ]),
        )),
    "",
    "## Quiet moments",
    "",
    ...table(
      ["time", "life", "descriptors", "at the start", "resident, MiB"],
      quiets
        .slice(-60)
        .map((each) => [
          new Date(each.t).toISOString(),
          each.life,
          each.fds,
          each.base,
          Math.round(each.rss),
        ]),
    ),
    "",
    "## Answers",
    "",
    ...table(
      ["to", "answers"],
      Object.entries(tally.answers)
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .map(([kind, of]) => [
          kind,
          Object.entries(of)
            .map(([answer, n]) => `${answer}: ${n}`)
            .join(", "),
        ]),
    ),
    "",
  ];
  writeFileSync(path.join(out, "report.md"), lines.join("\n"));
  return verdict;
}

function findingLines({ all }) {
  const lines = [
    "## Findings",
    "",
    "With times, what was sent and what came: `findings.ndjson`; the server's own words: `server.log`; what was acknowledged: `ledger/`.",
    "",
  ];
  for (const { what, count, first, last, examples } of all.values()) {
    lines.push(`- **${what.slice(0, 300)}**, ${count} times, ${first} to ${last}`);
    for (const { t, details } of examples.slice(0, 2))
      lines.push(`  - ${t} \`${JSON.stringify(details).slice(0, 600)}\``);
  }
  return [...lines, ""];
}

function table(head, rows) {
  const line = (cells) => `| ${cells.map((cell) => String(cell).replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)];
}
