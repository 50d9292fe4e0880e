import { SkaldError } from "../errors.ts";
import { blake3 } from "../ids/hash.ts";

/**
 * What the log gives its storage for one commit: a single run of bytes that checks itself.
 *
 *   1 byte   format, 1
 *   32       blake3 of the commit's bytes
 *   varint + bytes   the commit
 *   varint   number of blocks, then varint + bytes each, in the order the commit names them
 *   varint + bytes   the client_tx_id in UTF-8, empty for none (its principal is the commit's author)
 *   8        first bytes of blake3 over all of the above
 *
 * The head commit has no child that vouches for it, and the receipt key is in no commit: the digest
 * and the check cover those. The format is pinned by fixtures/log/records.json.
 */
export interface LogRecord {
  readonly digest: Uint8Array;
  readonly commit: Uint8Array;
  readonly blocks: readonly Uint8Array[];
  readonly clientTxId: string;
}

const FORMAT = 1;
const CHECK_BYTES = 8;
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const NONE = new Uint8Array(0);

export function encodeRecord(record: LogRecord): Uint8Array {
  return writeRecord(record).body;
}

/** The same, with the blocks as views of the record: what the caller gave may be slices of something larger. */
export function writeRecord(record: LogRecord): { body: Uint8Array; blocks: Uint8Array[] } {
  const tx = record.clientTxId === "" ? NONE : encoder.encode(record.clientTxId);
  let size = 1 + 32 + field(record.commit) + varintSize(record.blocks.length) + field(tx) + CHECK_BYTES;
  for (const block of record.blocks) size += field(block);
  const out = new Uint8Array(size);
  out[0] = FORMAT;
  out.set(record.digest, 1);
  let at = put(out, 33, record.commit);
  at = putVarint(out, at, record.blocks.length);
  const blocks: Uint8Array[] = [];
  for (const block of record.blocks) {
    at = put(out, at, block);
    blocks.push(out.subarray(at - block.length, at));
  }
  at = put(out, at, tx);
  out.set(blake3(out.subarray(0, at)).subarray(0, CHECK_BYTES), at);
  return { body: out, blocks };
}

/** Reads a record. Throws DB_DAMAGED when a byte of it is not what was written. */
export function decodeRecord(body: Uint8Array, seq: number): LogRecord {
  const end = body.length - CHECK_BYTES;
  if (end < 34 || body[0] !== FORMAT) throw damaged(seq, "its envelope is not one");
  compareCheck(body, 0, end, seq);
  const cursor = { at: 33 };
  const commit = take(body, cursor, end, seq);
  const count = takeVarint(body, cursor, end, seq);
  const blocks: Uint8Array[] = [];
  for (let i = 0; i < count; i += 1) blocks.push(take(body, cursor, end, seq));
  const tx = take(body, cursor, end, seq);
  if (cursor.at !== end) throw damaged(seq, "it has bytes left over");
  return { digest: body.subarray(1, 33), commit, blocks, clientTxId: textOf(tx, seq) };
}

/** Where a record holds its commit (`at` to `end`) and where what its check is over ends. */
export interface RecordParts {
  readonly at: number;
  readonly end: number;
  readonly checkAt: number;
}

/** The same without taking the record apart: it stands in `bytes` from `from` to `to`. Throws DB_DAMAGED. */
export function recordParts(bytes: Uint8Array, from: number, to: number, seq: number): RecordParts {
  const checkAt = to - CHECK_BYTES;
  if (checkAt - from < 34 || bytes[from] !== FORMAT) throw damaged(seq, "its envelope is not one");
  compareCheck(bytes, from, checkAt, seq);
  const cursor = { at: from + 33 };
  const length = takeVarint(bytes, cursor, checkAt, seq);
  if (length > checkAt - cursor.at) throw damaged(seq, "a length in it is wrong");
  return { at: cursor.at, end: cursor.at + length, checkAt };
}

/** The blocks of a record of which `recordParts` told the place. Throws DB_DAMAGED. */
export function recordBlocks(bytes: Uint8Array, { end, checkAt }: RecordParts, seq: number): Uint8Array[] {
  const cursor = { at: end };
  const count = takeVarint(bytes, cursor, checkAt, seq);
  const blocks: Uint8Array[] = [];
  for (let i = 0; i < count; i += 1) blocks.push(take(bytes, cursor, checkAt, seq));
  return blocks;
}

function compareCheck(bytes: Uint8Array, from: number, checkAt: number, seq: number): void {
  const check = blake3(bytes.subarray(from, checkAt));
  for (let i = 0; i < CHECK_BYTES; i += 1) {
    if (check[i] !== bytes[checkAt + i]) throw damaged(seq, "its bytes do not match their check");
  }
}

function textOf(bytes: Uint8Array, seq: number): string {
  try {
    return bytes.length ? decoder.decode(bytes) : "";
  } catch {
    throw damaged(seq, "its client_tx_id is not UTF-8");
  }
}

function damaged(seq: number, what: string): SkaldError {
  return new SkaldError("DB_DAMAGED", `The record of commit ${seq} is damaged: ${what}.`, {
    details: { seq },
  });
}

function varintSize(value: number): number {
  let size = 1;
  for (let v = value; v >= 0x80; v = Math.floor(v / 0x80)) size += 1;
  return size;
}

function field(bytes: Uint8Array): number {
  return varintSize(bytes.length) + bytes.length;
}

function putVarint(out: Uint8Array, start: number, value: number): number {
  let at = start;
  let v = value;
  while (v >= 0x80) {
    out[at++] = (v % 0x80) | 0x80;
    v = Math.floor(v / 0x80);
  }
  out[at++] = v;
  return at;
}

function put(out: Uint8Array, start: number, bytes: Uint8Array): number {
  const at = putVarint(out, start, bytes.length);
  out.set(bytes, at);
  return at + bytes.length;
}

function takeVarint(body: Uint8Array, cursor: { at: number }, end: number, seq: number): number {
  let value = 0;
  let scale = 1;
  for (;;) {
    if (cursor.at >= end || scale > 2 ** 42) throw damaged(seq, "a length in it is wrong");
    const byte = body[cursor.at++] as number;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) {
      if (byte === 0 && scale > 1) throw damaged(seq, "a length in it is not in its shortest form");
      return value;
    }
    scale *= 0x80;
  }
}

function take(body: Uint8Array, cursor: { at: number }, end: number, seq: number): Uint8Array {
  const length = takeVarint(body, cursor, end, seq);
  if (length > end - cursor.at) throw damaged(seq, "a length in it is wrong");
  const bytes = body.subarray(cursor.at, cursor.at + length);
  cursor.at += length;
  return bytes;
}
