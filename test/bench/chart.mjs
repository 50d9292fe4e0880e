/**
 * Bar charts as SVG, made here. Colours are chosen to stand on white and on black, and text follows
 * the reader's scheme. Two parts: ratios beside the line each should reach, and writes a second
 * beside other servers.
 */
const WIDTH = 860;
const LABEL = 400;
const PEER_LABEL = 210;
const BAR = 14;
const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #24292f; }
  .title { font-weight: 600; font-size: 14px; }
  .dim { fill: #57606a; }
  .ours { fill: #2f81f7; } .theirs { fill: #8b949e; } .line { stroke: #d29922; stroke-width: 2; }
  .axis { stroke: #8b949e; stroke-opacity: .4; }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3; } .dim { fill: #9198a1; } }`;

export function drawChart(subjects) {
  const rows = Object.entries(subjects).flatMap(([subject, { rows }]) =>
    rows.map((row) => ({ ...row, subject })),
  );
  const parts = [];
  let y = 8;
  y = drawRatios(
    parts,
    y,
    rows.filter((row) => row.reach && row.ratio !== undefined),
  );
  const peers = rows.filter((row) => row.subject === "peers" && row.ours !== undefined);
  if (peers.length > 0) y = drawPeers(parts, y + 16, peers);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" width="${WIDTH}" height="${y}" role="img" aria-label="Skald measured beside others">
<style>${STYLE}
</style>
${parts.join("\n")}
</svg>
`;
}

/** Each ratio as a share of what it should reach; where less is better, the share is turned over. */
function drawRatios(parts, top, rows) {
  if (rows.length === 0) return top;
  let y = top + 16;
  parts.push(text(0, y, "Skald ÷ its measure, as a share of what it is to reach", "title"));
  y += 14;
  const scale = (WIDTH - LABEL - 110) / 3;
  const start = y;
  for (const row of rows) {
    const [sign, limit] = row.reach.split(" ");
    const share = sign === "≥" ? row.ratio / Number(limit) : Number(limit) / row.ratio;
    y += 8;
    const width = Math.max(1, Math.min(3, share) * scale);
    parts.push(text(LABEL - 8, y + 11, clip(row.work), "", "end"));
    parts.push(bar(LABEL, y, width, "ours"));
    parts.push(
      text(LABEL + Math.max(width, scale) + 8, y + 11, `${row.ratio.toFixed(2)}  (${row.reach})`, "dim"),
    );
    y += BAR;
  }
  y += 8;
  parts.push(`<line class="line" x1="${LABEL + scale}" x2="${LABEL + scale}" y1="${start}" y2="${y}"/>`);
  parts.push(text(LABEL + scale, y + 13, "reached", "dim", "middle"));
  return y + 24;
}

/** One group of bars for each kind of work: our ways to do it, then each peer's. */
function drawPeers(parts, top, rows) {
  const groups = new Map();
  for (const row of rows) {
    const [work, how] = row.work.split(": ");
    const bars = groups.get(work) ?? new Map();
    bars.set(`Skald, ${how}`, { value: row.ours, kind: "ours" });
    if (row.theirs !== undefined) bars.set(row.against, { value: row.theirs, kind: "theirs" });
    groups.set(work, bars);
  }
  const most = Math.max(...rows.flatMap((row) => [row.ours, row.theirs ?? 0]));
  const scale = (WIDTH - PEER_LABEL - 220) / most;
  let y = top + 16;
  parts.push(text(0, y, "Writes a second, all in one run", "title"));
  y += 10;
  for (const [work, bars] of groups) {
    y += 10;
    parts.push(text(PEER_LABEL - 8, y + 11, work, "", "end"));
    const ordered = [...bars].toSorted(([, a], [, b]) =>
      a.kind === b.kind ? 0 : a.kind === "ours" ? -1 : 1,
    );
    for (const [label, { value, kind }] of ordered) {
      const width = Math.max(1, value * scale);
      parts.push(bar(PEER_LABEL, y, width, kind));
      parts.push(
        text(PEER_LABEL + width + 6, y + 11, `${Math.round(value).toLocaleString("en-US")} ${label}`, "dim"),
      );
      y += BAR + 2;
    }
  }
  return y + 12;
}

function bar(x, y, width, kind) {
  return `<rect class="${kind}" x="${x}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" rx="2"/>`;
}

function text(x, y, words, kind, anchor = "start") {
  const escaped = words.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text class="${kind}" x="${x}" y="${y}" text-anchor="${anchor}">${escaped}</text>`;
}

function clip(words) {
  return words.length > 62 ? `${words.slice(0, 61)}…` : words;
}
