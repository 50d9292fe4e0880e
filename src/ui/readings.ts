import { total, type Family } from "./metrics.ts";

/**
 * The last minutes of a server's metrics, kept by the page that shows them: the server itself remembers no past.
 * A counter becomes a rate between two readings; where it fell the server began anew, and counts from 0.
 */

export interface Line {
  readonly metric: string;
  readonly passes?: (labels: Readonly<Record<string, string>>) => boolean;
  /** A counter: shown is its growth a second. */
  readonly rate?: true;
  /** Divides growth by the growth of this other counter: the mean of what was counted. */
  readonly per?: string;
  /** Multiplies what is shown: seconds to milliseconds. */
  readonly times?: number;
}

interface Reading {
  /** Seconds. */
  readonly time: number;
  readonly families: ReadonlyMap<string, Family>;
}

export class Readings {
  readonly #readings: Reading[] = [];
  readonly #most: number;

  constructor(most = 150) {
    this.#most = most;
  }

  /** `time` in seconds. A reading that is not later than the last one is left out. */
  add(time: number, families: ReadonlyMap<string, Family>): void {
    const last = this.#readings.at(-1);
    if (last && time <= last.time) return;
    this.#readings.push({ time, families });
    if (this.#readings.length > this.#most) this.#readings.shift();
  }

  get times(): number[] {
    return this.#readings.map(({ time }) => time);
  }

  /** One value for each of `times`; null where there is none yet, or nothing was counted to take a mean of. */
  values(line: Line): (number | null)[] {
    return this.#readings.map((reading, i) => {
      const value = valueAt(line, this.#readings[i - 1], reading);
      return value === null ? null : value * (line.times ?? 1);
    });
  }

  latest(line: Line): number | null {
    return this.values(line).at(-1) ?? null;
  }
}

function valueAt(line: Line, before: Reading | undefined, now: Reading): number | null {
  const { metric, passes, rate, per } = line;
  if (!rate && per === undefined) return total(now.families, metric, passes) ?? null;
  const grown = growth(before, now, metric, passes);
  if (!before || grown === null) return null;
  if (per === undefined) return grown / (now.time - before.time);
  const counted = growth(before, now, per, passes);
  return counted === null || counted === 0 ? null : grown / counted;
}

function growth(
  before: Reading | undefined,
  now: Reading,
  metric: string,
  passes: Line["passes"],
): number | null {
  const value = total(now.families, metric, passes);
  if (!before || value === undefined) return null;
  const old = total(before.families, metric, passes) ?? 0;
  return value < old ? value : value - old;
}
