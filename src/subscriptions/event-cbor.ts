import type { CborWriter } from "../ids/cbor.ts";
import { fromHex } from "../ids/hash.ts";
import { cidFromDigest, CODEC_DAG_CBOR } from "../ids/cid.ts";
import { erasedByEvents, isStub } from "../log/erased.ts";
import { HASH_STEP, type CommitScan, type EntryScan, type RawCommit } from "../log/log.ts";
import type { Cursors } from "./cursor.ts";
import type { FeedDoc, FeedEvent } from "./feed-event.ts";
import type { DocTest } from "./feed-filter.ts";
import { jsonToCbor } from "./json-to-cbor.ts";

/**
 * Events as CBOR: the fields of the JSON form with hashes, addresses and changes as byte strings and times as
 * milliseconds since 1970. Keys stand in the order of DAG-CBOR. As with JSON there are two ways to the same bytes.
 */

export function cborEvent(w: CborWriter, cursors: Cursors, event: FeedEvent): void {
  const { seq, docs, time, author, branch, commit, message } = event;
  w.map(message === undefined ? 7 : 8);
  w.text("seq");
  w.uint(seq);
  w.text("docs");
  w.array(docs.length);
  for (const doc of docs) cborDoc(w, doc);
  w.text("time");
  w.uint(time);
  w.text("author");
  w.text(author);
  w.text("branch");
  w.text(branch);
  w.text("commit");
  w.bytes(commit);
  w.text("cursor");
  w.text(cursors.at(seq));
  if (message !== undefined) {
    w.text("message");
    w.text(message);
  }
}

function cborDoc(
  w: CborWriter,
  { doc, heads, deleted, erased, refused, changes, json, patch, error }: FeedDoc,
): void {
  const more = [deleted, erased, refused, changes, json, patch, error].filter((part) => part !== undefined);
  w.map(2 + more.length);
  w.text("doc");
  w.text(doc);
  if (error !== undefined) {
    w.text("error");
    w.text(error);
  }
  w.text("heads");
  hashes(w, heads);
  if (patch !== undefined) {
    w.text("patch");
    jsonToCbor(w, patch);
  }
  if (json !== undefined) {
    w.text("value");
    jsonToCbor(w, json);
  }
  if (erased) {
    w.text("erased");
    w.bool(true);
  }
  if (changes !== undefined) {
    w.text("changes");
    w.array(changes.length);
    for (const change of changes) w.bytes(change);
  }
  if (deleted) {
    w.text("deleted");
    w.bool(true);
  }
  if (refused !== undefined) {
    w.text("refused");
    hashes(w, refused);
  }
}

function hashes(w: CborWriter, list: readonly string[]): void {
  w.array(list.length);
  for (const hash of list) w.bytes(fromHex(hash));
}

/** See `writeCommit`. */
export function cborCommit(
  w: CborWriter,
  cursors: Cursors,
  scan: CommitScan,
  raw: RawCommit,
  test: DocTest | undefined,
  changes: boolean,
): boolean {
  const { bytes, count } = scan;
  const shown: { entry: EntryScan; block: number }[] = [];
  let block = 0;
  for (let i = 0; i < count; i += 1) {
    const entry = scan.entries[i] as EntryScan;
    if (
      !test ||
      test(Buffer.from(bytes.buffer, bytes.byteOffset + entry.docAt, entry.docEnd - entry.docAt).toString())
    )
      shown.push({ entry, block });
    block += entry.changes;
  }
  if (test && shown.length === 0) return false;
  const blocks = changes ? raw.blocks() : [];
  const erased = scan.events > 0 ? erasedByEvents(raw.blocks(), scan.events) : undefined;
  w.map(scan.messageAt < 0 ? 7 : 8);
  w.text("seq");
  w.uint(raw.seq);
  w.text("docs");
  w.array(shown.length);
  for (const { entry, block: first } of shown) {
    const gone = changes && blocks.slice(first, first + entry.changes).some(isStub);
    const name = bytes.subarray(entry.docAt, entry.docEnd);
    const ends = erased?.has(Buffer.from(name.buffer, name.byteOffset, name.length).toString()) === true;
    w.map(2 + (changes ? 1 : 0) + (entry.deleted ? 1 : 0) + (ends ? 1 : 0) + (entry.refused > 0 ? 1 : 0));
    w.text("doc");
    w.utf8(name);
    if (gone) {
      w.text("error");
      w.text("ERASED");
    }
    w.text("heads");
    rawHashes(w, bytes, entry.headsAt, entry.heads);
    if (ends) {
      w.text("erased");
      w.bool(true);
    }
    if (changes && !gone) {
      w.text("changes");
      w.array(entry.changes);
      for (let n = 0; n < entry.changes; n += 1) w.bytes(blocks[first + n] as Uint8Array);
    }
    if (entry.deleted) {
      w.text("deleted");
      w.bool(true);
    }
    if (entry.refused > 0) {
      w.text("refused");
      rawHashes(w, bytes, entry.refusedAt, entry.refused);
    }
  }
  w.text("time");
  w.uint(scan.time);
  w.text("author");
  w.utf8(bytes.subarray(scan.authorAt, scan.authorEnd));
  w.text("branch");
  w.utf8(bytes.subarray(scan.branchAt, scan.branchEnd));
  w.text("commit");
  w.bytes(cidFromDigest(CODEC_DAG_CBOR, raw.digest.subarray(raw.digestAt, raw.digestAt + 32)));
  w.text("cursor");
  w.text(cursors.at(raw.seq));
  if (scan.messageAt >= 0) {
    w.text("message");
    w.utf8(bytes.subarray(scan.messageAt, scan.messageEnd));
  }
  return true;
}

/** A commit has them as CBOR writes them: they are copied, heads of two bytes and all. */
function rawHashes(w: CborWriter, bytes: Uint8Array, at: number, count: number): void {
  w.array(count);
  w.raw(bytes.subarray(at - 2, at - 2 + count * HASH_STEP));
}
