import type { Documents } from "../documents/documents.ts";
import { LIMITS } from "../limits.ts";
import { SkaldError, isSkaldError } from "../errors.ts";
import { readTrustedHeader } from "../log/change.ts";
import { tipsOf } from "../log/refusals.ts";
import type { Records } from "../log/records.ts";
import { changesIn } from "../log/stored-commit.ts";
import { toHex } from "../ids/hash.ts";
import { pause, type World } from "../world.ts";
import type { WalkedDoc } from "../log/walk.ts";

/** What one commit did to one document. */
export interface Piece {
  readonly seq: number;
  readonly heads: readonly string[];
  readonly deleted: boolean;
  /** Without those that were set aside, then or later. */
  readonly changes: readonly Uint8Array[];
}

/** A document at a point, with the single changes that lead there. */
export interface ReplayPoint {
  readonly seq: number;
  readonly heads: readonly string[];
  readonly deleted: boolean;
  readonly changes: readonly Uint8Array[];
}

/**
 * The pieces of documents, read from the records themselves in one pass, oldest first: so a bundle is
 * expanded once however many of the documents it holds. Yields now and then. Of erased documents there are none.
 * Throws DB_DAMAGED.
 */
export function* gather(
  records: Records,
  docs: readonly WalkedDoc[],
): Generator<void, Map<string, readonly Piece[]>> {
  const byCommit = new Map<number, WalkedDoc[]>();
  const pieces = new Map<string, Piece[]>();
  for (const doc of docs) {
    pieces.set(doc.state.name, []);
    if (doc.state.erased !== undefined) continue;
    for (const seq of doc.touches) {
      const there = byCommit.get(seq);
      if (there) there.push(doc);
      else byCommit.set(seq, [doc]);
    }
  }
  let read = 0;
  for (const [seq, touched] of [...byCommit].sort(([a], [b]) => a - b)) {
    const stored = records.commit(seq);
    for (const { state } of touched) {
      const entry = stored?.commit.entries.find(({ doc }) => doc === state.name);
      if (!stored || !entry)
        throw new SkaldError("DB_DAMAGED", `Commit ${seq}, which held ${state.name}, does not any more.`, {
          details: { seq },
        });
      const { refused } = state;
      const all = changesIn(stored, state.name);
      const left =
        refused.size === 0 ? all : all.filter((bytes) => !refused.has(readTrustedHeader(bytes).hash));
      pieces.get(state.name)?.push({
        seq,
        heads: entry.heads,
        deleted: entry.deleted === true,
        // A view would hold the whole bundle in memory.
        changes: left.map((bytes) => bytes.slice()),
      });
    }
    read += 1;
    if (read % 100 === 0) yield;
  }
  return pieces;
}

/** The document after commit `seq`; undefined before its first. */
export function pointOf(
  pieces: readonly Piece[],
  seq: number,
  refused: ReadonlyMap<string, string>,
): ReplayPoint | undefined {
  const upTo = pieces.filter((piece) => piece.seq <= seq);
  const last = upTo.at(-1);
  if (!last) return undefined;
  const changes = upTo.flatMap((piece) => piece.changes);
  const heads = last.heads.some((head) => refused.has(head))
    ? tipsOf(changes.map((bytes) => readTrustedHeader(bytes)))
    : last.heads;
  return { seq: last.seq, heads, deleted: last.deleted, changes };
}

export type Replayed =
  | { readonly json: string }
  /** The document is to blame: it does not load. */
  | { readonly problem: string };

export type Read = Replayed | { readonly gone: true };

/** What could not be read in time is no proof that it is another. */
export function alike(a: Read, b: Read): boolean {
  if ("problem" in a || "problem" in b) {
    const problems = [a, b].flatMap((read) => ("problem" in read ? [read.problem] : []));
    return problems.length === 2 || problems.some((problem) => problem !== "DOC_UNREADABLE");
  }
  if ("gone" in a || "gone" in b) return "gone" in a && "gone" in b;
  return a.json === b.json;
}

/** Reads documents from chunks alone, on the document workers, past every cache. */
export class Replay {
  readonly #documents: Documents;
  readonly #world: World;

  constructor(documents: Documents, world: World) {
    this.#documents = documents;
    this.#world = world;
  }

  /** The JSON at `heads` of a document made of `chunks`. */
  read(chunks: readonly Uint8Array[], heads: readonly string[]): Promise<Replayed> {
    return outcome(this.#world, async () => (await this.#documents.read(this.#at(chunks, heads))).json);
  }

  /** `Automerge.save` of a document made of `chunks`. Throws what keeps it from being saved. */
  save(chunks: readonly Uint8Array[], heads: readonly string[]): Promise<Uint8Array> {
    return patiently(this.#world, () => this.#documents.save(this.#at(chunks, heads)));
  }

  /** The hashes of the changes in a saved form, and its heads. Throws what keeps it from being loaded. */
  async split(bytes: Uint8Array): Promise<{ hashes: ReadonlySet<string>; heads: readonly string[] }> {
    const { changes, heads } = await patiently(this.#world, () =>
      this.#documents.split({ bytes, deadlineMs: LIMITS.document.longJobMs.value }),
    );
    return { hashes: new Set(changes.map((change) => readTrustedHeader(change).hash)), heads };
  }

  #at(chunks: readonly Uint8Array[], heads: readonly string[]) {
    return {
      // A name of its own each time, so that no copy in a worker's cache answers.
      docRef: `replay-${toHex(this.#world.random(8))}`,
      heads: [...heads],
      source: () => ({ chunks: [...chunks] }),
      deadlineMs: LIMITS.document.longJobMs.value,
    };
  }
}

const BUSY_MS = 100;
/** What a document itself can be to blame for. */
const UNREADABLE: ReadonlySet<string> = new Set(["DOC_UNREADABLE", "WORK_TIMEOUT", "WORK_FAILED"]);

/** The JSON, or why the document has none. Throws what it is not to blame for. */
export async function outcome(world: World, work: () => Promise<string>): Promise<Replayed> {
  try {
    return { json: await patiently(world, work) };
  } catch (error) {
    if (!isSkaldError(error) || !UNREADABLE.has(error.code)) throw error;
    return { problem: error.code };
  }
}

/** Waits for room on the workers: whoever serves readers comes first. */
async function patiently<T>(world: World, work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!isSkaldError(error) || error.code !== "WORK_BUSY") throw error;
      await pause(world, BUSY_MS);
    }
  }
}
