import { erasedByEvents, isStub } from "../log/erased.ts";
import { HASH_STEP, type CommitScan, type EntryScan, type RawCommit } from "../log/log.ts";
import type { Cursors } from "./cursor.ts";
import type { FeedDoc, FeedEvent } from "./feed-event.ts";
import type { DocTest } from "./feed-filter.ts";
import type { JsonBytes } from "./json-bytes.ts";

/**
 * Events as JSON text. `writeEvent` writes one that was read, `writeCommit` the same bytes straight from a
 * commit as it is stored; a test holds them to each other.
 */

/** Writes an event. Everything but `docs` is the same for all who may see it. */
export function writeEvent(out: JsonBytes, cursors: Cursors, event: FeedEvent): void {
  const { seq, commit, time, author, branch, docs, message } = event;
  begin(out, cursors, seq, commit, 4, time);
  out.text(JSON.stringify(author));
  out.ascii(',"branch":');
  out.text(JSON.stringify(branch));
  out.ascii(',"docs":[');
  docs.forEach((doc, i) => writeDoc(out, doc, i === 0));
  out.ascii("]");
  if (message !== undefined) {
    out.ascii(',"message":');
    out.text(JSON.stringify(message));
  }
  out.ascii("}");
}

function writeDoc(
  out: JsonBytes,
  { doc, heads, deleted, erased, refused, ...more }: FeedDoc,
  first: boolean,
): void {
  out.ascii(first ? '{"doc":' : ',{"doc":');
  out.text(JSON.stringify(doc));
  out.ascii(`,"heads":${JSON.stringify(heads)}`);
  if (deleted) out.ascii(DELETED);
  if (erased) out.ascii(ERASED);
  if (refused) out.ascii(`,"refused":${JSON.stringify(refused)}`);
  if (more.changes) {
    out.ascii(',"changes":');
    list(out, more.changes.length, (i) => out.base64(more.changes?.[i] as Uint8Array));
  }
  if (more.json !== undefined) {
    out.ascii(',"value":');
    out.text(more.json);
  }
  if (more.patch !== undefined) {
    out.ascii(',"patch":');
    out.text(more.patch);
  }
  if (more.error !== undefined) out.ascii(`,"error":"${more.error}"`);
  out.ascii("}");
}

const DELETED = ',"deleted":true';
const ERASED = ',"erased":true';
const GONE = ',"error":"ERASED"';

/** Writes what `test` lets through of a commit, with its changes if asked for. False, and nothing written, when that is nothing. */
export function writeCommit(
  out: JsonBytes,
  cursors: Cursors,
  scan: CommitScan,
  raw: RawCommit,
  test: DocTest | undefined,
  changes: boolean,
): boolean {
  const { bytes, count, entries } = scan;
  const start = out.length;
  begin(out, cursors, raw.seq, raw.digest, raw.digestAt, scan.time);
  out.string(bytes, scan.authorAt, scan.authorEnd);
  out.ascii(',"branch":');
  out.string(bytes, scan.branchAt, scan.branchEnd);
  out.ascii(',"docs":[');
  const blocks = changes ? raw.blocks() : NONE;
  const erased = scan.events > 0 ? erasedByEvents(raw.blocks(), scan.events) : undefined;
  let block = 0;
  let shown = 0;
  for (let i = 0; i < count; i += 1) {
    const entry = entries[i] as (typeof entries)[number];
    const own = block;
    block += entry.changes;
    if (
      test &&
      !test(Buffer.from(bytes.buffer, bytes.byteOffset + entry.docAt, entry.docEnd - entry.docAt).toString())
    )
      continue;
    out.ascii(shown === 0 ? '{"doc":' : ',{"doc":');
    shown += 1;
    out.string(bytes, entry.docAt, entry.docEnd);
    out.ascii(',"heads":');
    list(out, entry.heads, (n) => out.hex(bytes, entry.headsAt + n * HASH_STEP, 32));
    if (entry.deleted) out.ascii(DELETED);
    if (erased?.has(nameOf(bytes, entry))) out.ascii(ERASED);
    if (entry.refused > 0) {
      out.ascii(',"refused":');
      list(out, entry.refused, (n) => out.hex(bytes, entry.refusedAt + n * HASH_STEP, 32));
    }
    if (changes && blocks.slice(own, own + entry.changes).some(isStub)) out.ascii(GONE);
    else if (changes) {
      out.ascii(',"changes":');
      list(out, entry.changes, (n) => out.base64(blocks[own + n] as Uint8Array));
    }
    out.ascii("}");
  }
  if (test && shown === 0) {
    out.cut(start);
    return false;
  }
  out.ascii("]");
  if (scan.messageAt >= 0) {
    out.ascii(',"message":');
    out.string(bytes, scan.messageAt, scan.messageEnd);
  }
  out.ascii("}");
  return true;
}

const NONE: readonly Uint8Array[] = [];

function nameOf(bytes: Uint8Array, { docAt, docEnd }: EntryScan): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + docAt, docEnd - docAt).toString();
}

function begin(
  out: JsonBytes,
  cursors: Cursors,
  seq: number,
  digest: Uint8Array,
  digestAt: number,
  time: number,
): void {
  out.ascii('{"seq":');
  out.uint(seq);
  out.ascii(',"cursor":"');
  out.ascii(cursors.at(seq));
  out.ascii('","commit":');
  out.commitAddress(digest, digestAt);
  out.ascii(',"time":');
  out.time(time);
  out.ascii(',"author":');
}

function list(out: JsonBytes, count: number, item: (i: number) => void): void {
  out.ascii("[");
  for (let i = 0; i < count; i += 1) {
    if (i > 0) out.ascii(",");
    item(i);
  }
  out.ascii("]");
}
