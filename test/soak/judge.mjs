/** Judges what was measured. Pure: samples in, sentences about what is wrong out. */

/** Line of least squares through `{x, y}`: slope, and the standard error of the slope. */
export function leastSquares(points) {
  const n = points.length;
  const mx = points.reduce((sum, { x }) => sum + x, 0) / n;
  const my = points.reduce((sum, { y }) => sum + y, 0) / n;
  const sxx = points.reduce((sum, { x }) => sum + (x - mx) ** 2, 0);
  if (n < 3 || sxx === 0) return { slope: 0, intercept: my, error: Infinity };
  const slope = points.reduce((sum, { x, y }) => sum + (x - mx) * (y - my), 0) / sxx;
  const intercept = my - slope * mx;
  const rest = points.reduce((sum, { x, y }) => sum + (y - intercept - slope * x) ** 2, 0);
  return { slope, intercept, error: Math.sqrt(rest / (n - 2) / sxx) };
}

export const MEMORY_BOUNDS = {
  /** Of a life, while caches and heaps fill. */
  warmUpS: 300,
  /** Shorter lives say nothing. */
  atLeastS: 900,
  mibPerHour: 96,
  /** What a life may rise in all before its slope counts. */
  riseMib: 48,
  /** Resident, at any time. */
  ceilingMib: 1536,
};

/**
 * Whether resident memory grows: in each life that lasted, the floors of twelve windows after the warm-up lie
 * on a line that does not rise faster than the bound. Floors, because collections of garbage come and go.
 * `samples`: `{t (ms), life, age (s since the start), rss (MiB)}`.
 */
export function judgeMemory(samples, bounds = {}) {
  const { warmUpS, atLeastS, mibPerHour, riseMib, ceilingMib } = { ...MEMORY_BOUNDS, ...bounds };
  const wrong = [];
  const lives = [];
  for (const [life, all] of grouped(
    samples.filter(({ rss }) => rss > 0),
    ({ life }) => life,
  )) {
    const most = Math.max(...all.map(({ rss }) => rss));
    if (most > ceilingMib)
      wrong.push(`life ${life} had ${Math.round(most)} MiB resident, more than ${ceilingMib}`);
    const warm = all.filter(({ age }) => age >= warmUpS);
    const seconds = warm.length < 2 ? 0 : warm.at(-1).age - warm[0].age;
    if (seconds < atLeastS) continue;
    const floors = floorsOf(warm, 12);
    const { slope, error } = leastSquares(floors);
    const perHour = slope * 3600;
    const rise = slope * seconds;
    lives.push({ life, seconds, mibPerHour: perHour, error: error * 3600, most });
    if (perHour - 2 * error * 3600 > mibPerHour && rise > riseMib)
      wrong.push(
        `in life ${life} memory rose by ${perHour.toFixed(0)} MiB an hour (± ${(error * 3600).toFixed(0)}) over ${Math.round(seconds)} s`,
      );
  }
  return { wrong, lives };
}

function floorsOf(samples, windows) {
  const from = samples[0].age;
  const width = (samples.at(-1).age - from) / windows || 1;
  const floors = new Map();
  for (const { age, rss } of samples) {
    const window = Math.min(windows - 1, Math.floor((age - from) / width));
    const known = floors.get(window);
    if (known === undefined || rss < known.y) floors.set(window, { x: age, y: rss });
  }
  return [...floors.values()];
}

/**
 * Whether a server starts larger each time: resident memory at the same point of every life.
 * `points`: `{t (ms), rss}`.
 */
export function judgeStarts(points, { mib = 64 } = {}) {
  if (points.length < 6) return { wrong: [] };
  const fit = leastSquares(points.map(({ t, rss }) => ({ x: t, y: rss })));
  const rise = fit.slope * (points.at(-1).t - points[0].t);
  const sure = fit.slope - 2 * fit.error > 0;
  return {
    wrong:
      sure && rise > mib
        ? [`from the first start to the last, memory after a start rose by ${Math.round(rise)} MiB`]
        : [],
    rise,
  };
}

/**
 * Whether descriptors go back once nobody asks for anything. `quiets`: `{life, fds, base}`, `base` what the
 * process had when it had started. `allowance` is what it may keep: open dbs, threads.
 */
export function judgeDescriptors(quiets, { allowance }) {
  const wrong = [];
  for (const { life, fds, base } of quiets)
    if (fds > base + allowance)
      wrong.push(
        `in life ${life} ${fds} descriptors were left after the load, ${base} at the start and ${allowance} allowed`,
      );
  for (const [life, all] of grouped(quiets, (quiet) => quiet.life)) {
    if (all.length < 6) continue;
    const { slope, error } = leastSquares(all.map(({ fds }, x) => ({ x, y: fds })));
    const rise = slope * (all.length - 1);
    if (slope - 2 * error > 0 && rise > allowance / 2)
      wrong.push(`in life ${life} descriptors left after the load rose by ${Math.round(rise)}`);
  }
  return { wrong };
}

/** Bytes a write-ahead log may have: the log's own checkpoint comes at 16 MiB and waits for its readers. */
export const WAL_BOUND = 48 * 1024 * 1024;

/** `samples`: `{wal: {file: bytes}}`. */
export function judgeWal(samples, { bound = WAL_BOUND } = {}) {
  const most = {};
  for (const { wal } of samples)
    for (const [file, bytes] of Object.entries(wal ?? {})) most[file] = Math.max(most[file] ?? 0, bytes);
  const wrong = Object.entries(most)
    .filter(([, bytes]) => bytes > bound)
    .map(
      ([file, bytes]) => `${file} grew to ${(bytes / 2 ** 20).toFixed(1)} MiB, more than ${bound / 2 ** 20}`,
    );
  return { wrong, most };
}

function grouped(list, keyOf) {
  const groups = new Map();
  for (const each of list) {
    const key = keyOf(each);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(each);
  }
  return groups;
}
