import { readChange, type ChangeHeader } from "../log/change.ts";
import { CHUNK_CHANGE, CHUNK_DEFLATED_CHANGE, CHUNK_DOCUMENT, readFrame } from "../log/chunk.ts";
import { guardSavedDocument } from "../log/saved-document.ts";
import type { History } from "./history.ts";
import { guarded, malformed } from "./sync-message.ts";

/** One Automerge chunk of a message: 0 a saved document, 1 a change, 2 a deflated change. */
export interface Chunk {
  readonly type: number;
  readonly bytes: Uint8Array;
}

/** The chunks of a message's parts, as frames: nothing inside of them is looked at. Throws SYNC_MALFORMED. */
export function readChunks(parts: readonly Uint8Array[]): Chunk[] {
  const chunks: Chunk[] = [];
  for (const part of parts) {
    for (let at = 0; at < part.length;) {
      const { type, end } = guarded(() => readFrame(part, at));
      if (type !== CHUNK_CHANGE && type !== CHUNK_DEFLATED_CHANGE && type !== CHUNK_DOCUMENT) {
        throw malformed("chunk-type", "The message has a chunk that is neither a document nor a change");
      }
      chunks.push({ type, bytes: at === 0 && end === part.length ? part : part.subarray(at, end) });
      at = end;
    }
  }
  return chunks;
}

/**
 * The single changes that a message brings, each through the guard. A saved document goes through its own guard
 * and is taken apart where Automerge runs. Throws SYNC_MALFORMED, what `readChange` and `guardSavedDocument`
 * throw, and what taking apart throws (IMPORT_INVALID, WORK_TIMEOUT, WORK_FAILED, WORK_BUSY).
 */
export async function readParts(parts: readonly Uint8Array[], history: History): Promise<ChangeHeader[]> {
  const headers: ChangeHeader[] = [];
  if (parts.length === 0) return headers;
  const pace = history.pace();
  const chunks = readChunks(parts);
  for (const { type, bytes } of chunks) {
    if (type === CHUNK_DOCUMENT) {
      guardSavedDocument(bytes);
      for (const change of await history.split(bytes)) {
        headers.push(readChange(change));
        if (pace.due()) await pace.turn();
      }
    } else {
      headers.push(readChange(bytes));
      if (chunks.length > 1 && pace.due()) await pace.turn();
    }
  }
  return headers;
}
