import { CborReader, CborWriter } from "../ids/cbor.ts";
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
  /** Addresses of the commits this one follows on its branch, and of merge sources: none for the first of a db. */
  readonly parents: readonly Uint8Array[];
  /**
   * Address of the commit with the seq before, when the first parent is another: so that any commit vouches for
   * all that came before it in the db.
   */
  readonly line?: Uint8Array;
  /** Milliseconds since 1970; never less than the commit before. */
  readonly time: number;
  /** The principal that wrote. */
  readonly author: string;
  readonly entries: readonly CommitEntry[];
  /** Addresses of the events. */
  readonly events: readonly Uint8Array[];
  readonly message?: string;
  /** `did:key` of the server that signed it, and its Ed25519 signature of the bytes without these two fields. */
  readonly signed?: Signed;
}

/** The address of the commit with the seq before, as a commit names it; none for the first. */
export function lineOf({ line, parents }: Pick<Commit, "line" | "parents">): Uint8Array | undefined {
  return line ?? parents[0];
}

export interface Signed {
  readonly signer: string;
  /** 64 bytes. */
  readonly signature: Uint8Array;
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
  /** Changes set aside by this commit, with all that depend on them: they count no more. Sorted; never empty. */
  readonly refused?: readonly string[];
}

const writer = new CborWriter();

/** Canonical bytes of a commit. Keys stand in DAG-CBOR order: by length, then by bytes. */
export function encodeCommit(commit: Commit): Uint8Array {
  const w = writer;
  w.reset();
  const { message, line, signed } = commit;
  w.map(9 + (message === undefined ? 0 : 1) + (line ? 1 : 0) + (signed ? 2 : 0));
  w.text("db");
  w.bytes(commit.db);
  w.text("seq");
  w.uint(commit.seq);
  if (line) {
    w.text("line");
    w.link(line);
  }
  w.text("time");
  w.uint(commit.time);
  w.text("author");
  w.text(commit.author);
  w.text("branch");
  w.text(commit.branch);
  w.text("events");
  links(commit.events);
  if (signed) {
    w.text("signer");
    w.text(signed.signer);
  }
  w.text("entries");
  w.array(commit.entries.length);
  for (const entry of commit.entries) {
    w.map(4 + (entry.deleted ? 1 : 0) + (entry.refused ? 1 : 0));
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
    if (entry.refused) {
      w.text("refused");
      hashes(entry.refused);
    }
  }
  if (message !== undefined) {
    w.text("message");
    w.text(message);
  }
  w.text("parents");
  links(commit.parents);
  w.text("version");
  w.uint(commit.version);
  if (signed) {
    w.text("signature");
    w.bytes(signed.signature);
  }
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
 * commit has exactly one encoding, so anything else was not written by us.
 */
export function decodeCommit(bytes: Uint8Array): Commit {
  try {
    const r = new CborReader(bytes);
    const fields = r.map();
    r.key("db");
    const db = r.bytes();
    r.key("seq");
    const seq = r.uint();
    const line = r.isKey("line") ? readLink(r) : undefined;
    r.key("time");
    const time = r.uint();
    r.key("author");
    const author = r.text();
    r.key("branch");
    const branch = r.text();
    r.key("events");
    const events = list(r, readLink);
    const signer = r.isKey("signer") ? r.text() : undefined;
    r.key("entries");
    const entries = list(r, readEntry);
    const message = r.isKey("message") ? r.text() : undefined;
    r.key("parents");
    const parents = list(r, readLink);
    r.key("version");
    const version = r.uint();
    const signature = r.isKey("signature") ? r.bytes() : undefined;
    r.end();
    if (version !== 1) throw new RangeError(`commit version ${version}`);
    const optional = [message, line, signer, signature].filter((field) => field !== undefined).length;
    if (fields !== 9 + optional || (signer === undefined) !== (signature === undefined))
      throw new RangeError("a commit has other fields");
    const commit: Commit = { version, db, branch, seq, parents, time, author, entries, events };
    if (optional === 0) return commit;
    return {
      ...commit,
      ...(message === undefined ? {} : { message }),
      ...(line ? { line } : {}),
      ...(signer !== undefined && signature ? { signed: { signer, signature } } : {}),
    };
  } catch (cause) {
    throw new SkaldError("DB_DAMAGED", "A commit's bytes are not those of a commit.", { cause });
  }
}

function readEntry(r: CborReader): CommitEntry {
  const fields = r.map();
  r.key("doc");
  const doc = r.text();
  r.key("base");
  const base = list(r, readHash);
  r.key("heads");
  const heads = list(r, readHash);
  r.key("changes");
  const changes = list(r, readLink);
  const deleted = r.isKey("deleted");
  if (deleted) r.true();
  const refused = r.isKey("refused") ? list(r, readHash) : undefined;
  if (fields !== 4 + (deleted ? 1 : 0) + (refused ? 1 : 0)) throw new RangeError("an entry has other fields");
  const entry: CommitEntry = { doc, base, changes, heads };
  if (!deleted && !refused) return entry;
  return { ...entry, ...(deleted ? { deleted } : {}), ...(refused ? { refused } : {}) };
}

function readLink(r: CborReader): Uint8Array {
  return r.link();
}

function readHash(r: CborReader): string {
  const bytes = r.bytes();
  if (bytes.length !== 32) throw new RangeError("a hash has 32 bytes");
  return toHex(bytes);
}

function list<T>(r: CborReader, read: (r: CborReader) => T): T[] {
  const length = r.array();
  const items: T[] = [];
  for (let i = 0; i < length; i += 1) items.push(read(r));
  return items;
}
