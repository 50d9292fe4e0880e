import { checkBranchName } from "../ids/names.ts";
import { isSkaldError } from "../errors.ts";
import { CODEC_RAW, cidCodec } from "../ids/cid.ts";
import { isInPast, MAIN, mergedWith, type Branch, type Branches } from "./branches.ts";
import type { Commit } from "./commit.ts";
import { decodeEvent, encodeEvent, type Event } from "./event.ts";
import { isMerge, joins } from "./merged.ts";

/** What makes a branch, closes or deletes it: one event, in a commit on that branch which does nothing else. */
export type BranchEvent =
  | { readonly type: "branch.create"; readonly name: string; readonly from: string; readonly seq: number }
  | { readonly type: "branch.close" }
  | { readonly type: "branch.delete" };

export function encodeBranchEvent(event: BranchEvent): Uint8Array {
  return encodeEvent({ ...event });
}

/**
 * What a merge of a branch into another says: which branch, and up to which commit of it, which is its second parent. One
 * merge may take several commits; `continues` says how many came before this one.
 */
export interface MergeEvent {
  readonly type: "branch.merge";
  readonly from: string;
  readonly seq: number;
  readonly continues?: number;
}

export function encodeMergeEvent({ type, from, seq, continues }: MergeEvent): Uint8Array {
  return encodeEvent({ type, from, seq, continues });
}

/** The event of a merge of a branch. Undefined for any other commit. */
export function mergeEventIn({ commit, blocks }: WithBlocks): MergeEvent | undefined {
  if (!joins(commit) || isMerge(commit) || commit.events.length !== 1) return undefined;
  const block = blocks.at(-1);
  const event = block && block.length > 0 ? readEvent(block) : undefined;
  if (event?.type !== "branch.merge") return undefined;
  const { type: _type, from, seq, continues, ...rest } = event;
  if (Object.keys(rest).length > 0 || typeof from !== "string" || typeof seq !== "number") return undefined;
  if (continues !== undefined && (typeof continues !== "number" || continues === 0)) return undefined;
  return { type: "branch.merge", from, seq, ...(continues === undefined ? {} : { continues }) };
}

/** A commit with its blocks. */
export interface WithBlocks {
  readonly commit: Commit;
  readonly blocks: readonly Uint8Array[];
}

/** The first event of a commit that says something of a branch. Throws DB_DAMAGED for one that is not what its type says. */
export function branchEventIn({ commit, blocks }: WithBlocks): BranchEvent | undefined {
  const { events } = commit;
  if (events.length === 0 || isMerge(commit)) return undefined;
  const from = blocks.length - events.length;
  for (const [i, cid] of events.entries()) {
    const block = blocks[from + i];
    // An erased event has no bytes, and what is no event says nothing.
    if (!block || block.length === 0 || cidCodec(cid) !== CODEC_RAW) continue;
    const event = readEvent(block);
    if (event?.type.startsWith("branch.")) {
      const known = readBranchEvent(event);
      if (known) return known;
    }
  }
  return undefined;
}

function readEvent(block: Uint8Array): Event | undefined {
  try {
    return decodeEvent(block);
  } catch (error) {
    if (isSkaldError(error)) return undefined;
    throw error;
  }
}

function readBranchEvent({ type, name, from, seq, ...rest }: Event): BranchEvent | undefined {
  const alone = Object.keys(rest).length === 0;
  if (type === "branch.create" && alone) {
    if (typeof name === "string" && typeof from === "string" && typeof seq === "number")
      return { type, name, from, seq };
  } else if ((type === "branch.close" || type === "branch.delete") && alone) {
    if (name === undefined && from === undefined && seq === undefined) return { type };
  }
  return undefined;
}

/** What is to be known of commits before, to check one that follows them. */
export interface Before {
  readonly branches: Branches;
  /** Whether the commit with this seq has this address; undefined when that is not known. */
  readonly is: (seq: number, cid: Uint8Array) => boolean | undefined;
  /** The branch that commit `seq` is of. */
  readonly branchAt: (seq: number) => number;
}

/**
 * What keeps a commit from following the ones before it on its branch, in words that begin with "it" or "its";
 * undefined when nothing does. Its first parent and its line are not looked at: see `brokenLinks`.
 */
export function brokenBranch(
  commit: Commit,
  event: BranchEvent | undefined,
  { branches, branchAt }: Pick<Before, "branches" | "branchAt">,
): string | undefined {
  const { branch: name, entries, events, seq } = commit;
  if (event && (entries.length > 0 || events.length !== 1)) return "it makes or ends a branch and does more";
  const there = branches.named(name);
  if (event?.type === "branch.create") {
    if (event.name !== name || !isName(name)) return "it makes a branch of another name";
    if (there) return "it makes a branch that is there";
    const from = branches.named(event.from);
    if (!from) return "it makes a branch from one that is not there";
    if (event.seq >= seq || (event.seq > 0 && !isInPast(branches, from.id, event.seq, branchAt(event.seq))))
      return "it makes a branch at a commit that its parent does not have";
    return undefined;
  }
  if (!there) return "it is of a branch that is not there";
  if (event && name === MAIN) return "it ends main";
  if (there.closed > 0 && event?.type !== "branch.delete") return "it is of a branch that is closed";
  return undefined;
}

function isName(name: string): boolean {
  try {
    return checkBranchName(name) !== MAIN;
  } catch {
    return false;
  }
}

/**
 * What is wrong with the commits that one names as those before it: on its branch, and in the db where that is
 * another. `previous` is the address of the commit with the seq before, if that is known.
 */
export function brokenLinks(
  commit: Commit,
  event: BranchEvent | undefined,
  { branches, is }: Pick<Before, "branches" | "is">,
  previous: Uint8Array | undefined,
): string | undefined {
  const [parent] = commit.parents;
  const before = event?.type === "branch.create" ? event.seq : (branches.named(commit.branch)?.head ?? 0);
  if (before === 0 ? parent !== undefined : !parent || is(before, parent) === false)
    return `it does not name commit ${before} as its parent`;
  if (commit.seq === 1) return commit.line ? "it is the first and names one before it" : undefined;
  if (before === commit.seq - 1) return commit.line ? "it names its parent twice" : undefined;
  if (!commit.line || (previous && Buffer.compare(commit.line, previous) !== 0))
    return `it does not name commit ${commit.seq - 1} as the one before it in the db`;
  return undefined;
}

/**
 * What keeps a commit from being the merge that it says it is, in words that begin with "it" or "its"; undefined when
 * nothing does, or when it is none and says so. What it brings is not looked at.
 */
export function brokenMerge(
  { commit, blocks }: WithBlocks,
  event: MergeEvent | undefined,
  { branches, is, branchAt }: Before,
): string | undefined {
  if (!event && claimsMerge({ commit, blocks })) return "it has an event of a merge and is none";
  if (!event) return joins(commit) && !isMerge(commit) ? "it has two parents and merges nothing" : undefined;
  const from = mergedBranch(event, branches);
  if (!from || event.seq >= commit.seq || branchAt(event.seq) !== from.id)
    return "it merges a commit that is not of the branch it names";
  if (from.id === branches.named(commit.branch)?.id) return "it merges a branch into itself";
  const [, second] = commit.parents;
  return second && is(event.seq, second) === false ? "its second parent is another commit" : undefined;
}

function claimsMerge({ commit, blocks }: WithBlocks): boolean {
  if (commit.events.length === 0 || isMerge(commit)) return false;
  return blocks
    .slice(-commit.events.length)
    .some((block) => block.length > 0 && readEvent(block)?.type === "branch.merge");
}

function mergedBranch({ from, seq }: MergeEvent, branches: Branches): Branch | undefined {
  const id = branches.idOf(from, seq);
  return id === undefined ? undefined : branches.get(id);
}

/** The branch as a commit leaves it that was found to follow the ones before. */
export function branchAfter(
  { branch: name, seq }: Pick<Commit, "branch" | "seq">,
  event: BranchEvent | undefined,
  cid: Uint8Array,
  branches: Branches,
  merge?: MergeEvent,
): Branch {
  if (event?.type === "branch.create") {
    const parent = branches.named(event.from) ?? branches.main;
    // Of an older point nobody knows what it had: some is looked at again when it is merged.
    const merged = event.seq === parent.head ? parent.merged : new Map<number, number>();
    const made = { id: seq, name, parent: parent.id, fork: event.seq, head: seq, headCid: cid };
    return { ...made, closed: 0, deleted: 0, merged };
  }
  const before = branches.named(name) ?? branches.main;
  const from = merge && mergedBranch(merge, branches);
  return {
    ...before,
    head: seq,
    headCid: cid,
    ...(event?.type === "branch.close" ? { closed: seq } : {}),
    ...(event?.type === "branch.delete" ? { deleted: seq } : {}),
    ...(merge && from ? { merged: mergedWith(branches, before, from, merge.seq) } : {}),
  };
}
