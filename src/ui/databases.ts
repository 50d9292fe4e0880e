/** Of `GET /db/:db`. */
export interface DbInfo {
  readonly db: string;
  readonly uid: string;
  readonly created: string;
  readonly seq: number;
  readonly commit: string | null;
  readonly branches: readonly string[];
  readonly documents: number;
  readonly deleted: number;
  readonly bytes: number;
}

/** Of `GET /db/:db/activity`. */
export interface Activity {
  readonly from: string;
  readonly to: string;
  readonly step_ms: number;
  readonly commits: readonly number[];
  readonly seq: number;
}

/** Points of a small line, for an SVG of this size; zero lies on its floor. */
export function sparkline(values: readonly number[], width: number, height: number): string {
  const most = Math.max(1, ...values);
  const step = values.length > 1 ? width / (values.length - 1) : 0;
  return values
    .map((value, i) => `${round(i * step)},${round(height - 1 - (value / most) * (height - 2))}`)
    .join(" ");
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

/** The seconds at which the steps begin. */
export function timesOf({ from, step_ms, commits }: Activity): number[] {
  const start = Date.parse(from);
  return commits.map((_, i) => (start + i * step_ms) / 1000);
}

export function sum(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0);
}
