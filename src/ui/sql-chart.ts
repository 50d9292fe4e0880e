import { numberOf, type Cell } from "./sql-cells.ts";

/** What a result can be drawn as. */
export interface ChartChoice {
  /** Columns that have numbers alone, and at least one. */
  readonly values: readonly number[];
  /** Columns that can stand at the foot: numbers, or times. -1, the number of the row, is always one. */
  readonly feet: readonly number[];
}

/** Rows that are looked at to say what a column holds. */
const LOOKED_AT = 200;

export function chartChoice(columns: number, rows: readonly (readonly Cell[])[]): ChartChoice {
  const values: number[] = [];
  const feet = [-1];
  for (let column = 0; column < columns; column += 1) {
    const cells = rows.slice(0, LOOKED_AT).flatMap((row) => row[column] ?? []);
    const given = cells.filter(({ kind }) => kind !== "null");
    if (given.length === 0) continue;
    if (given.every((cell) => numberOf(cell) !== undefined)) {
      values.push(column);
      feet.push(column);
    } else if (given.every((cell) => timeOf(cell) !== undefined)) feet.push(column);
  }
  return { values, feet };
}

/** Seconds since 1970 of a text that begins as a date does. */
function timeOf({ kind, text }: Cell): number | undefined {
  if (kind !== "text" || !/^\d{4}-\d\d-\d\d(?:$|[T ]\d\d:\d\d)/.test(text)) return undefined;
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms / 1000;
}

export interface Drawing {
  readonly x: readonly number[];
  readonly values: readonly (number | null)[];
  /** `x` are times. */
  readonly time: boolean;
}

/** Points in the order of the foot, which a chart needs; rows without one are left out. */
export function drawingOf(rows: readonly (readonly Cell[])[], foot: number, column: number): Drawing {
  let time = false;
  const points = rows.flatMap((row, i): [number, number | null][] => {
    const cell = row[foot];
    const moment = cell && timeOf(cell);
    if (moment !== undefined) time = true;
    const x = foot < 0 ? i + 1 : (moment ?? (cell && numberOf(cell)));
    const value = row[column];
    return x === undefined ? [] : [[x, (value && numberOf(value)) ?? null]];
  });
  points.sort(([a], [b]) => a - b);
  return { x: points.map(([x]) => x), values: points.map(([, value]) => value), time };
}

/** One number of a watched result as it went, for results of a single row. */
export class Course {
  readonly #most: number;
  #points: (readonly [seconds: number, value: number])[] = [];

  constructor(most = 600) {
    this.#most = most;
  }

  note(ms: number, value: number | undefined): void {
    if (value === undefined) return;
    this.#points.push([ms / 1000, value]);
    if (this.#points.length > this.#most) this.#points = this.#points.slice(-this.#most);
  }

  get drawing(): Drawing {
    return { x: this.#points.map(([x]) => x), values: this.#points.map(([, value]) => value), time: true };
  }
}
