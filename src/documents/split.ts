import { SkaldError } from "../errors.ts";
import { changeHash, type Handle, loadFile, missingHeads } from "./handle.ts";
import type { SplitResult } from "./jobs.ts";

const MAGIC = [0x85, 0x6f, 0x4a, 0x83];
const CHANGE_TYPES = [1, 2];

/**
 * The single changes of a file of Automerge chunks, uncompressed and in causal order.
 * @throws SkaldError IMPORT_INVALID
 */
export function splitFile(bytes: Uint8Array): SplitResult {
  const chunks = readChunks(bytes);
  let handle: Handle;
  try {
    handle = loadFile(bytes);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw invalid(error.message);
  }
  try {
    // Automerge sets a change aside without a word when it depends on one that is not in the file.
    const hashes = chunks.filter((chunk) => CHANGE_TYPES.includes(chunk[8] as number)).map(changeHash);
    const missing = missingHeads(handle, hashes);
    if (missing.length > 0) throw invalid(`change ${missing[0]} depends on changes that are not in it`);
    return { changes: handle.getChanges([]), heads: handle.getHeads() };
  } finally {
    handle.free();
  }
}

/**
 * Automerge loads what it can of a file and is silent about a truncated rest or no bytes at all, so the frame of
 * every chunk is read here first: magic, checksum (4 bytes), type (1 byte), length (LEB128), contents.
 */
function readChunks(bytes: Uint8Array): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  let start = 0;
  do {
    if (MAGIC.some((byte, i) => bytes[start + i] !== byte)) throw invalid(`no chunk begins at byte ${start}`);
    let at = start + 9;
    let length = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      if (byte === undefined || scale > 2 ** 42) throw invalid(`the chunk at byte ${start} is cut off`);
      length += (byte & 0x7f) * scale;
      if (byte < 0x80) break;
    }
    if (at + length > bytes.length) throw invalid(`the chunk at byte ${start} is cut off`);
    chunks.push(bytes.subarray(start, at + length));
    start = at + length;
  } while (start < bytes.length);
  return chunks;
}

function invalid(detail: string): SkaldError {
  return new SkaldError("IMPORT_INVALID", `The Automerge file does not load: ${detail}.`);
}
