import { SkaldError } from "../errors.ts";
import { isInPast, knownTo, pastOf, type Branch } from "./branches.ts";
import { prefixOf } from "./address-map.ts";
import type { Stage } from "./stage.ts";
import type { ChangeHeader } from "./change.ts";
import type { DocState } from "./doc-state.ts";
import { broughtBy, planBrought, restores, type Brought } from "./merge-plan.ts";
import { joins } from "./merged.ts";
import type { OnBranches } from "./on-branches.ts";
import { SCHEMA_CHANGE, schemaEventsIn } from "./schema-events.ts";
import { headersIn, type StoredCommit } from "./stored-commit.ts";
import type { DocWrite, LogLookup, PlannedWrite, Transaction } from "./transaction.ts";

/**
 * The merge of a branch into another: a commit with two parents, the last one of its branch and the last one that it
 * brings. Its entries have the changes of the other branch that this one lacks, under their addresses and with their
 * bytes, so that it holds all that its branch has. Its event says which branch that was (`MergeEvent`).
 */
export interface BranchMerge {
  readonly author: string;
  /** Empty for none. */
  readonly clientTxId: string;
  readonly message?: string;
  /** The branch that is merged, as of its commit `at`; its head when absent. */
  readonly from: string;
  readonly at?: number;
  readonly into: string;
  /** Closes `from` in the same step. */
  readonly close?: boolean;
  /** Nothing is kept. */
  readonly dryRun?: boolean;
  /** Changes on top of what is brought; their bases are heads before that. */
  readonly writes?: readonly DocWrite[];
  readonly reads?: Transaction["reads"];
  readonly expectSeq?: number;
  readonly anyActor?: boolean;
}

/** What a merge is planned on. */
export interface MergeGround {
  readonly stage: Stage;
  readonly on: OnBranches;
  readonly commit: (seq: number) => StoredCommit;
  readonly lookup: (id: number) => LogLookup;
  /** The changes that count in a document on a branch. */
  readonly counting: (doc: string, id: number) => ChangeHeader[];
  /** Seqs of the commits of a branch in (after, upTo], ascending. */
  readonly commitsOn: (id: number, after: number, upTo: number) => number[];
}

/** Bytes of the commits that one merge commit brings, unless a single one has more: a record that anyone can take. */
export const MERGE_BYTES = 8 * 1024 * 1024;

/** Seqs of the commits in the past of branch `from`, up to `upTo`, that `into` does not have; oldest first. */
export function missingCommits(
  { stage, commitsOn }: MergeGround,
  from: Branch,
  upTo: number,
  into: Branch,
): number[] {
  const known = knownTo(stage.branches, into.id);
  return [...pastOf(stage.branches, from.id, upTo)].reverse().flatMap((stretch) => {
    const end = Math.min(stretch.upTo, stage.branches.get(stretch.id)?.head ?? 0);
    return commitsOn(stretch.id, known.get(stretch.id) ?? 0, end);
  });
}

/** Whether `into` has nothing that `from` lacks: no commits since they were one, or only merges of `from`. */
export function isFastForward(ground: MergeGround, from: Branch, into: Branch): boolean {
  const own = missingCommits(ground, into, into.head, from);
  if (own.length > ONLY_MERGES) return false;
  return own.every((seq) => {
    const stored = ground.commit(seq);
    const { commit } = stored;
    return (
      (joins(commit) || commit.entries.length === 0) &&
      !schemaEventsIn(stored).some(({ event }) => event.type === SCHEMA_CHANGE) &&
      commit.entries.every(({ doc, heads }) =>
        heads.every((hash) => hasChange(ground, doc, hash, from, from.head)),
      )
    );
  });
}

/** Commits looked at for that: beyond, somebody works there. */
const ONLY_MERGES = 64;

/** What is to be written of a run of commits of branch `from` on branch `into`. Yields after each document. */
export function* planMerge(
  ground: MergeGround,
  run: readonly StoredCommit[],
  from: Branch,
  into: Branch,
): Generator<void, PlannedWrite[]> {
  const planned: PlannedWrite[] = [];
  const stage = ground.on.stage(into.id);
  const lookup = ground.lookup(into.id);
  const upTo = run.at(-1)?.commit.seq ?? 0;
  for (const brought of broughtBy(run)) {
    const has = (hash: string): boolean =>
      brought.changes.some((change) => change.hash === hash) ||
      hasChange(ground, brought.doc, hash, from, upTo);
    const write = planBrought(
      brought,
      (fresh, state) => isDeleted(ground, brought, fresh, state, from, has),
      stage,
      lookup,
      (doc) => ground.counting(doc, into.id),
    );
    if (write) planned.push(write);
    yield;
  }
  return planned;
}

/**
 * Whether a document is deleted after a merge: when both sides deleted it, or one did that knew everything the other
 * has. A deletion must not take what it did not know of.
 */
function isDeleted(
  ground: MergeGround,
  { doc, deleted: there, restored }: Brought,
  fresh: readonly ChangeHeader[],
  state: DocState,
  from: Branch,
  has: (hash: string) => boolean,
): boolean {
  const here = state.deleted;
  if (state.first === 0 || there === here) return there;
  if (here) return fresh.length === 0 && !restored;
  const entry = ground.commit(state.last).commit.entries.find((candidate) => candidate.doc === doc);
  if (entry && restores(entry) && !ground.on.isInPast(ground.commit(state.last), from.id)) return false;
  return [...state.heads.keys()].every(has);
}

/** Whether a document has a change on a branch as of its commit `upTo`. */
export function hasChange(
  { stage, on, commit }: MergeGround,
  doc: string,
  hash: string,
  { id }: Branch,
  upTo: number,
): boolean {
  const holds = (stored: StoredCommit): boolean => {
    const { seq, branch } = stored.commit;
    if (seq > upTo) return false;
    const of = stage.branches.idOf(branch, seq);
    if (of === undefined || !isInPast(stage.branches, id, seq, of)) return false;
    return headersIn(stored, doc).some((header) => header.hash === hash);
  };
  if (stage.find(prefixOf(hash)).some((seq) => holds(commit(seq)))) return true;
  for (const commits of on.archive(doc, id)) if (commits.some(holds)) return true;
  return false;
}

/** The heads that a run of commits left that a branch lacks, in words; undefined when it has them all. */
export function leftOut(
  run: readonly StoredCommit[],
  has: (doc: string, hash: string) => boolean,
): string | undefined {
  const heads = new Map<string, readonly string[]>();
  for (const { commit } of run) for (const entry of commit.entries) heads.set(entry.doc, entry.heads);
  for (const [doc, hashes] of heads) {
    const lost = hashes.find((hash) => !has(doc, hash));
    if (lost !== undefined) return `it leaves out ${lost} of ${doc}`;
  }
  return undefined;
}

/** Throws BAD_REQUEST for a branch that is to be merged into itself. */
export function checkApart(from: Branch, into: Branch): void {
  if (from.id !== into.id) return;
  throw new SkaldError("BAD_REQUEST", `The branch ${into.name} cannot be merged into itself.`);
}
