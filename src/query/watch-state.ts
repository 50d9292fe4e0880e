import { deltaOf, type RowDelta } from "./row-delta.ts";

/** Stands between two rows of a result: JSON takes the tab for nothing, and no row has one within. */
export const BETWEEN_ROWS = ",\t";

/** A result as it was after a commit. What is here is shared by all who watch it, and never changes. */
export interface Result {
  /** The commit that it holds for. */
  readonly seq: number;
  readonly hash: string;
  readonly columns: readonly string[];
  /** As declared, else as its values are; null of a column that is computed and NULL. */
  readonly types: readonly (string | null)[];
  readonly count: number;
  /** Its rows as JSON, UTF-8, with `BETWEEN_ROWS` between two. */
  readonly rows: Buffer;
}

/** The rows of a result, each as JSON. */
export function rowsOf({ rows, count }: Pick<Result, "rows" | "count">): string[] {
  return count === 0 ? [] : rows.toString("utf8").split(BETWEEN_ROWS);
}

/** The result that a watch has now, and what is made of it once for everybody. */
export class WatchState {
  readonly result: Result;
  /** What the result before it was, and what leads from that to this one. */
  readonly delta: { readonly from: string; readonly json: string } | undefined;
  readonly #encoded = new Map<string, Buffer>();

  constructor(result: Result, before?: Result) {
    this.result = result;
    const json = before && deltaText(before, result);
    this.delta = before && json !== undefined ? { from: before.hash, json } : undefined;
  }

  /** What `make` gives for this state, made once. */
  encoded(kind: string, make: () => Buffer): Buffer {
    let bytes = this.#encoded.get(kind);
    if (!bytes) this.#encoded.set(kind, (bytes = make()));
    return bytes;
  }
}

/** The delta as members of a JSON object; undefined when the rows themselves are no longer, or the columns are others. */
export function deltaText(before: Result, after: Result): string | undefined {
  if (JSON.stringify(before.columns) !== JSON.stringify(after.columns)) return undefined;
  const text = membersOf(deltaOf(rowsOf(before), rowsOf(after)));
  return text.length < after.rows.length ? text : undefined;
}

function membersOf(delta: RowDelta): string {
  return (["changed", "removed", "added"] as const)
    .map((name) => `"${name}":[${delta[name].map(([at, row]) => `[${at},${row}]`).join(",")}]`)
    .join(",");
}
