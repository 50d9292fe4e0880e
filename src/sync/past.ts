import type { LogReader } from "../log/reader.ts";
import { headersIn, type StoredCommit } from "../log/stored-commit.ts";
import type { HistoryChange, Most } from "./history.ts";

/** What one commit did to the document. */
export interface Past {
  readonly seq: number;
  readonly base: readonly string[];
  readonly heads: readonly string[];
  readonly changes: readonly HistoryChange[];
  readonly bytes: number;
}

/** Throws DERIVED_DAMAGED when the commit does not touch the document, as the catalog says. */
export function readPast(log: LogReader, doc: string, seq: number): Past {
  log.entryOf(doc, seq);
  return pastIn(log.commit(seq) as StoredCommit, doc) as Past;
}

export function pastIn(stored: StoredCommit, doc: string): Past | undefined {
  const entry = stored.commit.entries.find((candidate) => candidate.doc === doc);
  return entry && pastOf(stored.commit.seq, entry.base, entry.heads, headersIn(stored, doc));
}

export function pastOf(
  seq: number,
  base: readonly string[],
  heads: readonly string[],
  changes: readonly HistoryChange[],
): Past {
  const bytes = changes.reduce((sum, change) => sum + change.bytes.length + CHANGE_WEIGHT, PAST_WEIGHT);
  return {
    seq,
    base,
    heads,
    changes: changes.map(({ hash, deps, bytes: own }) => ({ hash, deps, bytes: own })),
    bytes,
  };
}

/**
 * One walk from the newest commit back. What is known makes known what it builds on, and the others are found;
 * where all heads before a commit are known, so is everything before it.
 */
export class Walk {
  /** More than was asked for. */
  over = false;
  readonly #known: Set<string>;
  readonly #refused: ReadonlyMap<string, string>;
  readonly #genesis: HistoryChange;
  readonly #most: Most;
  /** Newest first. */
  readonly #found: HistoryChange[] = [];
  #bytes = 0;

  constructor(
    known: readonly string[],
    refused: ReadonlyMap<string, string>,
    genesis: HistoryChange,
    most: Most,
  ) {
    this.#known = new Set(known);
    this.#refused = refused;
    this.#genesis = genesis;
    this.#most = most;
  }

  covers(heads: readonly string[]): boolean {
    return heads.every((head) => this.#known.has(head));
  }

  /** False when there is no need to go further back. */
  step(past: Past): boolean {
    for (let i = past.changes.length - 1; i >= 0; i -= 1) {
      const change = past.changes[i] as HistoryChange;
      if (this.#known.has(change.hash)) {
        for (const dep of change.deps) this.#known.add(dep);
      } else if (!this.#refused.has(change.hash)) {
        this.#found.push(change);
        this.#bytes += change.bytes.length;
      }
    }
    this.over = this.#found.length > this.#most.changes || this.#bytes > this.#most.bytes;
    return !this.over && !this.covers(past.base);
  }

  changes(): HistoryChange[] {
    const { hash } = this.#genesis;
    const lacks =
      !this.#known.has(hash) &&
      this.#found.some(({ deps }) => deps.includes(hash)) &&
      !this.#found.some((change) => change.hash === hash);
    // Again for a peer that has it by way of something older: it takes a hundred bytes and does no harm.
    if (lacks) this.#found.push(this.#genesis);
    return this.#found.reverse();
  }
}

/** Memory of a commit and of a change beside its bytes, roughly. */
const PAST_WEIGHT = 200;
const CHANGE_WEIGHT = 300;
