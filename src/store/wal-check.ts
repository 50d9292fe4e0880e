import { closeSync, openSync, readSync, statSync } from "node:fs";

/**
 * What is wrong with a write-ahead log that a process left behind, in words; undefined when nothing is.
 *
 * SQLite reads one up to the first frame whose checksum does not hold and takes the rest for what a power
 * cut tore: right for the last transaction, wrong for any before it. Every transaction is synced before the
 * next one begins, so behind a torn frame there can be more of its own transaction and nothing else. When
 * a later transaction follows, the frame was whole once, and what comes after it was acknowledged.
 *
 * Source: the SQLite documentation, "WAL-mode File Format". Reads the file with `fs`, so SQLite must not
 * be writing it.
 */
export function walDamage(file: string): string | undefined {
  const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  if (size < HEADER + FRAME) return undefined;
  const handle = openSync(file, "r");
  try {
    const main = statSync(file.replace(/-wal$/, ""), { throwIfNoEntry: false })?.size ?? 0;
    return damageIn(handle, size, main);
  } finally {
    closeSync(handle);
  }
}

const HEADER = 32;
const FRAME = 24;

function damageIn(handle: number, size: number, main: number): string | undefined {
  const header = Buffer.alloc(HEADER);
  readSync(handle, header, 0, HEADER, 0);
  const magic = header.readUInt32BE(0);
  const little = (magic & 1) === 0;
  const sum = checksum(header, 0, 24, [0, 0], little);
  const sound =
    (magic | 1) === 0x377f0683 && sum[0] === header.readUInt32BE(24) && sum[1] === header.readUInt32BE(28);
  // A header that does not hold says nothing of the page size either: the frames must tell.
  const pageSize = sound ? header.readUInt32BE(8) : PAGE_SIZE;
  const salts = sound ? header.subarray(16, 24) : undefined;
  const frame = Buffer.alloc(FRAME + pageSize);
  let broken = sound ? 0 : 1;
  let ended = false;
  let last: Buffer | undefined;
  let number = 0;
  for (let at = HEADER; at + frame.length <= size; at += frame.length) {
    number += 1;
    readSync(handle, frame, 0, frame.length, at);
    if (broken === 0) {
      if (frame.subarray(8, 16).equals(salts as Buffer)) {
        checksum(frame, 0, 8, sum, little);
        checksum(frame, FRAME, frame.length, sum, little);
        if (sum[0] === frame.readUInt32BE(16) && sum[1] === frame.readUInt32BE(20)) continue;
      }
      broken = number;
    }
    // What was left from before the log was begun anew has other salts.
    const own = Buffer.from(frame.subarray(8, 16));
    if (salts && !own.equals(salts)) continue;
    if (last && !own.equals(last)) ended = false;
    last = own;
    if (ended) {
      const what = sound ? `frame ${broken}` : "the header";
      return `${what} is not as it was written, and what was committed after it cannot be read`;
    }
    // The file's size in pages, 0 but at the end of a transaction. A sector that was torn can give any number:
    // no page is counted that neither file has.
    const pages = frame.readUInt32BE(4);
    ended = pages !== 0 && pages <= main / pageSize + size / frame.length;
  }
  return undefined;
}

/** Page size of every file made here. */
const PAGE_SIZE = 4096;

/** SQLite's own, over 32-bit words by two; goes on from `sum` and leaves the result there. */
function checksum(
  bytes: Buffer,
  from: number,
  to: number,
  sum: [number, number],
  little: boolean,
): [number, number] {
  let [a, b] = sum;
  for (let at = from; at < to; at += 8) {
    const x = little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at);
    const y = little ? bytes.readUInt32LE(at + 4) : bytes.readUInt32BE(at + 4);
    a = (a + x + b) >>> 0;
    b = (b + y + a) >>> 0;
  }
  sum[0] = a;
  sum[1] = b;
  return sum;
}
