import type { SourceCallback } from "../documents/documents.ts";
import { parseDocName } from "../ids/names.ts";
import { genesisOf } from "../log/genesis.ts";
import type { Log } from "../log/log.ts";
import type { Views } from "../store/sqlite-views.ts";

/**
 * Where the document workers get a document's bytes up to commit `upTo`: what they lack when they
 * hold the document as it was after some commit, else the saved form and what came after it.
 */
export function sourceOf(log: Log, views: Views, doc: string, upTo: number, branch?: string): SourceCallback {
  return (haveHeads) => {
    const held = haveHeads.length > 0 ? seqOfHeads(log, doc, haveHeads, branch) : undefined;
    if (held !== undefined) return { chunks: withGenesis(log, doc, log.changes(doc, held, upTo, branch)) };
    const newest = savedForm(log, views, doc);
    // It is of `main`, and a branch has no more of that than it found.
    const saved = newest && newest.seq <= log.mainUpTo(branch) ? newest : undefined;
    const changes = withGenesis(log, doc, log.changes(doc, saved?.seq ?? 0, upTo, branch));
    return { chunks: saved ? [saved.bytes, ...changes] : changes };
  };
}

/**
 * Puts the genesis before changes of which one builds on it. A document that came with a history of its own is
 * loaded without: as one more tip it would make every copy, save and read go by way of a view at the heads
 * asked for, which costs Automerge many times as much (4 of 25 s of a worker that followed stock clients).
 */
function withGenesis(log: Log, doc: string, changes: Uint8Array[]): Uint8Array[] {
  const { collection, key } = parseDocName(doc);
  const { hash, bytes } = genesisOf(log.identity.uid, collection, key);
  const name = Buffer.from(hash, "hex");
  const named = changes.some((change) =>
    Buffer.from(change.buffer, change.byteOffset, change.byteLength).includes(name),
  );
  return named ? [bytes, ...changes] : changes;
}

/** The chunks of a document as it was after commit `upTo` and nothing later. */
export function chunksUpTo(log: Log, views: Views, doc: string, upTo: number): Uint8Array[] {
  const saved = savedForm(log, views, doc);
  if (saved && saved.seq <= upTo) return [saved.bytes, ...log.changes(doc, saved.seq, upTo)];
  return [genesisBytes(log, doc), ...log.changes(doc, 0, upTo)];
}

/** The newest saved form, if it was made since changes were last set aside: an older one may still have them. */
export function savedForm(
  log: Log,
  views: Views,
  doc: string,
): { seq: number; bytes: Uint8Array } | undefined {
  const saved = views.saved(doc);
  return saved && saved.seq >= (log.state(doc)?.refusedAt ?? 0) ? saved : undefined;
}

/** The commit after which the document had exactly these heads, if there was one. */
function seqOfHeads(log: Log, doc: string, given: readonly string[], branch?: string): number | undefined {
  // A document that came with a history of its own does not descend from the genesis, which is then one more tip.
  const { collection, key } = parseDocName(doc);
  const genesis = given.length > 1 ? genesisOf(log.identity.uid, collection, key).hash : undefined;
  const heads = genesis === undefined ? given : given.filter((head) => head !== genesis);
  let seq = 0;
  for (const head of heads) {
    const at = log.seqOfChange(doc, head, branch);
    if (at === undefined) return undefined;
    seq = Math.max(seq, at);
  }
  const point = log.stateAt(doc, seq, branch);
  const wanted = new Set(heads);
  return point && point.heads.length === wanted.size && point.heads.every((head) => wanted.has(head))
    ? seq
    : undefined;
}

/** The change that every copy of the document starts from. */
export function genesisBytes(log: Log, doc: string): Uint8Array {
  const { collection, key } = parseDocName(doc);
  return genesisOf(log.identity.uid, collection, key).bytes;
}
