import { SkaldError } from "../errors.ts";
import {
  CODEC_DAG_CBOR,
  CODEC_RAW,
  cidCodec,
  cidDigest,
  cidFromDigest,
  cidOf,
  cidToString,
} from "../ids/cid.ts";
import { readTrustedHeader, type ChangeHeader } from "./change.ts";
import { decodeCommit, type Commit } from "./commit.ts";
import { erasedError, isStub } from "./erased.ts";
import { decodeRecord, encodeRecord } from "./record.ts";

/** A commit as the log holds it, with its blocks. */
export interface StoredCommit {
  readonly cid: Uint8Array;
  readonly bytes: Uint8Array;
  readonly commit: Commit;
  /** In the order of `addressesOf(commit)`. */
  readonly blocks: readonly Uint8Array[];
  /** Empty for none. */
  readonly clientTxId: string;
}

/** Reads a record. Throws DB_DAMAGED. */
export function openRecord(body: Uint8Array, seq: number): StoredCommit {
  const record = decodeRecord(body, seq);
  const commit = decodeCommit(record.commit);
  // A whole record under another's number: its key was damaged, or its page stands in another's place.
  if (commit.seq !== seq) {
    throw new SkaldError("DB_DAMAGED", `The record of commit ${seq} is that of commit ${commit.seq}.`, {
      details: { seq },
    });
  }
  return {
    cid: cidFromDigest(CODEC_DAG_CBOR, record.digest),
    bytes: record.commit,
    commit,
    blocks: record.blocks,
    clientTxId: record.clientTxId,
  };
}

/** The record of a commit: the inverse of `openRecord`. */
export function bodyOf({ cid, bytes, blocks, clientTxId }: StoredCommit): Uint8Array {
  return encodeRecord({ digest: cidDigest(cid), commit: bytes, blocks, clientTxId });
}

/** Addresses of a commit's blocks, in the order the record holds them. */
export function addressesOf(commit: Commit): Uint8Array[] {
  return [...commit.entries.flatMap((entry) => entry.changes), ...commit.events];
}

/** A block of a commit, by its place in `addressesOf`. Throws DB_DAMAGED when it does not hash to its address; a stub is not asked for. */
export function checkedBlock(stored: StoredCommit, at: number): Uint8Array {
  return checkBlock(stored, at, addressesOf(stored.commit)[at] as Uint8Array);
}

function checkBlock(stored: StoredCommit, at: number, address: Uint8Array): Uint8Array {
  const block = stored.blocks[at];
  const codec = cidCodec(address) === CODEC_DAG_CBOR ? CODEC_DAG_CBOR : CODEC_RAW;
  if (!block || Buffer.compare(cidOf(codec, block), address) !== 0) {
    throw new SkaldError("DB_DAMAGED", `A block of commit ${stored.commit.seq} does not match its address.`, {
      details: { seq: stored.commit.seq, block: cidToString(address) },
    });
  }
  return block;
}

/** The bytes of the changes a commit made to `doc`. Throws DB_DAMAGED, ERASED when one of them is gone. */
export function changesIn(stored: StoredCommit, doc: string): Uint8Array[] {
  return blocksOf(stored, doc, () => {
    throw erasedError(doc);
  });
}

/** What the changes that a commit made to `doc` say of themselves, without those that are gone. */
export function headersIn(stored: StoredCommit, doc: string): ChangeHeader[] {
  return blocksOf(stored, doc, () => {}).map(readTrustedHeader);
}

function blocksOf(stored: StoredCommit, doc: string, atStub: () => void): Uint8Array[] {
  let at = 0;
  for (const { doc: name, changes } of stored.commit.entries) {
    if (name !== doc) {
      at += changes.length;
      continue;
    }
    const found: Uint8Array[] = [];
    for (const address of changes) {
      const block = stored.blocks[at];
      if (block && isStub(block)) atStub();
      else found.push(checkBlock(stored, at, address));
      at += 1;
    }
    return found;
  }
  return [];
}
