import { FIRST_EPOCH } from "../ids/cursor.ts";
import type { DbIdentity, Life, SeqRange, StoredRecord } from "../store/contract.ts";
import { nextTurn, type World } from "../world.ts";
import { branchNotFound } from "./branch-steps.ts";
import { branchRow, MAIN, isInPast, pastOf, type Branch, type Stretch } from "./branches.ts";
import type { Catalog } from "./catalog.ts";
import type { Commit } from "./commit.ts";
import type { RawCommit } from "./commit-scan.ts";
import type { LogHead } from "./receipt.ts";
import type { Records } from "./records.ts";
import type { StoredCommit } from "./stored-commit.ts";

/** Commits by their place in the log: by seq, by time, on a branch and in its past. */
export class CommitReader {
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

  #info({ id, name, parent, fork, head, headCid, closed, deleted, merged }: Branch): BranchInfo {
    return {
      id,
      name,
      parent: id === 0 ? undefined : (this.catalog.branches.get(parent)?.name ?? MAIN),
      parentId: parent,
      forkSeq: fork,
      head: { seq: head, cid: headCid },
      state: deleted > 0 ? "deleted" : closed > 0 ? "closed" : "open",
      merged: Array.from(merged, ([of, upTo]) => ({
        id: of,
        name: this.catalog.branches.get(of)?.name ?? MAIN,
        upTo,
      })),
    };
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

  /** What a branch's past up to a seq is made of: its own commits, those of the branch it was made from, and so on. Throws BRANCH_NOT_FOUND. */
  pastOf(branch: string, upTo: number): Stretch[] {
    return [...pastOf(this.catalog.branches, this.branchId(branch), upTo)];
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
  /** What merges brought: of these branches everything up to a seq. */
  readonly merged: readonly { readonly id: number; readonly name: string; readonly upTo: number }[];
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

const OWN_PAGE = 1024;
