import { SkaldError } from "../errors.ts";
import { blake3 } from "../ids/hash.ts";

type Cell = string | number | Uint8Array | null;

/**
 * What a row of a derived table carries so that it vouches for itself: the first 48 bits of blake3 over
 * its cells, each behind its type and length. SQLite itself finds one flipped bit in sixty.
 */
export function rowSum(cells: readonly Cell[]): number {
  return firstBits(blake3(rowBytes(cells)));
}

/** First 96 bits of the same: a name for something that a table holds, which two things never share. */
export function rowName(cells: readonly Cell[]): Buffer {
  return Buffer.from(blake3(rowBytes(cells)).subarray(0, 12));
}

/**
 * What one row of two numbers adds to the sum of its table (mod 2^32): cheap, because it is worked out
 * for each address a commit makes, and it only has to tell rows that changed, came or went.
 */
export function pairSum(a: number, b: number): number {
  let h = Math.imul((a >>> 0) ^ 0x9e3779b9, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 15) ^ Math.floor(a / 2 ** 32), 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 13) ^ (b >>> 0), 0x27d4eb2f);
  h = Math.imul(h ^ (h >>> 16) ^ Math.floor(b / 2 ** 32), 0x165667b1);
  return (h ^ (h >>> 15)) >>> 0;
}

/** The error for a derived row that is not as it was written: what is derived is then made anew. */
export function rowDamaged(file: string, what: string): SkaldError {
  return new SkaldError("DERIVED_DAMAGED", `The file ${file} is damaged: ${what}.`, { details: { file } });
}

function firstBits(digest: Uint8Array): number {
  return Buffer.from(digest.buffer, digest.byteOffset, 6).readUIntBE(0, 6);
}

function rowBytes(cells: readonly Cell[]): Buffer {
  let size = 0;
  for (const cell of cells) size += 9 + (typeof cell === "string" ? cell.length * 3 : lengthOf(cell));
  const out = Buffer.allocUnsafe(size);
  let at = 0;
  for (const cell of cells) {
    if (cell === null) {
      out[at] = 0;
      at += 1;
    } else if (typeof cell === "number") {
      out[at] = 1;
      at = out.writeDoubleLE(cell, at + 1);
    } else if (typeof cell === "string") {
      out[at] = 2;
      const length = out.write(cell, at + 5, "utf8");
      out.writeUInt32LE(length, at + 1);
      at += 5 + length;
    } else {
      out[at] = 3;
      out.writeUInt32LE(cell.length, at + 1);
      out.set(cell, at + 5);
      at += 5 + cell.length;
    }
  }
  return out.subarray(0, at);
}

function lengthOf(cell: number | Uint8Array | null): number {
  return cell instanceof Uint8Array || ArrayBuffer.isView(cell) ? (cell as Uint8Array).length : 0;
}
