import { SkaldError } from "../errors.ts";
import { CborReader, CborWriter } from "../ids/cbor.ts";
import { CODEC_DAG_CBOR, CODEC_RAW, cidCodec, cidDigest, cidOf, cidToString } from "../ids/cid.ts";
import { toHex } from "../ids/hash.ts";
import { prefixOf } from "./address-map.ts";
import type { Stage } from "./stage.ts";
import { decodeCommit, type Commit } from "./commit.ts";
import type { StoredCommit } from "./stored-commit.ts";

/**
 * A merge: a commit with two parents, the commit before it and the last commit of another line that has come to
 * this one. Its events are the commits of that line since the last one that either line's commits before have,
 * oldest first, each behind its own events, as they are: their addresses stay resolvable. The last event is a
 * note of their client_tx_ids, which are in no commit. Its entries hold the changes of those commits that were
 * new here; whose an actor is follows from the commit that brought it.
 */
export interface MergedCommit {
  readonly cid: Uint8Array;
  readonly bytes: Uint8Array;
  readonly commit: Commit;
  /** Empty for none. */
  readonly clientTxId: string;
}

export function isMerge({ parents, events }: Commit): boolean {
  return parents.length > 1 && events.some((cid) => cidCodec(cid) === CODEC_DAG_CBOR);
}

/** Whether a commit brings what another branch or another line has: see `isMerge` and `branch-merge.ts`. */
export function joins({ parents }: Commit): boolean {
  return parents.length > 1;
}

const known = new WeakMap<StoredCommit, readonly MergedCommit[]>();

/** The commits that a merge holds, oldest first; none for any other commit. Throws DB_DAMAGED. */
export function mergedIn(stored: StoredCommit): readonly MergedCommit[] {
  if (!isMerge(stored.commit)) return [];
  let merged = known.get(stored);
  if (!merged) {
    merged = readMerged(stored);
    known.set(stored, merged);
  }
  return merged;
}

function readMerged({ commit, blocks }: StoredCommit): MergedCommit[] {
  const { events, seq } = commit;
  const from = blocks.length - events.length;
  const note = events.length > 0 ? blocks.at(-1) : undefined;
  if (!note || cidCodec(events.at(-1) as Uint8Array) !== CODEC_RAW)
    throw wrong(seq, "has no note of its receipts");
  const txIds = readNote(seq, note);
  const merged: MergedCommit[] = [];
  events.forEach((cid, i) => {
    if (cidCodec(cid) !== CODEC_DAG_CBOR) return;
    const bytes = blocks[from + i] as Uint8Array;
    merged.push({ cid, bytes, commit: decodeCommit(bytes), clientTxId: txIds[merged.length] ?? "" });
  });
  if (txIds.length !== merged.length) throw wrong(seq, "has a note of other receipts");
  const last = merged.at(-1);
  if (commit.parents.length !== 2 || !last || Buffer.compare(last.cid, commit.parents[1] as Uint8Array) !== 0)
    throw wrong(seq, "does not end with its second parent");
  return merged;
}

/** The events of a merge of `run`, with their blocks. */
export function eventsOf(run: readonly StoredCommit[]): { cids: Uint8Array[]; blocks: Uint8Array[] } {
  const cids: Uint8Array[] = [];
  const blocks: Uint8Array[] = [];
  const txIds: string[] = [];
  const here = new Set<string>();
  /** Copies that merged each other both have the commits of the one in merges of their own: once is enough. */
  const add = (cid: Uint8Array, block: Uint8Array, clientTxId?: string): void => {
    const name = cidToString(cid);
    if (here.has(name)) return;
    here.add(name);
    cids.push(cid);
    blocks.push(block);
    if (clientTxId !== undefined) txIds.push(clientTxId);
  };
  for (const stored of run) {
    const { events } = stored.commit;
    const from = stored.blocks.length - events.length;
    const merged = mergedIn(stored);
    let at = 0;
    events.forEach((cid, i) => {
      const isCommit = cidCodec(cid) === CODEC_DAG_CBOR;
      add(cid, stored.blocks[from + i] as Uint8Array, isCommit ? merged[at++]?.clientTxId : undefined);
    });
    add(stored.cid, stored.bytes, stored.clientTxId);
  }
  const note = encodeNote(txIds);
  cids.push(cidOf(CODEC_RAW, note));
  blocks.push(note);
  return { cids, blocks };
}

function encodeNote(txIds: readonly string[]): Uint8Array {
  const w = new CborWriter();
  w.map(2);
  w.text("txs");
  w.array(txIds.length);
  for (const id of txIds) w.text(id);
  w.text("version");
  w.uint(1);
  return w.take();
}

function readNote(seq: number, bytes: Uint8Array): string[] {
  try {
    const r = new CborReader(bytes);
    if (r.map() !== 2) throw new RangeError("other fields");
    r.key("txs");
    const txIds: string[] = [];
    for (let left = r.array(); left > 0; left -= 1) txIds.push(r.text());
    r.key("version");
    if (r.uint() !== 1) throw new RangeError("another version");
    r.end();
    return txIds;
  } catch (cause) {
    throw wrong(seq, "has a note of its receipts that is none", cause);
  }
}

/** Who brought each change of a merge, by the address's digest in hex; the author when it is no merge. */
export function bringersOf(stored: StoredCommit): (doc: string, cid: Uint8Array) => string | undefined {
  const { author } = stored.commit;
  if (!isMerge(stored.commit)) return () => author;
  const owners = new Map<string, string>();
  for (const { commit } of mergedIn(stored)) {
    // What a merge within holds names its changes itself.
    if (isMerge(commit)) continue;
    for (const { doc, changes } of commit.entries) {
      for (const cid of changes) {
        const key = `${toHex(cidDigest(cid))} ${doc}`;
        if (!owners.has(key)) owners.set(key, commit.author);
      }
    }
  }
  return (doc, cid) => owners.get(`${toHex(cidDigest(cid))} ${doc}`);
}

/**
 * What keeps the commits of a merge from being the line they say: each has this db's uid, its parents before
 * it, and all but the last have a child among them. `isBefore` knows the commits that the merge may build on, by the seq
 * of the one that does. Undefined when it is a line.
 */
export function brokenLine(
  stored: StoredCommit,
  isBefore: (parent: Uint8Array, childSeq: number) => boolean,
): string | undefined {
  const here = new Set<string>();
  const childless = new Set<string>();
  for (const { cid, commit } of mergedIn(stored)) {
    const name = cidToString(cid);
    if (Buffer.compare(commit.db, stored.commit.db) !== 0) return `${name} is of another db`;
    if (here.has(name)) return `${name} is there twice`;
    for (const parent of commit.parents) {
      const text = cidToString(parent);
      childless.delete(text);
      if (!here.has(text) && !isBefore(parent, commit.seq))
        return `${name} builds on ${text}, which is not there`;
    }
    if (commit.parents.length === 0 && commit.seq !== 1) return `${name} builds on nothing`;
    here.add(name);
    childless.add(name);
  }
  return childless.size === 1 ? undefined : "it has commits that lead nowhere";
}

function wrong(seq: number, what: string, cause?: unknown): SkaldError {
  return new SkaldError("DB_DAMAGED", `Commit ${seq} is a merge and ${what}.`, {
    details: { seq },
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Makes what a commit holds beside changes findable: its events by their addresses, and the receipts of merged commits. */
export function stageMerged(stored: StoredCommit, stage: Stage): void {
  const { events, seq } = stored.commit;
  for (const cid of events) stage.addresses.add(prefixOf(toHex(cidDigest(cid))), seq);
  for (const { commit, clientTxId } of mergedIn(stored)) {
    // One that was made on both lines is answered with the commit that was here.
    if (clientTxId === "" || stage.receipt(commit.author, clientTxId) !== undefined) continue;
    stage.addReceipt(commit.author, clientTxId, seq);
  }
}
