import { itemTexts, memberTexts } from "./json-source.ts";
import { hashOfRows } from "./result-hash.ts";
import { applyDelta } from "./row-delta.ts";

/** A row as the server wrote it, which tells 2 from 2.0 and keeps all digits, and what its owner makes of it. */
export interface WatchedRow<T> {
  /** A JSON list. */
  readonly text: string;
  readonly row: T;
}

/** A result that is watched, as of one event. */
export interface WatchedRows<T> {
  readonly columns: readonly string[];
  readonly types: readonly (string | null)[];
  /** A row that did not change is the same object as before. */
  readonly rows: readonly WatchedRow<T>[];
  /** The commit that the result holds for. */
  readonly seq: number;
  readonly hash: string;
  /** A watch goes on from here. */
  readonly cursor: string;
}

/** What is here is not what the server has: only the whole result helps. */
export class WatchMismatch extends Error {
  override readonly name = "WatchMismatch";
}

interface Said {
  readonly seq: number;
  readonly result_hash: string;
  readonly cursor: string;
  readonly columns?: readonly string[];
  readonly types?: readonly (string | null)[];
  readonly from?: string;
  readonly row_count?: number;
}

/**
 * What an event of a watch (specs/25-query.md) makes of the result before it: snapshots, updates as a whole or as a
 * delta, signs of life. `before` itself stays as it is. Events of names that are not known change nothing. Throws
 * WatchMismatch when the outcome has not the hash that the event says.
 *
 * @param data JSON text.
 * @param reader for these columns, what makes of a row's text what the owner wants; called once for each new row.
 */
export function takeWatchEvent<T>(
  before: WatchedRows<T> | undefined,
  event: string,
  data: string,
  reader: (columns: readonly string[]) => (text: string) => T,
): WatchedRows<T> | undefined {
  const whole = event === "snapshot" || event === "update";
  if (!whole && event !== "resumed" && event !== "heartbeat") return before;
  const members = memberTexts(data);
  const rowsText = members.get("rows");
  for (const name of ["rows", "changed", "removed", "added"]) members.delete(name);
  const said = JSON.parse(
    `{${Array.from(members, ([name, text]) => `${JSON.stringify(name)}:${text}`).join()}}`,
  ) as Said;
  const { seq, cursor, result_hash: hash } = said;
  if (!whole) {
    if (before?.hash !== hash) throw new WatchMismatch("the result is another one than the server's");
    return { ...before, seq, cursor };
  }
  const columns = said.columns ?? before?.columns ?? [];
  const types = said.types ?? before?.types ?? [];
  const read = reader(columns);
  const made = (text: string): WatchedRow<T> => ({ text, row: read(text) });
  let rows: readonly WatchedRow<T>[];
  if (rowsText !== undefined) {
    const old = before && sameNames(before.columns, columns) ? before.rows : [];
    rows = itemTexts(rowsText).map((text, i) => {
      const same = old[i];
      return same?.text === text ? same : made(text);
    });
  } else {
    if (before?.hash !== said.from)
      throw new WatchMismatch("the delta leads on from another result than the one here");
    rows = stepped(before?.rows ?? [], memberTexts(data), made);
  }
  if (
    rows.length !== said.row_count ||
    hashOfRows(
      columns,
      rows.map(({ text }) => text),
    ) !== hash
  )
    throw new WatchMismatch("the rows have not the hash that the server says");
  return { columns, types, rows, seq, hash, cursor };
}

function stepped<T>(
  before: readonly WatchedRow<T>[],
  members: ReadonlyMap<string, string>,
  made: (text: string) => WatchedRow<T>,
): WatchedRow<T>[] {
  const placed = (name: string): (readonly [number, string])[] =>
    itemTexts(members.get(name) ?? "[]").map((pair) => {
      const [at, row] = itemTexts(pair) as [string, string];
      return [Number(at), row];
    });
  const fresh = (name: string) => placed(name).map(([at, row]) => [at, made(row)] as const);
  const removed = placed("removed").map(([at, text]) => {
    const gone = before[at];
    if (gone?.text !== text) throw new WatchMismatch("a row that goes is not here");
    return [at, gone] as const;
  });
  try {
    return applyDelta(before, { changed: fresh("changed"), removed, added: fresh("added") });
  } catch (error) {
    if (error instanceof RangeError) throw new WatchMismatch(error.message);
    throw error;
  }
}

function sameNames(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((name, i) => name === other[i]);
}
