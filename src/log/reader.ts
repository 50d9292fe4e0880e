import { SkaldError } from "../errors.ts";
import { CODEC_DAG_CBOR, cidCodec, cidDigest, cidToString } from "../ids/cid.ts";
import { toBase58Check } from "../ids/document-id.ts";
import { FIRST_EPOCH } from "../ids/cursor.ts";
import { toHex } from "../ids/hash.ts";
import type { DbIdentity, Fact, Life, SeqRange, StoredRecord } from "../store/contract.ts";
import { nextTurn, type World } from "../world.ts";
import { archive, commitsOfRow, touchesRow } from "./archive.ts";
import { automergeIdOf, drawnName, idPrefix } from "./automerge-ids.ts";
import { mergeEventIn } from "./branch-events.ts";
import { branchNotFound } from "./branch-steps.ts";
import {
  branchRow,
  docOf,
  isDocRow,
  MAIN,
  isInPast,
  isOfMain,
  pastOf,
  rowOf,
  rowsPrefix,
  type Branch,
  type Stretch,
} from "./branches.ts";
import { prefixOf } from "./address-map.ts";
import type { Catalog } from "./catalog.ts";
import { Stage } from "./stage.ts";
import { readTrustedHeader } from "./change.ts";
import type { Commit, CommitEntry } from "./commit.ts";
import type { RawCommit } from "./commit-scan.ts";
import { headsOf, type DocState } from "./doc-state.ts";
import { erasedError } from "./erased.ts";
import type { LogHead } from "./group.ts";
import { bringersOf, isMerge } from "./merged.ts";
import { FoundDocs, foundSteps, OnBranches } from "./on-branches.ts";
import type { Records } from "./records.ts";
import { tipsOf } from "./refusals.ts";
import { readRule, type RetentionRule } from "./retention.ts";
import { readStatement, type StoredStatement } from "./schema-events.ts";
import type { SchemaStatement, SchemaStep } from "./schema-steps.ts";
import { SchemaFold } from "./schema-fold.ts";
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
  protected readonly found = new FoundDocs();
  /** Heads worked out by `#headsLeft`. */
  readonly #left = new Map<string, readonly string[]>();
  readonly #fold = new SchemaFold();
  /** Steps of the schema that it has taken. */
  #folded = 0;
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

  /** The branch that has this name now, or undefined. */
  branch(name: string): BranchInfo | undefined {
    const branch = this.catalog.branches.named(name);
    return branch && this.#info(branch);
  }

  /** All branches but deleted ones: `main`, then the others in the order they were made. */
  branches(): BranchInfo[] {
    return this.catalog.branches.all().map((branch) => this.#info(branch));
  }

  /** What a branch stands on: itself, the branch it was made from, and so on to `main`. Throws BRANCH_NOT_FOUND. */
  lineage(name: string): BranchInfo[] {
    const { branches } = this.catalog;
    return [...pastOf(branches, this.branchId(name))].map(({ id }) =>
      this.#info(branches.get(id) ?? branches.main),
    );
  }

  /** Throws BRANCH_NOT_FOUND. */
  branchId(name: string | undefined): number {
    if (name === undefined || name === MAIN) return 0;
    const branch = this.catalog.branches.named(name);
    if (!branch) throw branchNotFound(name);
    return branch.id;
  }

  /** The branch that a commit is of, by its id. */
  idOfCommit({ branch, seq }: Pick<Commit, "branch" | "seq">): number {
    return this.catalog.branches.any ? (this.catalog.branches.idOf(branch, seq) ?? 0) : 0;
  }

  /** The ids of all branches there ever were, deleted ones included. */
  branchIds(): number[] {
    return [0, ...this.catalog.branches.ids()];
  }

  /** The last seq of `main` that a branch stands on; of `main` itself, Infinity. Throws BRANCH_NOT_FOUND. */
  mainUpTo(branch: string | undefined): number {
    let upTo = Infinity;
    for (const stretch of pastOf(this.catalog.branches, this.branchId(branch))) ({ upTo } = stretch);
    return upTo;
  }

  /** Whether there ever was a branch other than `main`. */
  get branched(): boolean {
    return this.catalog.branches.any;
  }

  /** Whether a commit is of branch `id` or in its past. */
  isInPast(id: number, commit: Pick<Commit, "branch" | "seq">): boolean {
    return !this.branched || isInPast(this.catalog.branches, id, commit.seq, this.idOfCommit(commit));
  }

  /** Whether commit `seq` is of a branch or in its past: what it found when it was made. 0 always is. */
  isOn(seq: number, branch?: string): boolean {
    const id = this.branchId(branch);
    if (seq < 1 || !this.branched) return true;
    const stored = this.commit(seq);
    return stored !== undefined && this.isInPast(id, stored.commit);
  }

  /** The last commit of a branch's past at or before `seq`, 0 for none. */
  seqOn(seq: number, branch?: string): number {
    return this.lastOn(this.branchId(branch), seq);
  }

  /** Seqs of the commits of a branch and its past at or below `before`, newest first. */
  commitsOn(before: number, limit: number, branch?: string): number[] {
    const seqs: number[] = [];
    for (const { id, upTo } of pastOf(this.catalog.branches, this.branchId(branch), before)) {
      for (let at = Math.min(upTo, this.current.seq); seqs.length < limit && at > 0;) {
        const part = this.#own(id, at, limit - seqs.length);
        seqs.push(...part);
        if (part.length === 0) break;
        at = (part.at(-1) as number) - 1;
      }
    }
    return seqs;
  }

  /** Seqs of the commits of branch `id` itself in (after, upTo], ascending. */
  protected commitsOf(id: number, after: number, upTo: number): number[] {
    const seqs: number[] = [];
    for (let at = Math.min(upTo, this.current.seq); at > after;) {
      const part = this.#own(id, at, OWN_PAGE).filter((seq) => seq > after);
      if (part.length === 0) break;
      seqs.push(...part);
      at = (part.at(-1) as number) - 1;
    }
    return seqs.reverse();
  }

  protected lastOn(id: number, seq: number): number {
    for (const stretch of pastOf(this.catalog.branches, id, Math.min(seq, this.current.seq))) {
      const { head } = this.catalog.branches.get(stretch.id) ?? this.catalog.branches.main;
      if (head > 0 && head <= stretch.upTo) return head;
      const [last] = this.#own(stretch.id, stretch.upTo, 1);
      if (last !== undefined) return last;
    }
    return 0;
  }

  /** Some of the commits that are of branch `id` itself, newest first; none when there is none at or below `before`. */
  #own(id: number, before: number, limit: number): number[] {
    const first = this.catalog.branches.first();
    // What came before the first branch is all of `main`, and in no list.
    if (id === 0 && before < first) return downFrom(Math.min(before, this.current.seq), limit);
    const seqs = this.catalog.commitsOn(id, before, limit);
    if (seqs.length > 0) return seqs;
    for (const last of this.catalog.bundlesOf(branchRow(id))) {
      const commits = this.records.bundle(last);
      for (let i = commits.length - 1; i >= 0 && seqs.length < limit; i -= 1) {
        const { commit } = commits[i] as StoredCommit;
        if (commit.seq < first && id === 0) break;
        if (commit.seq <= before && this.idOfCommit(commit) === id) seqs.push(commit.seq);
      }
      if (seqs.length > 0) return seqs;
    }
    return id === 0 ? downFrom(Math.min(before, first - 1), limit) : [];
  }

  #info({ id, name, parent, fork, head, headCid, closed, deleted }: Branch): BranchInfo {
    return {
      id,
      name,
      parent: id === 0 ? undefined : (this.catalog.branches.get(parent)?.name ?? MAIN),
      parentId: parent,
      forkSeq: fork,
      head: { seq: head, cid: headCid },
      state: deleted > 0 ? "deleted" : closed > 0 ? "closed" : "open",
    };
  }

  /** A document as it is on a branch, under its own name. Not to be changed by the caller. Throws BRANCH_NOT_FOUND. */
  state(doc: string, branch?: string): DocState | undefined {
    const id = this.branchId(branch);
    if (id === 0) return this.catalog.doc(doc);
    const state = this.catalog.doc(rowOf(id, doc)) ?? this.#find(id, doc);
    return state && (state.name === doc ? state : { ...state, name: doc });
  }

  /** Works out what a branch found of documents that its parent has written since, so that writing them takes no time. */
  async ready(branch: string | undefined, docs: readonly string[]): Promise<void> {
    const id = this.catalog.branches.named(branch ?? MAIN)?.id ?? 0;
    if (id === 0) return;
    for (const doc of docs) {
      const row = rowOf(id, doc);
      if (this.catalog.doc(row) || this.found.has(row)) continue;
      const steps = foundSteps(this.source(), id, doc);
      for (;;) {
        const step = steps.next();
        if (step.done) {
          this.found.put(row, step.value);
          break;
        }
        await nextTurn(this.world);
      }
    }
  }

  #find(id: number, doc: string): DocState | undefined {
    return this.source().stage(id).doc(doc);
  }

  /** What is durable, for whoever works out how a document was. */
  protected source(): OnBranches {
    const below = {
      archive: (row: string) => archive(this.records, this.catalog, row),
      commitsOn: (id: number, after: number, upTo: number) => this.commitsOf(id, after, upTo),
      commitsOf: (row: string, upTo: number) => commitsOfRow(this.records, this.catalog, row, upTo),
      found: this.found,
      last: this.current.seq,
    };
    return new OnBranches(new Stage(this.catalog), below, (seq) => this.commit(seq) as StoredCommit);
  }

  /**
   * The document with this Automerge id (16 bytes), deleted ones included. Of a named document and one that a
   * client made under the same id, the named one.
   */
  named(id: Uint8Array, branch?: string): string | undefined {
    const { uid } = this.identity;
    const start = idPrefix(id);
    const at = this.branchId(branch);
    let drawn: string | undefined;
    for (const row of this.catalog.named(start)) {
      if (!this.#isThere(row, at)) continue;
      const name = docOf(row);
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

  /** Whether a branch has a document that a row is of. */
  #isThere(row: string, id: number): boolean {
    if (id === 0) return isOfMain(row);
    if (!isDocRow(row)) return false;
    return this.stateOfRow(docOf(row), id, this.current.seq) !== undefined;
  }

  /**
   * The heads a document had on a branch after commit `seq`, and the last commit up to there that touched it there or
   * in the branch's past. Changes that were set aside, then or later, are left out: a point before that can be read
   * all the same. Throws BRANCH_NOT_FOUND.
   */
  stateAt(doc: string, seq: number, branch?: string): DocPoint | undefined {
    return this.stateOfRow(doc, this.branchId(branch), seq);
  }

  /** The same of a branch by its id, also of one that was deleted. */
  stateOfRow(doc: string, id: number, seq: number): DocPoint | undefined {
    let refused: DocState | undefined;
    for (const stretch of id === 0 ? [{ id, upTo: seq }] : pastOf(this.catalog.branches, id, seq)) {
      const row = rowOf(stretch.id, doc);
      const state = this.catalog.doc(row);
      if (!state) continue;
      // What the branch itself has set aside, which is all that it found set aside and more.
      refused ??= state;
      if (state.last <= stretch.upTo && refused === state)
        return { seq: state.last, heads: headsOf(state), deleted: state.deleted };
      const [touched] = this.#touched(doc, stretch, 1);
      if (touched === undefined) continue;
      const entry = this.entryOf(doc, touched);
      const gone = refused.refused;
      const heads = entry.heads.some((head) => gone.has(head))
        ? this.#headsLeft(doc, id, touched, refused.refusedAt)
        : entry.heads;
      return { seq: touched, heads, deleted: entry.deleted === true };
    }
    return undefined;
  }

  /** The heads after commit `seq` without what was set aside since: the only ones no commit names. */
  #headsLeft(doc: string, id: number, seq: number, refusedAt: number): readonly string[] {
    const key = `${seq} ${refusedAt} ${rowOf(id, doc)}`;
    let heads = this.#left.get(key);
    if (!heads) {
      heads = tipsOf(this.changesOn(id, doc, 0, seq).map(readTrustedHeader));
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

  /**
   * The bytes behind an address: a commit's, a change's or an event's. Bundles as with `findCommit`. Throws DB_DAMAGED,
   * and ERASED when it was the change of a document that is.
   */
  block(cid: Uint8Array): Uint8Array | undefined {
    const located = this.#located.get(cidToString(cid));
    const first = located ?? this.findCommit(cid);
    const seqs = located === undefined ? this.catalog.find(prefixOf(toHex(cidDigest(cid)))) : [located];
    let erased: SkaldError | undefined;
    for (const seq of first === undefined ? [] : [first, ...seqs]) {
      const stored = this.commit(seq);
      if (!stored || !holds(stored, cid)) continue;
      if (Buffer.compare(stored.cid, cid) === 0) return stored.bytes;
      // The same change may be in two documents, of which one is erased.
      for (const at of placesOf(stored.commit, cid)) {
        const doc = docAt(stored.commit, at)?.doc;
        const gone = doc === undefined ? undefined : this.erasedAt(doc);
        if (doc !== undefined && (gone !== undefined || stored.blocks[at]?.length === 0))
          erased ??= erasedError(doc, gone);
        else return checkedBlock(stored, at);
      }
    }
    if (erased) throw erased;
    return undefined;
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

  /** The seq of the commit that brought a change of `doc` to a branch or its past, by the change's Automerge hash. */
  seqOfChange(doc: string, hash: string, branch?: string): number | undefined {
    const id = this.branchId(branch);
    const single = this.#singleOfChange(doc, hash, id);
    if (single !== undefined) return single;
    for (const stretch of pastOf(this.catalog.branches, id)) {
      for (const last of this.catalog.bundlesOf(rowOf(stretch.id, doc))) {
        const found = this.records.touching(last, doc).find((seq) => {
          const stored = this.commit(seq) as StoredCommit;
          return this.isInPast(id, stored.commit) && hasChange(stored, doc, hash);
        });
        if (found !== undefined) return found;
      }
    }
    return undefined;
  }

  /** Whether a document has a change, by its Automerge hash, on any branch. */
  hasOnAny(doc: string, hash: string): boolean {
    const here = this.catalog.find(prefixOf(hash)).some((seq) => {
      const stored = this.commit(seq);
      return stored !== undefined && hasChange(stored, doc, hash);
    });
    if (here) return true;
    for (const row of [doc, ...this.catalog.rowsOf(doc)])
      for (const commits of archive(this.records, this.catalog, row))
        if (commits.some((stored) => hasChange(stored, doc, hash))) return true;
    return false;
  }

  /** The same as `seqOfChange` on `main`, among commits that stand alone: no bundle is opened. */
  singleOfChange(doc: string, hash: string): number | undefined {
    return this.#singleOfChange(doc, hash, 0);
  }

  #singleOfChange(doc: string, hash: string, id: number): number | undefined {
    return this.catalog.find(prefixOf(hash)).find((seq) => {
      const stored = this.commit(seq);
      return stored !== undefined && this.isInPast(id, stored.commit) && hasChange(stored, doc, hash);
    });
  }

  /** Seqs of commits on `main` that touched `doc` and stand alone, at or below `before`, newest first. */
  singles(doc: string, before: number, limit: number): number[] {
    return this.catalog.touches(doc, before, limit);
  }

  /** The last commit of the newest bundle with commits of `doc` on `main`, 0 for none: whatever is later stands alone. */
  bundledUpTo(doc: string): number {
    return this.catalog.bundlesOf(doc)[0] ?? 0;
  }

  /** How many bundles have commits of `doc` on `main` after commit `seq`: a cold read opens them all. */
  bundlesAfter(doc: string, seq: number): number {
    return this.catalog.bundlesOf(doc).filter((last) => last > seq).length;
  }

  /** The bundles with commits of `doc` on `main`, without commits of other branches; each costs about a tenth of a second. */
  *bundled(
    doc: string,
    order: "newest first" | "oldest first" = "newest first",
  ): Generator<readonly StoredCommit[]> {
    for (const commits of archive(this.records, this.catalog, doc, order))
      yield this.branched ? commits.filter(({ commit }) => commit.branch === MAIN) : commits;
  }

  /** The last commit at or before `time` (milliseconds), 0 for none. Times never fall, so halving finds it. */
  seqAt(time: number): number {
    let low = 0;
    let high = this.current.seq;
    // Of commits in bundles only when they were made is looked at.
    const bundles = this.catalog.bundles();
    for (let [from, to] = [0, bundles.length]; from < to;) {
      const half = (from + to) >> 1;
      const { last } = bundles[half] as SeqRange;
      const found = this.records.lastBefore(last, time);
      if (found === 0) {
        to = half;
        high = (bundles[half] as SeqRange).first - 1;
      } else if (found < last) {
        return found;
      } else {
        from = half + 1;
        low = last;
      }
    }
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      const stored = this.commit(middle);
      if (stored && stored.commit.time <= time) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Seqs of commits that touched `doc` on a branch or in its past, at or below `before`, newest first. Throws BRANCH_NOT_FOUND. */
  history(doc: string, before: number, limit: number, branch?: string): number[] {
    const id = this.branchId(branch);
    if (id === 0) return this.#touched(doc, { id, upTo: before }, limit);
    const seqs: number[] = [];
    for (const stretch of pastOf(this.catalog.branches, id, before)) {
      if (seqs.length >= limit) break;
      seqs.push(...this.#touched(doc, stretch, limit - seqs.length));
    }
    return seqs;
  }

  #touched(doc: string, { id, upTo }: Stretch, limit: number): number[] {
    const row = rowOf(id, doc);
    const seqs = this.catalog.touches(row, upTo, limit);
    if (seqs.length >= limit) return seqs;
    for (const last of this.catalog.bundlesUpTo(row, upTo)) {
      if (seqs.length >= limit) break;
      const touching = this.records.touching(last, doc);
      for (let i = touching.length - 1; i >= 0 && seqs.length < limit; i -= 1) {
        const seq = touching[i] as number;
        if (seq <= upTo && this.#isOf(seq, id, doc)) seqs.push(seq);
      }
    }
    return seqs;
  }

  /**
   * The changes of `doc` in commits (after, upTo] of a branch and its past, in the order they were applied, without
   * those set aside. Throws BRANCH_NOT_FOUND, and ERASED when the document is, also by a later commit.
   */
  changes(doc: string, after: number, upTo: number, branch?: string): Uint8Array[] {
    return this.changesOn(this.branchId(branch), doc, after, upTo);
  }

  protected changesOn(id: number, doc: string, after: number, upTo: number): Uint8Array[] {
    this.checkErased(doc);
    const changes: Uint8Array[] = [];
    const chain = new EntryChain(doc, after === 0 ? [] : undefined);
    let refused: ReadonlyMap<string, string> | undefined;
    const stretches: Stretch[] = [];
    for (const stretch of id === 0 ? [{ id, upTo }] : pastOf(this.catalog.branches, id, upTo)) {
      const state = this.catalog.doc(rowOf(stretch.id, doc));
      if (!state) continue;
      refused ??= state.refused;
      if (stretch.upTo > after) stretches.push(stretch);
    }
    for (const stretch of stretches.reverse()) {
      for (const stored of this.#commitsOf(doc, stretch, after)) {
        chain.follow(stored);
        changes.push(...changesIn(stored, doc));
      }
    }
    if (refused && refused.size > 0) {
      const gone = refused;
      return changes.filter((bytes) => !gone.has(readTrustedHeader(bytes).hash));
    }
    return changes;
  }

  /** The commits after `after` that touched a document in a stretch of a branch, oldest first. */
  /** Whether commit `seq`, which writes `doc`, is of branch `id`. */
  #isOf(seq: number, id: number, doc: string): boolean {
    const { branches } = this.catalog;
    return !branches.any || touchesRow(branches, (this.commit(seq) as StoredCommit).commit, id, doc);
  }

  *#commitsOf(doc: string, { id, upTo }: Stretch, after: number): Generator<StoredCommit> {
    const row = rowOf(id, doc);
    for (const last of this.catalog.bundlesUpTo(row, upTo).reverse()) {
      if (last <= after) continue;
      for (const seq of this.records.touching(last, doc)) {
        if (seq > after && seq <= upTo && this.#isOf(seq, id, doc)) yield this.commit(seq) as StoredCommit;
      }
    }
    for (const seq of this.catalog.touchesAfter(row, after, upTo)) {
      const stored = this.commit(seq);
      if (stored) yield stored;
    }
  }

  /**
   * Documents in name order after `after`; `prefix` is of `collection/key`. On another branch than `main` those that
   * it wrote and those that it found when it was made. Throws BRANCH_NOT_FOUND.
   */
  list(prefix: string, after: string, limit: number, withDeleted?: boolean): DocState[];
  list(
    prefix: string,
    after: string,
    limit: number,
    withDeleted: boolean,
    branch: string | undefined,
  ): ListedDoc[];
  list(prefix: string, after: string, limit: number, withDeleted = false, branch?: string): ListedDoc[] {
    const id = this.branchId(branch);
    if (id === 0) return this.catalog.list(prefix, after, limit, withDeleted);
    const found: ListedDoc[] = [];
    for (let from = after; found.length < limit;) {
      const names = this.#namesOn(id, prefix, from, limit - found.length);
      for (const { name, first } of names.docs) {
        const point = this.stateOfRow(name, id, this.current.seq);
        if (point && (withDeleted || !point.deleted))
          found.push({ name, first, last: point.seq, deleted: point.deleted });
        if (found.length === limit) break;
      }
      if (names.upTo === undefined) break;
      from = names.upTo;
    }
    return found;
  }

  /** Names after `after` that a branch and what it stands on have rows of; all of them up to `upTo`, or all there are. */
  #namesOn(
    id: number,
    prefix: string,
    after: string,
    limit: number,
  ): { docs: { name: string; first: number }[]; upTo: string | undefined } {
    const docs = new Map<string, number>();
    let upTo: string | undefined;
    for (const stretch of pastOf(this.catalog.branches, id)) {
      const start = rowsPrefix(stretch.id);
      const rows =
        stretch.id === 0
          ? this.catalog.list(prefix, after, limit, true)
          : this.catalog.listRows(start + prefix, start + after, limit, true);
      for (const { name: row, first } of rows) {
        const name = docOf(row);
        // Where a branch wrote a document first that another wrote earlier, the earlier row is further back.
        docs.set(name, Math.min(first, docs.get(name) ?? first));
      }
      const last = rows.length < limit ? undefined : docOf(rows.at(-1)?.name ?? "");
      if (last !== undefined && (upTo === undefined || isBefore(last, upTo))) upTo = last;
    }
    const end = upTo;
    const names = [...docs]
      .map(([name, first]) => ({ name, first }))
      .filter(({ name }) => end === undefined || !isBefore(end, name))
      .sort((a, b) => (isBefore(a.name, b.name) ? -1 : 1));
    return { docs: names, upTo };
  }

  /** Names of documents touched by commits from `from` on; stops at `limit`. */
  touchedSince(from: number, limit: number): string[] {
    return this.catalog.touchedSince(from, limit);
  }

  /** What a branch's past up to a seq is made of: its own commits, those of the branch it was made from, and so on. Throws BRANCH_NOT_FOUND. */
  pastOf(branch: string, upTo: number): Stretch[] {
    return [...pastOf(this.catalog.branches, this.branchId(branch), upTo)];
  }

  /** Who wrote a change of `doc`: the author of the commit that first brought it, on whichever branch. "" when it is not here. */
  authorOfChange(doc: string, hash: string): string {
    const seqs = this.catalog.find(prefixOf(hash)).sort((a, b) => a - b);
    const first = seqs
      .map((seq) => this.commit(seq))
      .find((stored) => stored && hasChange(stored, doc, hash));
    const merged = first && mergeEventIn(first) ? first : undefined;
    if (first && !merged) return bringerOf(first, doc, hash);
    // What a merge brought was written before, in what is a bundle now.
    for (const commits of this.source().bundled(doc)) {
      const found = commits.find((stored) => !mergeEventIn(stored) && hasChange(stored, doc, hash));
      if (found) return bringerOf(found, doc, hash);
    }
    return merged?.commit.author ?? "";
  }

  /**
   * Names of documents that commits of branch `id` in (after, upTo] touched, each once and in no order; there may be
   * some that only later ones did. Costs what was written since, or what was written between, whichever is less.
   */
  touchedOn(id: number, after: number, upTo: number): string[] {
    if (id !== 0) return this.catalog.touchedRows(rowsPrefix(id), after).map(docOf);
    const later = upTo >= this.current.seq ? EVERY : SCAN_WORTH * (upTo - after);
    const names = this.catalog.touchedSince(after + 1, later);
    if (names.length < later) return names;
    const found = new Set<string>();
    for (let from = after + 1; from <= upTo;) {
      const page = this.commits(from, Math.min(SCAN_PAGE, upTo - from + 1));
      if (page.length === 0) break;
      for (const { commit } of page)
        if (this.idOfCommit(commit) === id) for (const { doc } of commit.entries) found.add(doc);
      from += page.length;
    }
    return [...found];
  }

  /** Throws ERASED when the document is. */
  checkErased(doc: string): void {
    const erased = this.erasedAt(doc);
    if (erased !== undefined) throw erasedError(doc, erased);
  }

  /** Set when a document is erased, on all branches: the commit that did it, 0 while only stubs tell. */
  erasedAt(doc: string): number | undefined {
    const erased = this.catalog.doc(doc)?.erased;
    if (erased || !this.catalog.branches.any) return erased;
    return this.catalog.rowsOf(doc).some((row) => this.catalog.doc(row)?.erased !== undefined) ? 0 : erased;
  }

  /** Documents that were erased, by name, with the commits that did it. */
  erasures(): Fact[] {
    const facts = [...this.catalog.facts("erased"), ...this.catalog.facts("erasing")];
    return facts.sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
  }

  /** Documents of which changes were received without their bytes since this was opened, and that no commit erased so far. */
  owed(): string[] {
    return this.catalog.owed();
  }

  /** Those of them of which there may still be changes in the storage. */
  erasing(): Fact[] {
    return this.catalog.erasing();
  }

  /** The rules of retention in force, by collection. */
  retention(): RetentionRule[] {
    return this.catalog
      .facts("retention")
      .map(({ value }) => readRule(value))
      .filter((rule) => rule?.maxAge !== undefined) as RetentionRule[];
  }

  /** The last commit known to have set changes aside: points before it may read otherwise than they did. */
  get lastSetAside(): number {
    return this.catalog.setAside();
  }

  /**
   * The schema statements in force on a branch after commit `seq`, in order: its parent's up to the fork and its own; a
   * merge adds those of the other branch that it lacks. Whether each can be applied is not looked at. Throws
   * BRANCH_NOT_FOUND.
   */
  schemaAt(branch: string | undefined, seq: number): SchemaStatement[] {
    const id = this.branchId(branch);
    return this.#schema().at(this.catalog.branches, id, seq);
  }

  /**
   * The commit that last added a statement to those in force on a branch at `seq`, 0 for none; of a merge that one and
   * not the statement's own. Points of a db, of whichever branches, where this is the same have the same schema.
   */
  schemaSeq(branch: string | undefined, seq: number): number {
    const id = this.branchId(branch);
    return this.#schema().lastAt(this.catalog.branches, id, seq);
  }

  #schema(): SchemaFold {
    const steps = this.catalog.schemaSteps();
    for (; this.#folded < steps.length; this.#folded += 1)
      this.#fold.take(steps[this.#folded] as SchemaStep, this.catalog.branches);
    return this.#fold;
  }

  /** The stored statements of the db, by name. */
  statements(): StoredStatement[] {
    return [...this.catalog.statements().keys()].sort().flatMap((name) => this.statement(name) ?? []);
  }

  statement(name: string): StoredStatement | undefined {
    const fact = this.catalog.statements().get(name);
    return fact && readStatement(fact.value, fact.seq);
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

/** A branch as it is. */
export interface BranchInfo {
  /** The seq of the commit that made it, 0 of `main`: names may be used again, this never. */
  readonly id: number;
  readonly name: string;
  /** The branch it was made from, as that was named; none of `main`. */
  readonly parent: string | undefined;
  readonly parentId: number;
  /** The last seq of the parent's past that it has. */
  readonly forkSeq: number;
  /** Its own last commit; seq 0 only of a `main` without any. */
  readonly head: { readonly seq: number; readonly cid: Uint8Array | undefined };
  readonly state: "open" | "closed" | "deleted";
}

/** A document in a list. */
export type ListedDoc = Pick<DocState, "name" | "first" | "last" | "deleted">;

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
  return addressesOf(stored.commit).some((address) => Buffer.compare(address, cid) === 0);
}

/** Whether it is a commit that the one which holds it is the merge of. */
function isWithin(stored: StoredCommit | undefined, cid: Uint8Array): boolean {
  return cidCodec(cid) === CODEC_DAG_CBOR && !!stored && Buffer.compare(stored.cid, cid) !== 0;
}

function placesOf(commit: Commit, cid: Uint8Array): number[] {
  return addressesOf(commit).flatMap((address, at) => (Buffer.compare(address, cid) === 0 ? [at] : []));
}

/** The entry whose change stands at a place among a commit's blocks; undefined for an event. */
function docAt(commit: Commit, place: number): CommitEntry | undefined {
  let at = 0;
  return commit.entries.find(({ changes }) => place < (at += changes.length));
}

function bringerOf(stored: StoredCommit, doc: string, hash: string): string {
  const { author, entries } = stored.commit;
  const entry = entries.find((candidate) => candidate.doc === doc);
  const at = headersIn(stored, doc).findIndex((header) => header.hash === hash);
  const cid = entry?.changes[at];
  return (cid && bringersOf(stored)(doc, cid)) ?? author;
}

function hasChange(stored: StoredCommit, doc: string, hash: string): boolean {
  return headersIn(stored, doc).some((header) => header.hash === hash);
}

/** Names sort by their UTF-8. */
function isBefore(a: string, b: string): boolean {
  return Buffer.compare(Buffer.from(a), Buffer.from(b)) < 0;
}

function downFrom(seq: number, limit: number): number[] {
  return Array.from({ length: Math.max(0, Math.min(seq, limit)) }, (_, i) => seq - i);
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
/** Documents that may be looked at for nothing before reading a commit costs less. */
const SCAN_WORTH = 4;
const SCAN_PAGE = 256;
const OWN_PAGE = 1024;
const EVERY = 1_000_000_000;
const LOCATED_MAX = 1000;
const LEFT_MAX = 1000;
