import * as A from "@automerge/automerge";
import { sha256Hex } from "../ids/hash.ts";

/**
 * A document inside Automerge's WASM module. Skald works on it directly: the proxies of the public `change`
 * refuse the key `__proto__`, choose number types themselves and materialise more than is asked for.
 * Freed by hand, since memory that waits for the garbage collector makes the WASM heap grow for good.
 */
export type Handle = ReturnType<typeof A.getBackend>;

let blank: Handle | undefined;

/** A new empty document. All have one actor: who writes into one gives it to `copyOf`. */
export function emptyHandle(): Handle {
  blank ??= A.getBackend(A.init());
  return copyOf(blank);
}

/** A copy of all of it. Automerge's `fork` draws a random actor first, which takes longer than the rest. */
export function copyOf(handle: Handle, actor?: string): Handle {
  return handle.clone(actor);
}

/** All chunks in one call: one by one they cost quadratic time. Bytes it cannot use may be skipped silently. */
export function loadChunks(handle: Handle, bytes: Uint8Array): void {
  handle.loadIncremental(bytes);
}

/** Throws for a chunk that does not decode; what follows the last whole chunk is skipped silently. */
export function loadFile(bytes: Uint8Array): Handle {
  return A.getBackend(A.load(bytes));
}

/** Automerge answers questions about unknown heads with an empty document, so ask this first. */
export function missingHeads(handle: Handle, heads: readonly string[]): string[] {
  return heads.filter((head) => handle.getChangeMetaByHash(head) === null);
}

export function sameHeads(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((head) => b.includes(head));
}

/** Automerge's name of a change. The uncompressed form hashes from its type byte on; the other must be inflated. */
export function changeHash(change: Uint8Array): string {
  return change[8] === 1 ? sha256Hex(change.subarray(8)) : A.decodeChange(change).hash;
}
