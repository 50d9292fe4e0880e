import { SkaldError } from "../errors.ts";
import { emptyHandle, type Handle, loadChunks, missingHeads } from "./handle.ts";

interface Entry {
  handle: Handle;
  /** A copy with one more change, written here: what the document becomes if the caller commits it. */
  candidate?: { handle: Handle; head: string };
  bytes: number;
}

/**
 * Loaded documents of one thread, the least recently used dropped when their estimated size passes the bound.
 * A handle holds at least what was asked for last and may hold more, so every answer names its heads. It never
 * holds a change that was only authored: that one waits in a copy until a job asks for it by its hash.
 */
export class LoadedDocuments {
  readonly #maxBytes: number;
  /** In order of use, the oldest first. */
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get count(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Estimated bytes of this document; 0 when it is not here. */
  bytesOf(docRef: string): number {
    return this.#entries.get(docRef)?.bytes ?? 0;
  }

  /** A handle that has all of `heads`, or the heads that are here for the caller to send the rest. */
  find(docRef: string, heads: readonly string[]): Handle | { have: string[] } {
    const entry = this.#entries.get(docRef);
    if (entry === undefined) return { have: [] };
    this.#entries.delete(docRef);
    this.#entries.set(docRef, entry);
    if (entry.candidate !== undefined && heads.includes(entry.candidate.head)) {
      adopt(entry, entry.candidate.handle);
      this.#measure(entry);
    }
    return missingHeads(entry.handle, heads).length === 0 ? entry.handle : { have: entry.handle.getHeads() };
  }

  /**
   * Loads `bytes`, which lead from `have` (as `find` gave them) to `heads`. Undefined means that they did not
   * get there and everything is needed.
   * @throws SkaldError DOC_UNREADABLE when they did not get there from nothing
   */
  supply(
    docRef: string,
    heads: readonly string[],
    have: readonly string[],
    bytes: Uint8Array,
  ): Handle | undefined {
    let entry = this.#entries.get(docRef);
    if (have.length === 0 || entry === undefined) {
      this.drop(docRef);
      entry = { handle: emptyHandle(), bytes: 0 };
    }
    let reason = "";
    try {
      loadChunks(entry.handle, bytes);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      reason = error.message;
    }
    const missing = missingHeads(entry.handle, heads);
    if (missing.length === 0) {
      this.#entries.set(docRef, entry);
      this.#measure(entry);
      return entry.handle;
    }
    entry.handle.free();
    this.#entries.delete(docRef);
    this.#bytes -= entry.bytes;
    if (have.length > 0) return undefined;
    throw new SkaldError(
      "DOC_UNREADABLE",
      `The chunks of the document do not load up to its heads. ${reason}`.trim(),
      {
        details: { missing },
      },
    );
  }

  /** Keeps `handle`, whose only head is `head`, for the job that will ask for it once it is committed. */
  propose(docRef: string, handle: Handle, head: string): void {
    const entry = this.#entries.get(docRef);
    if (entry === undefined) {
      // Only a document without any change is not loaded here: its candidate starts from nothing.
      const fresh: Entry = { handle: emptyHandle(), candidate: { handle, head }, bytes: 0 };
      this.#entries.set(docRef, fresh);
      this.#measure(fresh);
      return;
    }
    entry.candidate?.handle.free();
    entry.candidate = { handle, head };
    this.#measure(entry);
  }

  drop(docRef: string): void {
    const entry = this.#entries.get(docRef);
    if (entry === undefined) return;
    this.#entries.delete(docRef);
    this.#bytes -= entry.bytes;
    entry.candidate?.handle.free();
    entry.handle.free();
  }

  /** Drops what is loaded under names that have `start` in them and end like this; gives how many. */
  forget(start: string, end: string): number {
    const refs = [...this.#entries.keys()].filter((ref) => ref.includes(start) && ref.endsWith(end));
    for (const ref of refs) this.drop(ref);
    return refs.length;
  }

  /** Drops the least recently used documents until the bound holds. Call between jobs: handles are freed. */
  trim(): void {
    for (const docRef of this.#entries.keys()) {
      if (this.#bytes <= this.#maxBytes) return;
      this.drop(docRef);
    }
  }

  #measure(entry: Entry): void {
    this.#bytes -= entry.bytes;
    entry.bytes =
      estimate(entry.handle) + (entry.candidate === undefined ? 0 : estimate(entry.candidate.handle));
    this.#bytes += entry.bytes;
  }
}

/** The candidate was committed. It may stem from older heads than the handle's, which must not be lost. */
function adopt(entry: Entry, candidate: Handle): void {
  delete entry.candidate;
  if (missingHeads(candidate, entry.handle.getHeads()).length === 0) {
    entry.handle.free();
    entry.handle = candidate;
  } else {
    entry.handle.merge(candidate);
    candidate.free();
  }
}

/** Measured: 10 to 16 KB for a document with a few keys, 120 to 250 bytes a change, a few bytes an operation. */
function estimate(handle: Handle): number {
  const { numChanges, numOps } = handle.stats();
  return 16_384 + 250 * numChanges + 16 * numOps;
}
