/** Line charts over time as SVG, in the colours of the benchmark's (test/bench/chart.mjs). */
const WIDTH = 960;
const HEIGHT = 260;
const LEFT = 64;
const RIGHT = 12;
const TOP = 34;
const BOTTOM = 44;
const COLOURS = ["#2f81f7", "#d29922", "#3fb950", "#a371f7"];
const MARKS = {
  term: "#8b949e",
  kill: "#f85149",
  pause: "#a371f7",
  clock: "#3fb950",
  full: "#d29922",
  stall: "#db61a2",
  flood: "#79c0ff",
  quiet: "#30363d",
};
const STYLE = `
  text { font: 11px system-ui, sans-serif; fill: #24292f; }
  .title { font-weight: 600; font-size: 14px; }
  .dim { fill: #57606a; }
  .axis { stroke: #8b949e; stroke-opacity: .35; }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3; } .dim { fill: #9198a1; } }`;

/**
 * `series`: `{name, of(sample)}` each; a line is broken where the value is missing or the process was
 * another. `marks`: `{t, kind}`.
 */
export function lineChart({ title, unit, series, samples, marks = [] }) {
  if (samples.length < 2) return undefined;
  const from = samples[0].t;
  const to = samples.at(-1).t;
  const values = series.flatMap(({ of }) => samples.map(of).filter((value) => Number.isFinite(value)));
  if (values.length === 0) return undefined;
  const most = niceTop(Math.max(...values.slice(0, 1), ...chunkMax(values)));
  const x = (t) => LEFT + ((t - from) / (to - from || 1)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - (value / most) * (HEIGHT - TOP - BOTTOM);
  const parts = [text(LEFT, 18, `${title}, ${unit}`, "title")];
  for (let i = 0; i <= 4; i += 1) {
    const value = (most * i) / 4;
    parts.push(`<line class="axis" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(value)}" y2="${y(value)}"/>`);
    parts.push(text(LEFT - 6, y(value) + 4, short(value), "dim", "end"));
  }
  for (let i = 0; i <= 6; i += 1) {
    const t = from + ((to - from) * i) / 6;
    parts.push(text(x(t), HEIGHT - BOTTOM + 16, span(t - from), "dim", "middle"));
  }
  for (const { t, kind } of marks) {
    const colour = MARKS[kind];
    if (colour && t >= from && t <= to)
      parts.push(
        `<line x1="${x(t).toFixed(1)}" x2="${x(t).toFixed(1)}" y1="${TOP}" y2="${HEIGHT - BOTTOM}" stroke="${colour}" stroke-opacity=".45"/>`,
      );
  }
  series.forEach(({ of }, i) => {
    let path = "";
    let before;
    for (const sample of samples) {
      const value = of(sample);
      if (Number.isFinite(value)) {
        const joined = before !== undefined && before.life === sample.life;
        path += `${joined ? "L" : "M"}${x(sample.t).toFixed(1)} ${y(value).toFixed(1)}`;
        before = sample;
      } else before = undefined;
    }
    parts.push(`<path d="${path}" fill="none" stroke="${COLOURS[i % COLOURS.length]}" stroke-width="1.5"/>`);
  });
  let at = LEFT;
  const legend = [
    ...series.map(({ name }, i) => [name, COLOURS[i % COLOURS.length]]),
    ...Object.entries(MARKS).filter(([kind]) => marks.some((mark) => mark.kind === kind)),
  ];
  for (const [name, colour] of legend) {
    parts.push(`<rect x="${at}" y="${HEIGHT - 18}" width="10" height="10" fill="${colour}" rx="2"/>`);
    parts.push(text(at + 14, HEIGHT - 9, name, "dim"));
    at += 26 + name.length * 6.5;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img" aria-label="${title}">
<style>${STYLE}
</style>
${parts.join("\n")}
</svg>
`;
}

/** The largest of each thousand: spreading a long list into one call is too much for it. */
function chunkMax(values) {
  const out = [];
  for (let i = 0; i < values.length; i += 1000) out.push(Math.max(...values.slice(i, i + 1000)));
  return out;
}

function niceTop(value) {
  if (value <= 0) return 1;
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((n) => n * unit).find((top) => top >= value);
}

function short(value) {
  return value >= 10_000 ? `${Math.round(value / 1000)}k` : String(Number(value.toPrecision(3)));
}

function span(ms) {
  const s = Math.round(ms / 1000);
  if (s < 120) return `${s} s`;
  return s < 7200 ? `${(s / 60).toFixed(1)} min` : `${(s / 3600).toFixed(1)} h`;
}

function text(x, y, words, kind, anchor = "start") {
  const escaped = words.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text class="${kind}" x="${x.toFixed(1)}" y="${y}" text-anchor="${anchor}">${escaped}</text>`;
}
