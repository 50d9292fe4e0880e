import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { SkaldError } from "../errors.ts";
import { blake3, toHex } from "../ids/hash.ts";

/**
 * A seal stands beside a derived file that was closed cleanly and says which bytes it had: blake3 and size.
 * So what rots in a closed file is found before SQLite opens it, whatever it hits: a row, a key, a page that
 * leads to others. It is taken away by the first write. Files above SEAL_MAX are not sealed: hashing one
 * would hold up everybody; their rows vouch for themselves and the scrub goes through them.
 *
 * The file is read with `fs`, so it must not be open in this process: see sqlite.ts.
 */
export const SEAL_MAX = 16 * 1024 * 1024;

const WHOLE = /^\d+ [\da-f]{64}\n$/;

export type Sealed = "sealed" | "open" | "new";

/**
 * Looks at a file that SQLite is about to open. `sealed`: it is byte for byte as it was closed; `open`: there is
 * no whole seal, after a crash for example. Throws DB_DAMAGED when it is not as its seal says.
 */
export function checkSeal(file: string): Sealed {
  const size = sizeOf(file);
  if (size === 0) return "new";
  let said: string;
  try {
    said = readFileSync(sealOf(file), "utf8");
  } catch {
    return "open";
  }
  // One that could not be written to its end, nor taken away, says nothing of the file.
  if (!WHOLE.test(said)) return "open";
  if (sizeOf(`${file}-wal`) > 0) throw broken(file, "it has a write-ahead log that it was not closed with");
  if (size <= SEAL_MAX && said === textOf(file)) return "sealed";
  throw broken(file, "its bytes are not those that it was closed with");
}

/** Seals a closed file whose write-ahead log was moved into it, unless the disk is full or fails. */
export function seal(file: string): void {
  try {
    if (sizeOf(`${file}-wal`) > 0 || !existsSync(file) || sizeOf(file) > SEAL_MAX) return;
    writeFileSync(sealOf(file), textOf(file));
  } catch {
    try {
      // Without one the rows of the file vouch for themselves.
      breakSeal(file);
    } catch {
      // Half a seal is none.
    }
  }
}

/** Before the first write. */
export function breakSeal(file: string): void {
  rmSync(sealOf(file), { force: true });
}

export function sealOf(file: string): string {
  return `${file}.seal`;
}

function textOf(file: string): string {
  const bytes = readFileSync(file);
  return `${bytes.length} ${toHex(blake3(bytes))}\n`;
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

function broken(file: string, what: string): SkaldError {
  return new SkaldError("DB_DAMAGED", `The file ${file} is damaged: ${what}.`, { details: { file } });
}
