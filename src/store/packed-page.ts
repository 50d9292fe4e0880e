import type { PackedRecords } from "./contract.ts";
import type { Sqlite } from "./sqlite.ts";

/**
 * Reads many small records as one run of bytes: a row of its own costs 3 µs, mostly for its two objects in
 * JavaScript, and a part of a run a quarter of that. SQLite joins them as text without looking at them, which
 * is why the lengths are asked for and compared: whatever does not add up is read one by one.
 */
export function packedPages(
  sqlite: Sqlite,
): (from: number, limit: number, maxBytes: number) => PackedRecords | undefined {
  const rows = "(SELECT seq, body FROM record WHERE seq >= ? ORDER BY seq LIMIT ?)";
  const sizes = sqlite.prepare(`SELECT group_concat(length(body)) AS sizes, max(seq) AS last FROM ${rows}`);
  const bodies = sqlite.prepare(
    `SELECT CAST(group_concat(CAST(body AS TEXT), '') AS BLOB) AS bytes FROM ${rows}`,
  );
  return (from, limit, maxBytes) => {
    const found = sizes.get(from, limit) as { sizes: string | null; last: number | null };
    if (found.sizes === null || found.last === null) return undefined;
    const lengths = found.sizes.split(",");
    // Records of one commit each, none left out.
    if (found.last - from + 1 !== lengths.length) return undefined;
    const ends: number[] = [];
    let end = 0;
    for (const length of lengths) {
      end += Number(length);
      if (end > maxBytes) break;
      ends.push(end);
    }
    const total = ends.at(-1);
    if (total === undefined) return undefined;
    const { bytes } = bodies.get(from, ends.length) as { bytes: unknown };
    return bytes instanceof Uint8Array && bytes.length === total ? { bytes, ends } : undefined;
  };
}
