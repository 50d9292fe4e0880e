import { touchesRow } from "./archive.ts";
import { docOf, isInPast, pastOf, rowOf, branchOf } from "./branches.ts";
import { prefixOf } from "./address-map.ts";
import { BranchStage, ownerAmong, type DocStage, type Stage } from "./stage.ts";
import type { ChangeHeader } from "./change.ts";
import type { DocState } from "./doc-state.ts";
import { stateSteps, type RowSource } from "./row-states.ts";
import { headersIn, type StoredCommit } from "./stored-commit.ts";

/** Gives the bundles that hold commits that touched a row, newest first. */
export type Archive = (row: string) => Iterable<readonly StoredCommit[]>;

/** What a log has below a stage. */
export interface Below {
  readonly archive: Archive;
  /** Seqs of the commits of a branch in (after, upTo], ascending. */
  readonly commitsOn: (id: number, after: number, upTo: number) => number[];
  /** The commits up to a seq that touched a row, oldest first. */
  readonly commitsOf: (row: string, upTo: number) => Iterable<StoredCommit>;
  /** Documents as branches found them. What is kept here was made of commits that are durable. */
  readonly found: FoundDocs;
  /** The last durable commit. */
  readonly last: number;
}

/** Documents as branches found them, by their rows; the ones used last. What a branch found never changes. */
export class FoundDocs {
  readonly #states = new Map<string, DocState | undefined>();

  has(row: string): boolean {
    return this.#states.has(row);
  }

  get(row: string): DocState | undefined {
    const state = this.#states.get(row);
    if (this.#states.delete(row)) this.#states.set(row, state);
    return state;
  }

  put(row: string, state: DocState | undefined): void {
    this.#states.set(row, state);
    for (const oldest of this.#states.keys()) {
      if (this.#states.size <= FOUND_MAX) break;
      this.#states.delete(oldest);
    }
  }
}

const FOUND_MAX = 4096;

/** Documents, changes and commits on whichever branch, for whoever adds commits to a stage. */
export class OnBranches implements RowSource {
  readonly #stage: Stage;
  readonly #below: Below;
  readonly #commit: (seq: number) => StoredCommit;
  readonly #stages = new Map<number, DocStage>();

  /** `commit` also knows those of the stage. */
  constructor(stage: Stage, below: Below, commit: (seq: number) => StoredCommit) {
    this.#stage = stage;
    this.#below = below;
    this.#commit = commit;
  }

  get branches() {
    return this.#stage.branches;
  }

  /** The stage of a branch. */
  stage(id: number): DocStage {
    if (id === 0) return this.#stage;
    let stage = this.#stages.get(id);
    if (!stage) {
      const found = new Map<string, DocState | undefined>();
      stage = new BranchStage(this.#stage, id, (doc) => {
        if (!found.has(doc)) found.set(doc, this.#find(id, doc));
        return found.get(doc);
      });
      this.#stages.set(id, stage);
    }
    return stage;
  }

  /** A document as a branch found it when it was made. */
  #find(id: number, doc: string): DocState | undefined {
    const row = rowOf(id, doc);
    const { found, last } = this.#below;
    if (found.has(row)) return found.get(row);
    let state: DocState | undefined;
    for (const steps = foundSteps(this, id, doc); ;) {
      const step = steps.next();
      if (!step.done) continue;
      state = step.value;
      break;
    }
    if (id <= last) found.put(row, state);
    return state;
  }

  row(row: string): DocState | undefined {
    return this.#stage.doc(row);
  }

  /** Seqs of the commits of a branch in (after, upTo], ascending. */
  commitsOn(id: number, after: number, upTo: number): number[] {
    const { last } = this.#below;
    const seqs = after < last ? this.#below.commitsOn(id, after, Math.min(upTo, last)) : [];
    const first = this.branches.first();
    // What came before the first branch is all of `main`, and in no list.
    if (id === 0)
      for (let seq = Math.max(after, last) + 1; seq <= upTo && seq < first; seq += 1) seqs.push(seq);
    for (const seq of this.#stage.onBranches.get(id) ?? [])
      if (seq > Math.max(after, last) && seq <= upTo && (id !== 0 || seq > first)) seqs.push(seq);
    return seqs;
  }

  *commitsOf(row: string, upTo: number): Generator<StoredCommit> {
    yield* this.#below.commitsOf(row, Math.min(upTo, this.#below.last));
    for (const seq of this.#stage.docs.get(row)?.touches ?? []) if (seq <= upTo) yield this.#commit(seq);
  }

  owner(doc: string, actor: string): string | undefined {
    return ownerAmong(this.#stage.others(doc, -1), actor);
  }

  headers(doc: string, hashes: readonly string[]): ReadonlyMap<string, ChangeHeader> {
    const found = new Map<string, ChangeHeader>();
    const seen = new Set<number>();
    for (const hash of hashes) {
      if (found.has(hash)) continue;
      for (const seq of this.#stage.find(prefixOf(hash))) {
        if (seen.has(seq)) continue;
        seen.add(seq);
        for (const header of headersIn(this.#commit(seq), doc)) found.set(header.hash, header);
      }
    }
    for (const commits of this.bundled(doc)) {
      if (hashes.every((hash) => found.has(hash))) break;
      for (const stored of commits)
        for (const header of headersIn(stored, doc)) found.set(header.hash, header);
    }
    return found;
  }

  /** The bundles that hold commits of a document, of all branches. */
  *bundled(doc: string): Generator<readonly StoredCommit[]> {
    yield* this.#below.archive(doc);
    for (const row of this.#stage.rowsOf(doc)) yield* this.#below.archive(row);
  }

  /** The commits in bundles of a document that are in the past of a branch, newest bundle first. */
  *archive(doc: string, id: number): Generator<readonly StoredCommit[]> {
    for (const stretch of pastOf(this.branches, id)) yield* this.#below.archive(rowOf(stretch.id, doc));
  }

  /** Whether a commit is in the past of a branch. */
  isInPast({ commit }: StoredCommit, id: number): boolean {
    const { branches } = this;
    if (!branches.any) return true;
    const of = branches.idOf(commit.branch, commit.seq);
    return of !== undefined && isInPast(branches, id, commit.seq, of);
  }

  /** Whether a commit of this stage or below touched a row. */
  touches({ commit }: StoredCommit, row: string): boolean {
    return touchesRow(this.branches, commit, branchOf(row), docOf(row));
  }
}

/** Works out a document as branch `id` found it. Yields now and then. */
export function* foundSteps(
  source: RowSource,
  id: number,
  doc: string,
): Generator<void, DocState | undefined> {
  const branch = source.branches.get(id);
  return branch ? yield* stateSteps(source, branch.parent, doc, branch.fork) : undefined;
}
