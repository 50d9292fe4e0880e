import { SkaldError } from "../errors.ts";
import { CODEC_RAW, cidCodec } from "../ids/cid.ts";
import { parseDocName } from "../ids/names.ts";
import type { Commit, CommitEntry } from "./commit.ts";
import { decodeEvent, encodeEvent, type Event } from "./event.ts";

/**
 * Erasure, as far as the log goes. A commit with the event `doc.erase` ends a document: from then on nobody gets
 * anything of it or adds anything to it. Then its changes are taken out of the records that hold them: a block that
 * is gone stands there as an empty one (a stub), which no change is, and its address stays in the commit, whose
 * bytes are never touched. So everything that is named by a commit goes on to verify, and nothing can be told any
 * more of what a change held: neither its hash, nor its actor, nor what it built on.
 *
 * Invariant: the commit comes first. A stub without one is damage.
 */
export const ERASE = "doc.erase";

/** Bytes of the event that ends a document. */
export function eraseEvent(doc: string, reason: string | undefined): Uint8Array {
  return encodeEvent({ type: ERASE, doc, reason });
}

/** A commit with its blocks. */
interface Held {
  readonly commit: Commit;
  readonly blocks: readonly Uint8Array[];
}

const NONE: ReadonlySet<string> = new Set();

/** The documents that a commit erases; a merge those that the commits in it do. */
export function erasedBy(stored: Held): ReadonlySet<string> {
  if (stored.commit.events.length === 0) return NONE;
  const docs = new Set<string>();
  for (const event of eventsIn(stored)) {
    const { doc } = event;
    if (event.type === ERASE && typeof doc === "string" && isName(doc)) docs.add(doc);
  }
  return docs;
}

/** The same of the last `count` blocks of a commit, which are its events: for who has not read the commit. */
export function erasedByEvents(blocks: readonly Uint8Array[], count: number): ReadonlySet<string> {
  if (count === 0) return NONE;
  const docs = new Set<string>();
  for (const bytes of blocks.slice(blocks.length - count)) {
    try {
      const { type, doc } = decodeEvent(bytes);
      if (type === ERASE && typeof doc === "string" && isName(doc)) docs.add(doc);
    } catch {
      // A commit of a merge, or what is none that this version knows the form of.
    }
  }
  return docs;
}

function isName(doc: string): boolean {
  try {
    parseDocName(doc);
    return true;
  } catch {
    return false;
  }
}

/** The events of a commit, without what is none that this version knows the form of. */
export function eventsIn({ commit, blocks }: Held): Event[] {
  const from = blocks.length - commit.events.length;
  return commit.events.flatMap((cid, i) => {
    const bytes = cidCodec(cid) === CODEC_RAW ? blocks[from + i] : undefined;
    try {
      return bytes ? [decodeEvent(bytes)] : [];
    } catch {
      return [];
    }
  });
}

/** A block whose bytes were erased. */
export function isStub(block: Uint8Array): boolean {
  return block.length === 0;
}

/** Where the changes of each entry stand among a commit's blocks. */
export function* entriesIn(commit: Commit): Generator<{ entry: CommitEntry; from: number; to: number }> {
  let from = 0;
  for (const entry of commit.entries) {
    const to = from + entry.changes.length;
    yield { entry, from, to };
    from = to;
  }
}

/** The documents of which a commit has a change without its bytes. */
export function stubbedIn({ commit, blocks }: Held): ReadonlySet<string> {
  if (!blocks.some(isStub)) return NONE;
  const docs = new Set<string>();
  for (const { entry, from, to } of entriesIn(commit))
    if (blocks.slice(from, to).some(isStub)) docs.add(entry.doc);
  return docs;
}

const STUB = new Uint8Array(0);

/** The commit without the changes of some documents; undefined when it has none of them. */
export function withoutChanges<T extends Held>(
  stored: T,
  docs: { has(doc: string): boolean },
): T | undefined {
  let blocks: Uint8Array[] | undefined;
  for (const { entry, from, to } of entriesIn(stored.commit)) {
    if (!docs.has(entry.doc)) continue;
    for (let at = from; at < to; at += 1) {
      if (isStub(stored.blocks[at] as Uint8Array)) continue;
      blocks ??= [...stored.blocks];
      blocks[at] = STUB;
    }
  }
  return blocks && { ...stored, blocks };
}

/** What whoever asks for an erased document gets. `at` is the seq of the commit that erased it. */
export function erasedError(doc: string, at = 0): SkaldError {
  return new SkaldError("ERASED", `The document ${doc} was erased.`, {
    details: { doc, ...(at > 0 ? { seq: at } : {}) },
  });
}
