import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { SkaldError } from "../errors.ts";
import { blake3, toHex } from "../ids/hash.ts";

/**
 * What stands beside a log that was closed: the seq it ended at and a hash of its last record. It tells an
 * older or another log, and a write-ahead log, that were put here since. Written when everything is in the
 * file, taken away (and that synced) before the first write, so it never speaks of what came later.
 */
export interface LogNote {
  readonly seq: number;
  readonly hash: string;
}

/** The note beside `file`, or undefined: then the log was not closed, or the note itself is damaged. */
export function readNote(file: string): LogNote | undefined {
  try {
    const [seq, hash, check] = readFileSync(noteOf(file), "utf8").trimEnd().split(" ");
    if (seq === undefined || hash === undefined || check !== hashOf(Buffer.from(`${seq} ${hash}`)))
      return undefined;
    return { seq: Number(seq), hash };
  } catch {
    return undefined;
  }
}

export function writeNote(file: string, note: LogNote): void {
  const text = `${note.seq} ${note.hash}`;
  writeFileSync(noteOf(file), `${text} ${hashOf(Buffer.from(text))}\n`);
}

/** Durable when it returns: a note that a power cut brings back would speak of a log that has gone on. */
export function dropNote(file: string): void {
  if (!existsSync(noteOf(file))) return;
  rmSync(noteOf(file), { force: true });
  const folder = openSync(path.dirname(file), "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

export function hashOf(bytes: Uint8Array): string {
  return toHex(blake3(bytes).subarray(0, 16));
}

/** Throws DB_DAMAGED when a write-ahead log is there that the log was not closed with. */
export function refuseStrayWal(file: string): void {
  if (!readNote(file) || walBytes(file) === 0) return;
  throw new SkaldError(
    "DB_DAMAGED",
    `Beside ${file} is a write-ahead log, and the log was closed without one.`,
    {
      details: { file },
      hint: `It is of another time or another db and would overwrite the log: move ${file}-wal away. Nothing was touched.`,
    },
  );
}

export function walBytes(file: string): number {
  return statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0;
}

function noteOf(file: string): string {
  return `${file}.closed`;
}
