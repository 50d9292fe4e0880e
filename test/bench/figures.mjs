/** Numbers from several rounds, and how they are written. */

export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export function quantile(values, q) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}

/** Three significant digits, thousands apart. */
export function show(value) {
  if (value === undefined || value === null) return "–";
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(3)));
}

/**
 * A line of the report. `reach` is "≥ 0.5" or "≤ 2" and speaks of `ratio`, which is ours ÷ theirs;
 * without `theirs` it speaks of `ours`.
 */
export function row({ work, ours, theirs, against, reach, unit, note }) {
  const ratio = theirs === undefined ? undefined : ours / theirs;
  const judged = ratio ?? ours;
  const [sign, limit] = reach ? reach.split(" ") : [];
  const pass =
    reach === undefined ? undefined : sign === "≥" ? judged >= Number(limit) : judged <= Number(limit);
  return { work, ours, theirs, against, ratio, reach, pass, unit, note };
}

/** A line about something that could not be measured. */
export function missing(work, note) {
  return { work, note };
}

/** A line about two things that must be equal. */
export function equality(work, holds, note) {
  return { work, ours: undefined, pass: holds, reach: "equal", note };
}

export async function timed(work) {
  const from = performance.now();
  const value = await work();
  return { ms: performance.now() - from, value };
}
