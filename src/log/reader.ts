import { SkaldError } from "../errors.ts";
import { CODEC_DAG_CBOR, cidCodec, cidDigest, cidToString } from "../ids/cid.ts";
import { toBase58Check } from "../ids/document-id.ts";
import { FIRST_EPOCH } from "../ids/cursor.ts";
import { toHex } from "../ids/hash.ts";
import type { DbIdentity, Life, StoredRecord } from "../store/contract.ts";
import { nextTurn, type World } from "../world.ts";
import { archive } from "./archive.ts";
import { automergeIdOf, drawnName, idPrefix } from "./automerge-ids.ts";
import { prefixOf, type Catalog } from "./catalog.ts";
import { readTrustedHeader } from "./change.ts";
import type { Commit, CommitEntry } from "./commit.ts";
import type { RawCommit } from "./commit-scan.ts";
import { headsOf, type DocState } from "./doc-state.ts";
import type { LogHead } from "./group.ts";
import { isMerge } from "./merged.ts";
import type { Records } from "./records.ts";
import { tipsOf } from "./refusals.ts";
import { addressesOf, changesIn, checkedBlock, headersIn, type StoredCommit } from "./stored-commit.ts";

/** Everything that can be read of a log without Automerge. `Log` adds the one writer. */
export class LogReader {
  readonly identity: DbIdentity;
  /** Also for those who work on this log. */
  readonly world: World;
  /**
   * The lives of the db, oldest first. `after` is the last commit that every life before shares with this one
   * and all after it, so a place up to there is the same place in all of them.
   */
  readonly lives: readonly Life[];
  protected readonly records: Records;
  protected readonly catalog: Catalog;
  protected current: LogHead = { seq: 0, cid: undefined, time: 0 };
  /** Heads worked out by `#headsLeft`. */
  readonly #left = new Map<string, readonly string[]>();
  /** Addresses that `locate` found in bundles. */
  readonly #located = new Map<string, number>();

  constructor(
    identity: DbIdentity,
    records: Records,
    catalog: Catalog,
    world: World,
    later: readonly Life[] = [],
  ) {
    this.identity = identity;
    this.lives = [{ epoch: FIRST_EPOCH, after: 0 }, ...later].map(({ epoch, after }, i) => ({
      epoch,
      after: Math.min(after, ...later.slice(i).map((life) => life.after)),
    }));
    this.world = world;
    this.records = records;
    this.catalog = catalog;
  }

  head(): LogHead {
    return this.current;
  }

  /** The life the db is in: cursors name it. */
  get epoch(): number {
    return (this.lives.at(-1) as Life).epoch;
  }

  state(doc: string): DocState | undefined {
    return this.catalog.doc(doc);
  }

  /**
   * The document with this Automerge id (16 bytes), deleted ones included. Of a named document and one that a
   * client made under the same id, the named one.
   */
  named(id: Uint8Array): string | undefined {
    const { uid } = this.identity;
    const start = idPrefix(id);
    let drawn: string | undefined;
    for (const name of this.catalog.named(start)) {
      const own = automergeIdOf(uid, name);
      if (idPrefix(own) !== start) {
        throw new SkaldError("DERIVED_DAMAGED", `The catalog leads to ${name} from another document's id.`);
      }
      if (Buffer.compare(own, id) !== 0) continue;
      if (name !== drawnName(toBase58Check(id))) return name;
      drawn = name;
    }
    return drawn;
  }

  /**
   * The heads a document had after commit `seq`, and the last commit up to there that touched it. Changes
   * that were set aside, then or later, are left out: a point before that can be read all the same.
   */
  stateAt(doc: string, seq: number): DocPoint | undefined {
    const state = this.catalog.doc(doc);
    if (!state) return undefined;
    if (state.last <= seq) return { seq: state.last, heads: headsOf(state), deleted: state.deleted };
    const [touched] = this.history(doc, seq, 1);
    if (touched === undefined) return undefined;
    const entry = this.entryOf(doc, touched);
    const heads = entry.heads.some((head) => state.refused.has(head))
      ? this.#headsLeft(doc, touched, state.refusedAt)
      : entry.heads;
    return { seq: touched, heads, deleted: entry.deleted === true };
  }

  /** The heads after commit `seq` without what was set aside since: the only ones no commit names. */
  #headsLeft(doc: string, seq: number, refusedAt: number): readonly string[] {
    const key = `${seq} ${refusedAt} ${doc}`;
    let heads = this.#left.get(key);
    if (!heads) {
      heads = tipsOf(this.changes(doc, 0, seq).map(readTrustedHeader));
      if (this.#left.size >= LEFT_MAX) this.#left.clear();
      this.#left.set(key, heads);
    }
    return heads;
  }

  /** What commit `seq` did to `doc`. */
  entryOf(doc: string, seq: number): CommitEntry {
    const entry = this.commit(seq)?.commit.entries.find((candidate) => candidate.doc === doc);
    if (!entry)
      throw new SkaldError("DERIVED_DAMAGED", `Commit ${seq} does not hold ${doc}, as the catalog says.`);
    return entry;
  }

  commit(seq: number): StoredCommit | undefined {
    return this.records.commit(seq);
  }

  /** Commits from `from` on, oldest first: at least one when there is any, at most `limit`. */
  commits(from: number, limit: number): StoredCommit[] {
    // The storage may have more: what it was given and has not said durable.
    const most = Math.min(limit, this.current.seq - from + 1);
    return most > 0 ? this.records.page(from, most) : [];
  }

  /** The same without decoding them, see `CommitScan`. */
  rawCommits(from: number, limit: number): RawCommit[] {
    const most = Math.min(limit, this.current.seq - from + 1);
    return most > 0 ? this.records.raw(from, most) : [];
  }

  /** Records from `from` on for another server, at most `limit` and about `bytes` of them. */
  bodies(from: number, limit: number, bytes: number): StoredRecord[] {
    const most = Math.min(limit, this.current.seq - from + 1);
    return most > 0 ? this.records.bodies(from, most, bytes) : [];
  }

  /**
   * Places of this line, the newest first: the head and ever wider apart, or at equal distances strictly between two
   * seqs; at most `limit`. What is in bundles is named by their ends, which cost nothing to look up.
   */
  places(limit: number, between?: { readonly low: number; readonly high: number }): Place[] {
    const { seq: head } = this.current;
    const wanted = between
      ? evenly(between.low, Math.min(between.high, head + 1), limit)
      : fading(head, limit);
    const found = new Map<number, Place>();
    for (const seq of wanted) {
      const place = this.records.place(
        seq,
        between !== undefined && between.high - between.low <= EXACT_WITHIN,
      );
      if (place && !(between && (place.seq <= between.low || place.seq >= between.high)))
        found.set(place.seq, place);
    }
    return [...found.values()].sort((a, b) => b.seq - a.seq);
  }

  /** The first of these places, newest first, that is on this line; the beginning when none is. */
  async common(places: readonly Place[]): Promise<Place> {
    for (const place of places.toSorted((a, b) => b.seq - a.seq)) {
      if (place.seq < 1 || place.seq > this.current.seq || !place.cid) continue;
      const near = this.records.place(place.seq, false);
      const own = near?.seq === place.seq ? near.cid : this.commit(place.seq)?.cid;
      if (own && Buffer.compare(own, place.cid) === 0) return place;
      await nextTurn(this.world);
    }
    return { seq: 0, cid: undefined };
  }

  /**
   * The seq of the commit with this address, or of the first merge that holds it; undefined when there is none. A
   * commit of this line can be in a merge as well, which is then always the later of the two. What is in bundles is
   * found only after `locate` has looked for it.
   */
  findCommit(cid: Uint8Array): number | undefined {
    return this.#located.get(cidToString(cid)) ?? this.#single(cid);
  }

  /** The bytes behind an address: a commit's, a change's or an event's. Bundles as with `findCommit`. Throws DB_DAMAGED. */
  block(cid: Uint8Array): Uint8Array | undefined {
    const seq = this.findCommit(cid);
    const stored = seq === undefined ? undefined : this.commit(seq);
    if (!stored) return undefined;
    if (Buffer.compare(stored.cid, cid) === 0) return stored.bytes;
    return checkedBlock(stored, placeOf(stored.commit, cid));
  }

  /**
   * Looks for an address in the bundles, newest first, when the catalog does not have it or only knows a merge that
   * holds it: about a tenth of a second each, with room for others between them.
   */
  async locate(cid: Uint8Array): Promise<number | undefined> {
    const text = cidToString(cid);
    const known = this.#located.get(text);
    if (known !== undefined) return known;
    let first = this.#single(cid);
    if (first !== undefined && !isWithin(this.commit(first), cid)) return first;
    for (const { last } of this.catalog.bundles().reverse()) {
      const stored = this.records.bundle(last).find((candidate) => holds(candidate, cid));
      if (stored) first = stored.commit.seq;
      if (stored && !isWithin(stored, cid)) break;
      await nextTurn(this.world);
    }
    if (first !== undefined) {
      if (this.#located.size >= LOCATED_MAX) this.#located.clear();
      this.#located.set(text, first);
    }
    return first;
  }

  /** The first of the commits that stand alone to have an address. */
  #single(cid: Uint8Array): number | undefined {
    const seqs = this.catalog.find(prefixOf(toHex(cidDigest(cid))));
    return seqs.sort((a, b) => a - b).find((seq) => holds(this.commit(seq), cid));
  }

  /** The seq of the commit that holds a change of `doc`, by the change's Automerge hash. */
  seqOfChange(doc: string, hash: string): number | undefined {
    const single = this.singleOfChange(doc, hash);
    if (single !== undefined) return single;
    for (const commits of this.bundled(doc)) {
      const found = commits.find((stored) => hasChange(stored, doc, hash));
      if (found) return found.commit.seq;
    }
    return undefined;
  }

  /** The same among commits that stand alone: no bundle is opened. */
  singleOfChange(doc: string, hash: string): number | undefined {
    return this.catalog.find(prefixOf(hash)).find((seq) => {
      const stored = this.commit(seq);
      return stored !== undefined && hasChange(stored, doc, hash);
    });
  }

  /** Seqs of commits that touched `doc` and stand alone, at or below `before`, newest first. */
  singles(doc: string, before: number, limit: number): number[] {
    return this.catalog.touches(doc, before, limit);
  }

  /** The last commit of the newest bundle with commits of `doc`, 0 for none: whatever is later stands alone. */
  bundledUpTo(doc: string): number {
    return this.catalog.bundlesOf(doc)[0] ?? 0;
  }

  /** The bundles with commits of `doc`; each costs about a tenth of a second. */
  bundled(
    doc: string,
    order: "newest first" | "oldest first" = "newest first",
  ): Generator<readonly StoredCommit[]> {
    return archive(this.records, this.catalog, doc, order);
  }

  /** The last commit at or before `time` (milliseconds), 0 for none. Times never fall, so halving finds it. */
  seqAt(time: number): number {
    let low = 0;
    let high = this.current.seq;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      const stored = this.commit(middle);
      if (stored && stored.commit.time <= time) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Seqs of commits that touched `doc`, at or below `before`, newest first. */
  history(doc: string, before: number, limit: number): number[] {
    const seqs = this.catalog.touches(doc, before, limit);
    for (const last of this.catalog.bundlesOf(doc)) {
      if (seqs.length >= limit) break;
      const commits = this.records.bundle(last);
      for (let i = commits.length - 1; i >= 0 && seqs.length < limit; i -= 1) {
        const { commit } = commits[i] as StoredCommit;
        if (commit.seq <= before && touches(commit, doc)) seqs.push(commit.seq);
      }
    }
    return seqs;
  }

  /** The changes of `doc` in commits (after, upTo], in the order they were applied, without those set aside. */
  changes(doc: string, after: number, upTo: number): Uint8Array[] {
    const changes: Uint8Array[] = [];
    const chain = new EntryChain(doc, after === 0 ? [] : undefined);
    for (const last of this.catalog.bundlesOf(doc).reverse()) {
      if (last <= after) continue;
      for (const stored of this.records.bundle(last)) {
        const { seq } = stored.commit;
        if (seq > after && seq <= upTo && touches(stored.commit, doc)) {
          chain.follow(stored);
          changes.push(...changesIn(stored, doc));
        }
      }
    }
    for (const seq of this.catalog.touchesAfter(doc, after, upTo)) {
      const stored = this.commit(seq);
      if (!stored) continue;
      chain.follow(stored);
      changes.push(...changesIn(stored, doc));
    }
    const refused = this.catalog.doc(doc)?.refused;
    if (refused && refused.size > 0)
      return changes.filter((bytes) => !refused.has(readTrustedHeader(bytes).hash));
    return changes;
  }

  /** Documents in name order after `after`; `prefix` is of `collection/key`. */
  list(prefix: string, after: string, limit: number, withDeleted = false): DocState[] {
    return this.catalog.list(prefix, after, limit, withDeleted);
  }

  /** Names of documents touched by commits from `from` on; stops at `limit`. */
  touchedSince(from: number, limit: number): string[] {
    return this.catalog.touchedSince(from, limit);
  }

  counts(): { documents: number; deleted: number } {
    return this.catalog.counts();
  }
}

/** Commits of a document one after the other: each starts from the heads that the one before it left. */
class EntryChain {
  readonly #doc: string;
  #heads: readonly string[] | undefined;

  constructor(doc: string, heads: readonly string[] | undefined) {
    this.#doc = doc;
    this.#heads = heads;
  }

  /** Throws DERIVED_DAMAGED when one in between was left out, or this one is not of the document. */
  follow({ commit }: StoredCommit): void {
    const entry = commit.entries.find(({ doc }) => doc === this.#doc);
    const heads = this.#heads;
    if (
      !entry ||
      (heads && (heads.length !== entry.base.length || heads.some((head, i) => head !== entry.base[i])))
    ) {
      throw new SkaldError(
        "DERIVED_DAMAGED",
        `The catalog leads to commit ${commit.seq} of ${this.#doc} and not to the one before it.`,
        { details: { seq: commit.seq } },
      );
    }
    this.#heads = entry.heads;
  }
}

/** A place in a line of commits: where two logs are compared. */
export interface Place {
  readonly seq: number;
  /** Address of that commit; undefined before the first. */
  readonly cid: Uint8Array | undefined;
}

export interface DocPoint {
  readonly seq: number;
  readonly heads: readonly string[];
  readonly deleted: boolean;
}

/** Whether a commit has this address, or one of its blocks. */
function holds(stored: StoredCommit | undefined, cid: Uint8Array): boolean {
  if (!stored) return false;
  if (Buffer.compare(stored.cid, cid) === 0) return true;
  // Only merges hold commits.
  if (cidCodec(cid) === CODEC_DAG_CBOR && !isMerge(stored.commit)) return false;
  return placeOf(stored.commit, cid) >= 0;
}

/** Whether it is a commit that the one which holds it is the merge of. */
function isWithin(stored: StoredCommit | undefined, cid: Uint8Array): boolean {
  return cidCodec(cid) === CODEC_DAG_CBOR && !!stored && Buffer.compare(stored.cid, cid) !== 0;
}

function placeOf(commit: Commit, cid: Uint8Array): number {
  return addressesOf(commit).findIndex((address) => Buffer.compare(address, cid) === 0);
}

function hasChange(stored: StoredCommit, doc: string, hash: string): boolean {
  return headersIn(stored, doc).some((header) => header.hash === hash);
}

function touches(commit: Commit, doc: string): boolean {
  return commit.entries.some((entry) => entry.doc === doc);
}

/** `head`, and below it seqs 1, 2, 4, 8 … further on. */
function fading(head: number, limit: number): number[] {
  const seqs = head > 0 ? [head] : [];
  for (let step = 1; head - step > 0 && seqs.length < limit; step *= 2) seqs.push(head - step);
  return seqs;
}

/** At most `limit` seqs strictly between two others, at equal distances. */
function evenly(low: number, high: number, limit: number): number[] {
  const step = Math.max(1, (high - low) / (limit + 1));
  const seqs: number[] = [];
  for (let at = low + step; at < high && seqs.length < limit; at += step) seqs.push(Math.floor(at));
  return seqs;
}

/** Bundles are opened for places within so many commits, a few of them: each takes a tenth of a second. */
const EXACT_WITHIN = 2 * 8192;
const LOCATED_MAX = 1000;
const LEFT_MAX = 1000;
