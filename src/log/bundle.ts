import { brotliCompressSync, brotliDecompressSync, constants } from "node:zlib";
import { SkaldError } from "../errors.ts";
import { CborReader, CborWriter } from "../ids/cbor.ts";
import { CODEC_DAG_CBOR, CODEC_RAW, cidCodec, cidDigest, cidFromDigest, cidOf } from "../ids/cid.ts";
import { blake3, fromHex, toHex } from "../ids/hash.ts";
import { packChanges, unpackChanges } from "./change-pack.ts";
import { readTrustedHeader } from "./change.ts";
import { encodeCommit, type Commit, type CommitEntry } from "./commit.ts";
import { isStub } from "./erased.ts";
import { joins } from "./merged.ts";
import type { StoredCommit } from "./stored-commit.ts";

/**
 * A bundle: a run of commits in a hundredth of their space, from which every byte of them can be made
 * again. What a commit says that follows from its changes and the commits before (parents, base,
 * heads, addresses) is left out; what is left stands in columns.
 *
 *   1 byte   format, 2
 *   32       blake3 of the last commit's bytes: it vouches for all of the bundle
 *   CBOR     {meta, changes}: compressed columns, and the changes as change-pack has them
 *   8        first bytes of blake3 over all of the above
 *
 * Of a block that was erased its address is kept instead, and the heads of the document are written out.
 */

/** Makes the bundle of consecutive commits. */
export type PackBundle = (
  uid: Uint8Array,
  commits: readonly StoredCommit[],
) => Promise<Uint8Array> | Uint8Array;

export const BUNDLE_FORMAT = 2;
/** Commits in a full bundle: expanding one takes about a tenth of a second and 20 MB. */
export const BUNDLE_COMMITS = 8192;
const CHECK_BYTES = 8;
/** An expanded bundle is never larger than what the guard lets in; this is against damaged lengths. */
const META_MAX = 1024 * 1024 * 1024;

export function isBundle(body: Uint8Array): boolean {
  return body[0] === BUNDLE_FORMAT;
}

/**
 * Packs consecutive commits and proves that they come back: throws INTERNAL otherwise, and the caller
 * keeps what it has. `uid` is the db's.
 */
export function packBundle(uid: Uint8Array, commits: readonly StoredCommit[]): Uint8Array {
  const [first] = commits;
  const last = commits.at(-1);
  if (!first || !last) throw new RangeError("a bundle has at least one commit");
  const docs = new Map<string, number>();
  const heads = new Map<string, readonly string[]>();
  const authors = new Table();
  const messages = new Table();
  const changes: { group: number; bytes: Uint8Array }[] = [];
  const events: Uint8Array[] = [];
  const columns = {
    time: [] as number[],
    author: [] as number[],
    message: [] as number[],
    entries: [] as number[],
  };
  const entryColumns = { doc: [] as number[], changes: [] as number[], flags: [] as number[] };
  const explicit: string[][] = [];
  let time = first.commit.time;
  for (const { commit, blocks } of commits) {
    columns.time.push(commit.time - time);
    time = commit.time;
    columns.author.push(authors.index(commit.author));
    columns.message.push(commit.message === undefined ? 0 : messages.index(commit.message) + 1);
    columns.entries.push(commit.entries.length);
    let at = 0;
    for (const entry of commit.entries) {
      const known = docs.get(entry.doc);
      const group = known ?? docs.size;
      if (known === undefined) {
        docs.set(entry.doc, group);
        heads.set(entry.doc, entry.base);
      }
      const own = blocks.slice(at, at + entry.changes.length);
      at += entry.changes.length;
      for (const bytes of own) if (!isStub(bytes)) changes.push({ group, bytes });
      const before = heads.get(entry.doc) ?? [];
      const after = follow(before, own);
      const flags =
        (entry.deleted ? 1 : 0) +
        (entry.refused ? 2 : 0) +
        (same(before, entry.base) ? 0 : 4) +
        (same(after, entry.heads) ? 0 : 8);
      entryColumns.doc.push(group);
      entryColumns.changes.push(entry.changes.length);
      entryColumns.flags.push(flags);
      if (flags & 2) explicit.push([...(entry.refused ?? [])]);
      if (flags & 4) explicit.push([...entry.base]);
      if (flags & 8) explicit.push([...entry.heads]);
      heads.set(entry.doc, entry.heads);
    }
    for (const block of blocks.slice(at)) events.push(block);
  }
  const starts = firstBases(commits);
  const meta = new CborWriter(64 * 1024);
  meta.uint(first.commit.seq);
  meta.uint(first.commit.time);
  meta.bytes(first.commit.parents[0] ?? NOTHING);
  texts(meta, authors.items);
  texts(meta, messages.items);
  texts(meta, [...docs.keys()]);
  meta.array(starts.length);
  for (const list of starts) hashes(meta, list);
  for (const column of [columns.time, columns.author, columns.message, columns.entries])
    numbers(meta, column);
  numbers(
    meta,
    commits.map(({ commit }) => commit.events.length),
  );
  for (const column of [entryColumns.doc, entryColumns.changes, entryColumns.flags]) numbers(meta, column);
  texts(
    meta,
    commits.map(({ clientTxId }) => clientTxId),
  );
  meta.array(explicit.length);
  for (const list of explicit) hashes(meta, list);
  meta.array(events.length);
  for (const block of events) meta.bytes(block);
  const stubs = commits.some(({ blocks }) => blocks.some(isStub));
  const apart = stubs || commits.some(({ commit }, i) => isApart(commit, commits[i - 1]?.cid));
  putMerges(meta, commits, apart);
  if (apart) putApart(meta, commits);
  if (stubs) putStubs(meta, commits);

  const out = new CborWriter(64 * 1024);
  out.raw(Uint8Array.of(BUNDLE_FORMAT));
  out.raw(cidDigest(last.cid));
  out.bytes(compress(meta.take()));
  out.bytes(packChanges(changes));
  const payload = out.take();
  out.raw(blake3(payload).subarray(0, CHECK_BYTES));
  const body = out.take();
  const back = unpackBundle(uid, body);
  const equal =
    back.length === commits.length &&
    commits.every((stored, i) => {
      const other = back[i] as StoredCommit;
      return (
        Buffer.compare(stored.bytes, other.bytes) === 0 &&
        stored.clientTxId === other.clientTxId &&
        stored.blocks.every((block, j) => Buffer.compare(block, other.blocks[j] ?? NOTHING) === 0)
      );
    });
  if (!equal)
    throw new SkaldError("INTERNAL", `Commits from ${first.commit.seq} on do not come back from a bundle.`);
  return body;
}

/** The commits of a bundle, byte for byte. Throws DB_DAMAGED. */
export function unpackBundle(uid: Uint8Array, body: Uint8Array): StoredCommit[] {
  const end = body.length - CHECK_BYTES;
  if (
    end < 40 ||
    !isBundle(body) ||
    Buffer.compare(blake3(body.subarray(0, end)).subarray(0, CHECK_BYTES), body.subarray(end)) !== 0
  ) {
    throw damaged("its bytes do not match their check");
  }
  let commits: StoredCommit[];
  try {
    commits = expand(uid, body.subarray(33, end));
  } catch (cause) {
    throw damaged((cause as Error).message, cause);
  }
  const last = commits.at(-1);
  if (!last || Buffer.compare(cidDigest(last.cid), body.subarray(1, 33)) !== 0) {
    throw damaged("its commits do not hash to the address it vouches for");
  }
  return commits;
}

/** When the commits of a bundle were made, from the first on, without opening its changes. Throws DB_DAMAGED. */
export function bundleTimes(body: Uint8Array): { first: number; times: number[] } {
  try {
    const outer = new CborReader(body.subarray(33, body.length - CHECK_BYTES));
    const r = new CborReader(brotliDecompressSync(outer.bytes(), { maxOutputLength: META_MAX }));
    const first = r.uint();
    let time = r.uint();
    r.bytes();
    for (let lists = 0; lists < 3; lists += 1) readList(r, (x) => x.text());
    readList(r, readHashes);
    return { first, times: readNumbers(r).map((delta) => (time += delta)) };
  } catch (cause) {
    throw damaged((cause as Error).message, cause);
  }
}

function expand(uid: Uint8Array, payload: Uint8Array): StoredCommit[] {
  const outer = new CborReader(payload);
  const r = new CborReader(brotliDecompressSync(outer.bytes(), { maxOutputLength: META_MAX }));
  const changes = unpackChanges(outer.bytes());
  outer.end();
  let seq = r.uint();
  let time = r.uint();
  let parent: Uint8Array | undefined = r.bytes();
  if (parent.length === 0) parent = undefined;
  const authors = readList(r, (x) => x.text());
  const messages = readList(r, (x) => x.text());
  const docs = readList(r, (x) => x.text());
  const heads: (readonly string[])[] = readList(r, readHashes);
  const [times, author, message, entryCounts, eventCounts] = [0, 1, 2, 3, 4].map(() => readNumbers(r)) as [
    number[],
    number[],
    number[],
    number[],
    number[],
  ];
  const [entryDoc, entryChanges, entryFlags] = [0, 1, 2].map(() => readNumbers(r)) as [
    number[],
    number[],
    number[],
  ];
  const txIds = readList(r, (x) => x.text());
  const explicit = readList(r, readHashes);
  const events = readList(r, (x) => x.bytes());
  const merges = readMerges(r);
  const apart = readApart(r);
  const stubs = readStubs(r);
  r.end();

  const commits: StoredCommit[] = [];
  let entryAt = 0;
  let changeAt = 0;
  let explicitAt = 0;
  let eventAt = 0;
  times.forEach((delta, i) => {
    time += delta;
    const blocks: Uint8Array[] = [];
    const entries: CommitEntry[] = [];
    for (let n = nth(entryCounts, i); n > 0; n -= 1, entryAt += 1) {
      const group = nth(entryDoc, entryAt);
      const flags = nth(entryFlags, entryAt);
      const own: Uint8Array[] = [];
      const addresses: Uint8Array[] = [];
      for (let k = nth(entryChanges, entryAt); k > 0; k -= 1) {
        const digest = stubs.get(i)?.get(blocks.length + own.length);
        const bytes = digest ? NOTHING : nth(changes, changeAt++).bytes;
        own.push(bytes);
        addresses.push(digest ? cidFromDigest(CODEC_RAW, digest) : cidOf(CODEC_RAW, bytes));
      }
      blocks.push(...own);
      const refused = flags & 2 ? nth(explicit, explicitAt++) : undefined;
      const base = flags & 4 ? nth(explicit, explicitAt++) : nth(heads, group);
      const after = flags & 8 ? nth(explicit, explicitAt++) : follow(nth(heads, group), own);
      heads[group] = after;
      entries.push({
        doc: nth(docs, group),
        base,
        changes: addresses,
        heads: after,
        ...(flags & 1 ? { deleted: true } : {}),
        ...(refused ? { refused } : {}),
      });
    }
    const ownEvents: Uint8Array[] = [];
    for (let n = nth(eventCounts, i); n > 0; n -= 1) ownEvents.push(nth(events, eventAt++));
    blocks.push(...ownEvents);
    const said = nth(message, i);
    const merge = merges.get(i);
    const { branch = "main", parents = parent ? [parent] : [], ...rest } = apart.get(i) ?? {};
    const commit: Commit = {
      version: 1,
      db: uid,
      branch,
      seq,
      parents: [...parents, ...(merge ? [merge.parent] : [])],
      time,
      author: nth(authors, nth(author, i)),
      entries,
      events: ownEvents.map((bytes, at) => cidOf(merge?.commits.has(at) ? CODEC_DAG_CBOR : CODEC_RAW, bytes)),
      ...(said === 0 ? {} : { message: nth(messages, said - 1) }),
      ...rest,
    };
    const bytes = encodeCommit(commit);
    const cid = cidFromDigest(CODEC_DAG_CBOR, blake3(bytes));
    commits.push({ cid, bytes, commit, blocks, clientTxId: nth(txIds, i) });
    parent = cid;
    seq += 1;
  });
  return commits;
}

/** The heads after `changes` on top of `heads`: what their deps name goes, they come. Sorted. Of a stub nothing is known. */
function follow(heads: readonly string[], changes: readonly Uint8Array[]): readonly string[] {
  if (changes.length === 0) return heads;
  const after = new Set(heads);
  for (const bytes of changes) {
    if (isStub(bytes)) continue;
    const { hash, deps } = readTrustedHeader(bytes);
    for (const dep of deps) after.delete(dep);
    after.add(hash);
  }
  return after.size === 1 ? [...after] : [...after].sort();
}

/** Each document's heads before its first entry here, in the order of first entries. */
function firstBases(commits: readonly StoredCommit[]): (readonly string[])[] {
  const bases = new Map<string, readonly string[]>();
  for (const { commit } of commits) {
    for (const entry of commit.entries) if (!bases.has(entry.doc)) bases.set(entry.doc, entry.base);
  }
  return [...bases.values()];
}

/** Of merges their second parents, and which of their events are commits. Nothing when there is none. */
function putMerges(w: CborWriter, commits: readonly StoredCommit[], always: boolean): void {
  const merges = commits.flatMap(({ commit }, i) => (joins(commit) ? [{ commit, i }] : []));
  if (merges.length === 0 && !always) return;
  w.array(merges.length);
  for (const { commit, i } of merges) {
    w.uint(i);
    w.bytes(commit.parents[1] ?? NOTHING);
    numbers(
      w,
      commit.events.flatMap((cid, at) => (cidCodec(cid) === CODEC_DAG_CBOR ? [at] : [])),
    );
  }
}

function readMerges(r: CborReader): Map<number, { parent: Uint8Array; commits: ReadonlySet<number> }> {
  const merges = new Map<number, { parent: Uint8Array; commits: ReadonlySet<number> }>();
  if (r.atEnd()) return merges;
  for (let left = r.array(); left > 0; left -= 1)
    merges.set(r.uint(), { parent: r.bytes(), commits: new Set(readNumbers(r)) });
  return merges;
}

/** Whether a commit has more to it than that it follows the one before it on `main`. */
function isApart({ branch, line, signed, parents }: Commit, before: Uint8Array | undefined): boolean {
  if (branch !== "main" || line || signed) return true;
  const [parent] = parents;
  return before !== undefined && (!parent || Buffer.compare(parent, before) !== 0);
}

type Apart = Partial<Pick<Commit, "branch" | "parents" | "line" | "signed">>;

/** Branch, first parent, line and signature of the commits that have any of their own; nothing when none does. */
function putApart(w: CborWriter, commits: readonly StoredCommit[]): void {
  const apart = commits.flatMap(({ commit }, i) =>
    isApart(commit, commits[i - 1]?.cid) ? [{ commit, i }] : [],
  );
  w.array(apart.length);
  for (const { commit, i } of apart) {
    const { branch, parents, line, signed } = commit;
    w.uint(i);
    w.text(branch);
    w.bytes(parents[0] ?? NOTHING);
    w.bytes(line ?? NOTHING);
    w.text(signed?.signer ?? "");
    w.bytes(signed?.signature ?? NOTHING);
  }
}

function readApart(r: CborReader): Map<number, Apart> {
  const apart = new Map<number, Apart>();
  if (r.atEnd()) return apart;
  for (let left = r.array(); left > 0; left -= 1) {
    const i = r.uint();
    const branch = r.text();
    const parent = r.bytes();
    const line = r.bytes();
    const signer = r.text();
    const signature = r.bytes();
    apart.set(i, {
      branch,
      parents: parent.length > 0 ? [parent] : [],
      ...(line.length > 0 ? { line } : {}),
      ...(signer === "" ? {} : { signed: { signer, signature } }),
    });
  }
  return apart;
}

/** Of each commit with erased changes: the digests of these changes' addresses, by their place among its blocks. */
function putStubs(w: CborWriter, commits: readonly StoredCommit[]): void {
  const stubbed = commits.flatMap(({ commit, blocks }, i) => {
    const addresses = commit.entries.flatMap((entry) => entry.changes);
    const at = addresses.flatMap((cid, place) => (isStub(blocks[place] ?? cid) ? [{ cid, place }] : []));
    return at.length > 0 ? [{ i, at }] : [];
  });
  w.array(stubbed.length);
  for (const { i, at } of stubbed) {
    w.uint(i);
    numbers(
      w,
      at.map(({ place }) => place),
    );
    w.bytes(Buffer.concat(at.map(({ cid }) => cidDigest(cid))));
  }
}

function readStubs(r: CborReader): Map<number, ReadonlyMap<number, Uint8Array>> {
  const stubs = new Map<number, ReadonlyMap<number, Uint8Array>>();
  if (r.atEnd()) return stubs;
  for (let left = r.array(); left > 0; left -= 1) {
    const i = r.uint();
    const places = readNumbers(r);
    const digests = r.bytes();
    if (digests.length !== 32 * places.length) throw new RangeError("an address of a stub is missing");
    stubs.set(i, new Map(places.map((place, n) => [place, digests.slice(32 * n, 32 * (n + 1))])));
  }
  return stubs;
}

class Table {
  readonly items: string[] = [];
  readonly #indexes = new Map<string, number>();

  index(item: string): number {
    let index = this.#indexes.get(item);
    if (index === undefined) {
      index = this.items.push(item) - 1;
      this.#indexes.set(item, index);
    }
    return index;
  }
}

const NOTHING = new Uint8Array(0);

function same(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}

function compress(bytes: Uint8Array): Uint8Array {
  return brotliCompressSync(bytes, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
  });
}

function texts(w: CborWriter, items: readonly string[]): void {
  w.array(items.length);
  for (const item of items) w.text(item);
}

function numbers(w: CborWriter, items: readonly number[]): void {
  w.array(items.length);
  for (const item of items) w.uint(item);
}

function hashes(w: CborWriter, items: readonly string[]): void {
  w.array(items.length);
  for (const item of items) w.bytes(fromHex(item));
}

function readList<T>(r: CborReader, read: (r: CborReader) => T): T[] {
  const items: T[] = [];
  for (let n = r.array(); n > 0; n -= 1) items.push(read(r));
  return items;
}

/** The item at a place that the bytes name. A damaged count would otherwise add nothing to a list for ever. */
function nth<T>(items: readonly T[], at: number): T {
  const item = items[at];
  if (item === undefined) throw new RangeError("a column ends too early");
  return item;
}

function readNumbers(r: CborReader): number[] {
  return readList(r, (x) => x.uint());
}

function readHashes(r: CborReader): string[] {
  return readList(r, (x) => toHex(x.bytes()));
}

function damaged(what: string, cause?: unknown): SkaldError {
  return new SkaldError(
    "DB_DAMAGED",
    `A bundle of commits is damaged: ${what}.`,
    cause === undefined ? {} : { cause },
  );
}
