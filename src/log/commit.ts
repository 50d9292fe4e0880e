import { CborWriter, decodeCbor, linkBytes } from "../ids/cbor.ts";
import { fromHex, toHex } from "../ids/hash.ts";
import { SkaldError } from "../errors.ts";

/**
 * A commit: one atomic write to a db. Its bytes are canonical DAG-CBOR, its address the CIDv1
 * (dag-cbor, blake3) of them. `parents` link the branch's previous commit, so the address of a
 * branch's head vouches for all of its history. The format is pinned by fixtures/log/commits.json.
 */
export interface Commit {
  readonly version: 1;
  /** The db's uid: 16 bytes. */
  readonly db: Uint8Array;
  readonly branch: string;
  readonly seq: number;
  /** Addresses of the commits this one follows: none for the first of a db. */
  readonly parents: readonly Uint8Array[];
  /** Milliseconds since 1970; never less than the commit before. */
  readonly time: number;
  /** The principal that wrote. */
  readonly author: string;
  readonly entries: readonly CommitEntry[];
  /** Addresses of the events. */
  readonly events: readonly Uint8Array[];
  readonly message?: string;
}

export interface CommitEntry {
  /** `collection/key`. */
  readonly doc: string;
  /** The document's heads before: Automerge hashes in hex, sorted. */
  readonly base: readonly string[];
  /** Addresses of the changes, in the order they were applied. */
  readonly changes: readonly Uint8Array[];
  /** The heads after. */
  readonly heads: readonly string[];
  /** True on the commit that deleted the document; the next one without it brings it back. */
  readonly deleted?: boolean;
}

const writer = new CborWriter();

/** Canonical bytes of a commit. Keys stand in DAG-CBOR order: by length, then by bytes. */
export function encodeCommit(commit: Commit): Uint8Array {
  const w = writer;
  w.reset();
  w.map(commit.message === undefined ? 9 : 10);
  w.text("db");
  w.bytes(commit.db);
  w.text("seq");
  w.uint(commit.seq);
  w.text("time");
  w.uint(commit.time);
  w.text("author");
  w.text(commit.author);
  w.text("branch");
  w.text(commit.branch);
  w.text("events");
  links(commit.events);
  w.text("entries");
  w.array(commit.entries.length);
  for (const entry of commit.entries) {
    w.map(entry.deleted ? 5 : 4);
    w.text("doc");
    w.text(entry.doc);
    w.text("base");
    hashes(entry.base);
    w.text("heads");
    hashes(entry.heads);
    w.text("changes");
    links(entry.changes);
    if (entry.deleted) {
      w.text("deleted");
      w.bool(true);
    }
  }
  if (commit.message !== undefined) {
    w.text("message");
    w.text(commit.message);
  }
  w.text("parents");
  links(commit.parents);
  w.text("version");
  w.uint(commit.version);
  return w.take();
}

function links(cids: readonly Uint8Array[]): void {
  writer.array(cids.length);
  for (const cid of cids) writer.link(cid);
}

function hashes(list: readonly string[]): void {
  writer.array(list.length);
  for (const hash of list) writer.bytes(fromHex(hash));
}

/**
 * Reads a commit's bytes. Throws DB_DAMAGED when they are not the canonical bytes of a commit: a
 * commit has exactly one encoding, so what does not come back the same was not written by us.
 */
export function decodeCommit(bytes: Uint8Array): Commit {
  let commit: Commit | undefined;
  try {
    commit = shape(decodeCbor(bytes));
  } catch (cause) {
    throw new SkaldError("DB_DAMAGED", "A commit's bytes are not a commit.", { cause });
  }
  if (!commit || Buffer.compare(encodeCommit(commit), bytes) !== 0) {
    throw new SkaldError("DB_DAMAGED", "A commit's bytes are not canonical.");
  }
  return commit;
}

function shape(value: unknown): Commit {
  const v = value as Record<string, unknown>;
  if (v["version"] !== 1) throw new Error(`commit version ${String(v["version"])}`);
  return {
    version: 1,
    db: asBytes(v["db"]),
    branch: asText(v["branch"]),
    seq: asCount(v["seq"]),
    parents: asList(v["parents"]).map(asLink),
    time: asCount(v["time"]),
    author: asText(v["author"]),
    entries: asList(v["entries"]).map(asEntry),
    events: asList(v["events"]).map(asLink),
    ...(v["message"] === undefined ? {} : { message: asText(v["message"]) }),
  };
}

function asEntry(value: unknown): CommitEntry {
  const v = value as Record<string, unknown>;
  return {
    doc: asText(v["doc"]),
    base: asList(v["base"]).map(asHash),
    changes: asList(v["changes"]).map(asLink),
    heads: asList(v["heads"]).map(asHash),
    ...(v["deleted"] === true ? { deleted: true } : {}),
  };
}

function asText(value: unknown): string {
  if (typeof value !== "string") throw new Error("expected text");
  return value;
}

function asCount(value: unknown): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0)
    throw new Error("expected a count");
  return value;
}

function asBytes(value: unknown): Uint8Array {
  if (!ArrayBuffer.isView(value)) throw new Error("expected bytes");
  return value as Uint8Array;
}

function asHash(value: unknown): string {
  const bytes = asBytes(value);
  if (bytes.length !== 32) throw new Error("expected a hash");
  return toHex(bytes);
}

function asList(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new Error("expected a list");
  return value as readonly unknown[];
}

function asLink(value: unknown): Uint8Array {
  const cid = linkBytes(value);
  if (!cid) throw new Error("expected a link");
  return cid;
}
