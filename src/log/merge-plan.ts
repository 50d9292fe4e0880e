import { SkaldError, isSkaldError } from "../errors.ts";
import { CODEC_RAW, cidOf } from "../ids/cid.ts";
import type { DocStage } from "./stage.ts";
import type { CommitEntry } from "./commit.ts";
import { readChange, type ChangeHeader } from "./change.ts";
import { newDocState, type DocState, type Refusal } from "./doc-state.ts";
import { erasedBy, isStub } from "./erased.ts";
import { AUTHORED_LIMITS } from "./guard.ts";
import { bringersOf } from "./merged.ts";
import { RefusedSet, tipsOf } from "./refusals.ts";
import type { StoredCommit } from "./stored-commit.ts";
import { checkGrowth, planChanges, type LogLookup, type PlannedWrite } from "./transaction.ts";

/** What commits of another line did to one document. */
export interface Brought {
  readonly doc: string;
  readonly changes: ChangeHeader[];
  /** Whose actors the changes are, by hash. */
  readonly principals: Map<string, string>;
  /** Hashes of changes that were set aside. */
  readonly refused: Set<string>;
  deleted: boolean;
  /** Whether a deletion was taken back without a change. */
  restored: boolean;
  /** One of the commits erased it. */
  erased: boolean;
}

/** What a run of commits did, document by document in the order they come. */
export function broughtBy(run: readonly StoredCommit[]): Brought[] {
  const docs = new Map<string, Brought>();
  for (const stored of run) {
    const bringer = bringersOf(stored);
    const erased = erasedBy(stored);
    let at = 0;
    for (const entry of stored.commit.entries) {
      let brought = docs.get(entry.doc);
      if (!brought) {
        const { doc } = entry;
        brought = {
          doc,
          changes: [],
          principals: new Map(),
          refused: new Set(),
          deleted: false,
          restored: false,
          erased: false,
        };
        docs.set(entry.doc, brought);
      }
      for (const cid of entry.changes) {
        const block = stored.blocks[at++] as Uint8Array;
        if (isStub(block)) continue;
        const change = readChange(block, AUTHORED_LIMITS);
        brought.changes.push(change);
        brought.principals.set(change.hash, bringer(entry.doc, cid) ?? stored.commit.author);
      }
      for (const hash of entry.refused ?? []) brought.refused.add(hash);
      brought.deleted = entry.deleted === true;
      if (restores(entry)) brought.restored = true;
      brought.erased ||= erased.has(entry.doc);
    }
  }
  return [...docs.values()];
}

/** Whether an entry does nothing but take a deletion back. */
export function restores({ changes, deleted, refused }: CommitEntry): boolean {
  return changes.length === 0 && deleted !== true && refused === undefined;
}

/**
 * What is to be written of what was brought: changes that are new here; set aside those that were there, and
 * everything on either line that builds on one that was. Undefined when nothing of it is new. `deletedBy` says
 * whether the document is deleted then, `counting` gives its changes that count. Of a document that is erased on
 * either line nothing is brought but that. Throws SYNC_EQUIVOCATION, and what keeps a change out of a document.
 */
export function planBrought(
  brought: Brought,
  deletedBy: (fresh: readonly ChangeHeader[], state: DocState) => boolean,
  stage: DocStage,
  lookup: LogLookup,
  counting: (doc: string) => readonly ChangeHeader[],
): PlannedWrite | undefined {
  const { doc, principals } = brought;
  const state = stage.doc(doc) ?? newDocState(doc);
  const erased = stage.erasedAt(doc);
  if (erased) return undefined;
  if (brought.erased) return { doc, fresh: [], cids: [], deleted: true, erase: {} };
  if (erased !== undefined) return undefined;
  const fresh = freshOf(brought, state, stage, lookup);
  checkGrowth(doc, fresh, state);
  const refusal = refusalIn(brought, fresh, state, counting);
  const deleted = deletedBy(fresh, state);
  if (fresh.length === 0 && !refusal && deleted === state.deleted) return undefined;
  const cids = fresh.map(({ bytes }) => cidOf(CODEC_RAW, bytes));
  return { doc, fresh, cids, deleted, principals, ...(refusal ? { refusal } : {}) };
}

function freshOf(
  brought: Brought,
  state: DocState,
  stage: DocStage,
  lookup: LogLookup,
): readonly ChangeHeader[] {
  const { doc, changes } = brought;
  const tx = { author: "", clientTxId: "", writes: [], anyActor: true };
  try {
    return planChanges(tx, { doc, changes, merging: true }, state, stage, lookup);
  } catch (error) {
    if (!isSkaldError(error) || error.code !== "CHANGE_EQUIVOCATION") throw error;
    throw new SkaldError("SYNC_EQUIVOCATION", `The two lines cannot be merged: ${error.message}`, {
      details: error.details,
      cause: error,
    });
  }
}

function refusalIn(
  { refused }: Brought,
  fresh: readonly ChangeHeader[],
  state: DocState,
  counting: (doc: string) => readonly ChangeHeader[],
): Refusal | undefined {
  const wanted = new Set([...refused].filter((hash) => !state.refused.has(hash)));
  if (wanted.size === 0 && state.refused.size === 0) return undefined;
  const there = counting(state.name);
  const out = new RefusedSet();
  const gone = new Map<string, string>();
  const left: ChangeHeader[] = [];
  const judge = (change: ChangeHeader, before?: RefusedSet): void => {
    if (wanted.has(change.hash) || before?.takesIn(change)) out.add(change);
    if (out.hashes.has(change.hash) || out.takesIn(change)) gone.set(change.hash, change.actor);
    else left.push(change);
  };
  for (const change of there) judge(change);
  const before = new RefusedSet();
  for (const [hash, actor] of state.refused) before.add({ hash, actor });
  for (const change of fresh) judge(change, before);
  if (gone.size === 0) return undefined;
  const maxOps = new Map(left.map(({ hash, maxOp }) => [hash, maxOp]));
  return { refused: gone, heads: new Map(tipsOf(left).map((hash) => [hash, maxOps.get(hash) ?? 0])) };
}
