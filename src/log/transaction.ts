import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { CODEC_RAW, cidDigest, cidOf } from "../ids/cid.ts";
import { toHex } from "../ids/hash.ts";
import { parseDocName } from "../ids/names.ts";
import { prefixOf } from "./address-map.ts";
import type { DocStage } from "./stage.ts";
import type { ChangeHeader } from "./change.ts";
import type { CommitEntry } from "./commit.ts";
import {
  advance,
  followHollow,
  headsOf,
  hollow,
  newDocState,
  setAside,
  type DocState,
  type Refusal,
} from "./doc-state.ts";
import { erasedError } from "./erased.ts";
import { genesisOf } from "./genesis.ts";
import { refuseDescendants, refusalOf } from "./refusals.ts";
import type { Unchanged } from "./unchanged.ts";

/** One atomic write, its changes already read and guarded. */
export interface Transaction {
  /** The principal; author of the commit and owner of actors it is the first to use. */
  readonly author: string;
  /** Makes repeating safe: the first receipt comes back. Empty for none. */
  readonly clientTxId: string;
  readonly message?: string;
  readonly writes: readonly DocWrite[];
  /** The branch that is written; `main` when absent. */
  readonly branch?: string;
  /** Makes or ends that branch instead of writing: then there are neither writes nor events. */
  readonly step?: BranchStep;
  /** Bytes of events, see `event.ts`. */
  readonly events?: readonly Uint8Array[];
  /** Refused with HEADS_CONFLICT unless these documents are still at these heads. */
  readonly reads?: readonly { readonly doc: string; readonly heads: readonly string[] }[];
  /** Refused with SEQ_CONFLICT unless the db is still at this seq. */
  readonly expectSeq?: number;
  /** Refused with SQL_CONFLICT when what this was worked out from has changed. */
  readonly unchanged?: Unchanged;
  /** Takes changes whose actors belong to others, as an import does. */
  readonly anyActor?: boolean;
  /** Written by the server itself: without it a db of its own takes nothing, see `LogOptions.own`. */
  readonly own?: boolean;
}

export type BranchStep =
  /** `at` is the seq of a commit in the past of branch `from`, or 0; its head when absent. */
  | { readonly kind: "create"; readonly from: string; readonly at?: number }
  | { readonly kind: "close" | "delete" };

export interface DocWrite {
  readonly doc: string;
  readonly changes: readonly ChangeHeader[];
  /** Refused with HEADS_CONFLICT unless the document is still here; undefined merges. */
  readonly base?: readonly string[];
  readonly deleted?: boolean;
  /** This server made its change, and the server's own actor writes for every principal. */
  readonly authored?: boolean;
  /** The genesis of the document, of who has worked it out. */
  readonly genesis?: { readonly actor: string; readonly hash: string };
  /** Sets changes aside instead of adding any: then `changes` is empty and `base` given. See `Log.setAside`. */
  readonly refused?: { readonly hashes: readonly string[]; readonly heads: readonly string[] };
  /** Takes changes that build on ones that were set aside: whoever merges sets them aside as well. */
  readonly merging?: boolean;
  /** Ends the document: the commit gets an event that says so. Then `changes` is empty. See `erased.ts`. */
  readonly erase?: { readonly reason?: string };
  /** Refused with DOC_NOT_FOUND when there never was such a document. */
  readonly present?: boolean;
}

/** What the checks need to know of the log beside the stage. */
export interface LogLookup {
  readonly uid: Uint8Array;
  readonly seq: number;
  /** The states of a document on the branches other than the one that is written. */
  others(doc: string): readonly DocState[];
  /** Whether a document has a change on any branch. */
  isKnown(doc: string, hash: string): boolean;
  /** A change of `doc` by its hash, looked up in the commits `seqs` that are in the branch's past. */
  findChange(doc: string, hash: string, seqs: readonly number[]): FoundChange | undefined;
  /** At least those of these changes that are in `doc`, by hash. */
  findHeaders(doc: string, hashes: readonly string[]): ReadonlyMap<string, ChangeHeader>;
  /** A change of `doc` by its actor and seq: for naming an equivocation. */
  findByActor(doc: string, actor: string, seq: number): ChangeHeader | undefined;
}

export interface FoundChange {
  readonly header: ChangeHeader;
  /** Commit that holds it. */
  readonly seq: number;
  /** That commit left it as the document's only head, so it builds on all that was there. */
  readonly alone: boolean;
}

/** A write that passed every check: nothing can refuse it any more but the disk. */
export interface PlannedWrite {
  readonly doc: string;
  readonly fresh: readonly ChangeHeader[];
  readonly cids: readonly Uint8Array[];
  readonly deleted: boolean;
  readonly refusal?: Refusal;
  /** Whose actors the changes are, by hash; the author's otherwise. */
  readonly principals?: ReadonlyMap<string, string>;
  /** It ends the document. */
  readonly erase?: { readonly reason?: string };
  /** Of another server's commit, an entry of a document that is erased later: it is taken as it is. */
  readonly hollow?: CommitEntry;
}

/**
 * Checks a transaction against the stage without changing it. Gives the writes that do something, or
 * an empty list when all of it is in the log already. Throws the first refusal; then nothing was kept.
 */
export function planTransaction(tx: Transaction, stage: DocStage, lookup: LogLookup): PlannedWrite[] {
  if (tx.expectSeq !== undefined && tx.expectSeq !== lookup.seq) {
    throw new SkaldError("SEQ_CONFLICT", `The db is at seq ${lookup.seq}, not ${tx.expectSeq}.`, {
      details: { seq: lookup.seq },
    });
  }
  for (const read of tx.reads ?? []) expectHeads(read.doc, read.heads, stage.doc(read.doc), lookup.uid);
  checkText("message", tx.message ?? "");
  checkText("author", tx.author);
  const planned: PlannedWrite[] = [];
  for (const write of tx.writes) {
    const state = stage.doc(write.doc);
    if (write.erase) {
      if (stage.erasedAt(write.doc)) continue;
      if (write.present && !state && lookup.others(write.doc).length === 0)
        throw new SkaldError("DOC_NOT_FOUND", `There is no document ${write.doc}.`, {
          details: { doc: write.doc },
        });
      if (write.base) expectHeads(write.doc, write.base, state, lookup.uid);
      planned.push({ doc: write.doc, fresh: [], cids: [], deleted: true, erase: write.erase });
      continue;
    }
    const erased = stage.erasedAt(write.doc);
    if (erased !== undefined) throw erasedError(write.doc, erased);
    if (write.refused) {
      const refusal = planRefusal(write, write.refused, stage, lookup);
      const deleted = state?.deleted === true;
      if (refusal) planned.push({ doc: write.doc, fresh: [], cids: [], deleted, refusal });
      continue;
    }
    const fresh = planChanges(tx, write, state ?? newDocState(write.doc), stage, lookup);
    // A write whose changes are all here already is a repeat, and a repeat is never a conflict.
    if (write.base && (fresh.length > 0 || write.changes.length === 0)) {
      expectHeads(write.doc, write.base, state, lookup.uid);
    }
    if (fresh.length > 0) checkGrowth(write.doc, fresh, state);
    const deleted = write.deleted === true;
    const nowDeleted = state?.deleted ?? false;
    if (fresh.length === 0 && deleted === nowDeleted) continue;
    if (fresh.length === 0 && !deleted && write.changes.length > 0) continue;
    planned.push({
      doc: write.doc,
      fresh,
      cids: fresh.map((change) => cidOf(CODEC_RAW, change.bytes)),
      deleted,
    });
  }
  return planned;
}

/** Puts planned writes on the stage and gives the commit's entries. Cannot fail. */
export function stageWrites(
  planned: readonly PlannedWrite[],
  author: string,
  seq: number,
  stage: DocStage,
): CommitEntry[] {
  return planned.map(({ doc, fresh, cids, deleted, refusal, principals, erase, hollow: left }) => {
    const state = stage.touch(doc, seq);
    const base = headsOf(state);
    if (left) {
      hollow(state);
      followHollow(state, left);
      for (const cid of left.changes) stage.addresses.add(prefixOf(toHex(cidDigest(cid))), seq);
      state.deleted = deleted;
      return { ...left, base, heads: headsOf(state) };
    }
    if (erase) stage.erase(state, seq);
    for (const change of fresh) {
      const owner = state.actors.has(change.actor) ? undefined : stage.owner(doc, change.actor);
      advance(state, change, owner ?? principals?.get(change.hash) ?? author);
      stage.addresses.add(prefixOf(change.hash), seq);
    }
    for (const cid of cids) stage.addresses.add(prefixOf(toHex(cidDigest(cid))), seq);
    state.deleted = deleted;
    if (refusal) setAside(state, refusal, seq);
    return {
      doc,
      base,
      changes: cids,
      heads: headsOf(state),
      ...(deleted ? { deleted } : {}),
      ...(refusal ? { refused: [...refusal.refused.keys()].sort() } : {}),
    };
  });
}

/** Undefined when all of it was set aside before. */
function planRefusal(
  { doc, base = [] }: DocWrite,
  { hashes, heads }: { readonly hashes: readonly string[]; readonly heads: readonly string[] },
  stage: DocStage,
  lookup: LogLookup,
): Refusal | undefined {
  const state = stage.doc(doc);
  const fresh = hashes.filter((hash) => !state?.refused.has(hash));
  if (fresh.length === 0) return undefined;
  expectHeads(doc, base, state, lookup.uid);
  return refusalOf(doc, fresh, heads, lookup.findHeaders(doc, [...fresh, ...heads]));
}

/** Throws HEADS_CONFLICT when a document is not at these heads. */
export function expectHeads(
  doc: string,
  heads: readonly string[],
  state: DocState | undefined,
  uid: Uint8Array,
): void {
  const current = state ? headsOf(state) : [];
  const wanted = heads.toSorted();
  if (wanted.length === current.length && wanted.every((head, i) => head === current[i])) return;
  // A new document's copies all start from its genesis, so that is a right name for "nothing yet".
  if (current.length === 0 && wanted.length === 1 && wanted[0] === genesis(doc, uid).hash) return;
  throw new SkaldError("HEADS_CONFLICT", `The document ${doc} is not at the heads this builds on.`, {
    details: { doc, current_heads: current },
  });
}

/**
 * A document with more heads than one change can join could never be written by the server again, and
 * all of its heads and actors are kept in memory. One change on the current heads cannot make more.
 */
export function checkGrowth(doc: string, fresh: readonly ChangeHeader[], state: DocState | undefined): void {
  const { heads: mostHeads, actors: mostActors } = LIMITS.document;
  const actors = state?.actors.size ?? 0;
  const before = state?.heads.size ?? 0;
  if (before + fresh.length > mostHeads.value) {
    const heads = new Set(state?.heads.keys());
    for (const change of fresh) {
      for (const dep of change.deps) heads.delete(dep);
      heads.add(change.hash);
    }
    // Whoever joins some of too many is let in.
    if (heads.size > mostHeads.value && heads.size > before) throw tooLarge(doc, mostHeads.value, "heads");
  }
  if (actors + fresh.length > mostActors.value) {
    const fewer = new Set(fresh.map((change) => change.actor).filter((actor) => !state?.actors.has(actor)));
    if (fewer.size > 0 && actors + fewer.size > mostActors.value)
      throw tooLarge(doc, mostActors.value, "actors");
  }
}

function tooLarge(doc: string, max: number, what: string): SkaldError {
  return new SkaldError("DOC_TOO_LARGE", `The document ${doc} would have more than ${max} ${what}.`, {
    details: { doc, limit: what, max },
  });
}

function genesis(doc: string, uid: Uint8Array): { actor: string; hash: string } {
  const { collection, key } = parseDocName(doc);
  return genesisOf(uid, collection, key);
}

/** Half a surrogate pair has no UTF-8: what a commit says would not be what was asked for. */
function checkText(name: string, text: string): void {
  if (text.isWellFormed()) return;
  throw new SkaldError("BAD_REQUEST", `The ${name} has half a surrogate pair.`);
}

/**
 * The checks that keep a document loadable for ever and converging everywhere: every dependency is
 * here, an actor's changes count 1, 2, 3 and each builds on the one before (Automerge saves a document
 * that it cannot load when one does not), no two differ under one (actor, seq), the genesis actor has
 * the genesis alone, and op counters grow with the graph. All of it costs the change's own size:
 * nothing is materialised.
 */
export function planChanges(
  tx: Transaction,
  write: DocWrite,
  state: DocState,
  stage: DocStage,
  lookup: LogLookup,
): readonly ChangeHeader[] {
  const others = lookup.others(write.doc);
  const fresh = planOnBranch(tx, write, state, stage, lookup, others);
  if (others.length > 0) for (const change of fresh) checkAcross(tx, write, change, others, lookup);
  return fresh;
}

/**
 * Branches of one document may come together one day, so an actor's number means one change on all of them, and the
 * actor has one owner. A change that another branch has already is that change; one that is new has to be new
 * everywhere.
 */
function checkAcross(
  tx: Transaction,
  write: DocWrite,
  change: ChangeHeader,
  others: readonly DocState[],
  lookup: LogLookup,
): void {
  const { doc } = write;
  for (const { actors } of others) {
    const there = actors.get(change.actor);
    if (!there || there.hash === change.hash || lookup.isKnown(doc, change.hash)) continue;
    if (there.seq >= change.seq) {
      throw new SkaldError(
        "CHANGE_EQUIVOCATION",
        `The actor ${change.actor} already has another change ${change.seq} in ${doc}, on another branch.`,
        {
          details: { doc, actor: change.actor, seq: change.seq, hashes: [there.hash, change.hash] },
          hint: "An actor writes a document on one branch; write with a fresh actor id on each.",
        },
      );
    }
    if (there.principal !== tx.author && !tx.anyActor && !write.authored) throw notOwner(tx, doc, change);
  }
}

function notOwner(tx: Transaction, doc: string, change: ChangeHeader): SkaldError {
  return new SkaldError("CHANGE_ACTOR", `The actor ${change.actor} is not ${tx.author}'s in ${doc}.`, {
    details: { doc, actor: change.actor, change: change.hash },
  });
}

function planOnBranch(
  tx: Transaction,
  write: DocWrite,
  state: DocState,
  stage: DocStage,
  lookup: LogLookup,
  others: readonly DocState[],
): readonly ChangeHeader[] {
  const [only] = write.changes;
  if (only && write.changes.length === 1) {
    if (state.changes === 0 ? isFirst(only, state, write, lookup) : isNext(only, state, tx, write))
      return write.changes;
  }
  const fresh: ChangeHeader[] = [];
  const within = new Map<string, ChangeHeader>();
  const latest = new Map<string, ChangeHeader>();
  let { maxOp } = state;
  for (const change of write.changes) {
    const known = state.actors.get(change.actor);
    const previous = latest.get(change.actor) ?? known;
    const expected = (previous?.seq ?? 0) + 1;
    if (within.has(change.hash) || state.refused.has(change.hash)) continue;
    // The genesis actor's only change has seq 1, so nothing of it can pass with a seq above 2.
    if (change.seq <= 2 && isGenesis(write.doc, change, lookup) && state.changes + fresh.length > 0) continue;
    if (change.seq < expected) {
      if (lookup.findChange(write.doc, change.hash, stage.find(prefixOf(change.hash)))) continue;
      throw equivocation(write.doc, change, within, lookup);
    }
    // What its owner wrote on another branch may be brought here by anyone.
    if (
      known &&
      known.principal !== tx.author &&
      !tx.anyActor &&
      !write.authored &&
      !(others.length > 0 && lookup.isKnown(write.doc, change.hash))
    )
      throw notOwner(tx, write.doc, change);
    if (state.refused.size > 0 && !write.merging) refuseDescendants(change, state);
    const depsMaxOp = largestOpOfDeps(write.doc, change, state, within, stage, lookup);
    if (change.seq > expected) {
      throw new SkaldError("CHANGE_SEQ", `The actor's next change is ${expected}, not ${change.seq}.`, {
        details: { doc: write.doc, actor: change.actor, change: change.hash, expected, got: change.seq },
      });
    }
    if (previous && !buildsOn(write.doc, change, previous.hash, within, stage, lookup)) {
      throw new SkaldError(
        "CHANGE_SEQ",
        `The change ${change.hash} does not build on its actor's change before.`,
        {
          details: { doc: write.doc, actor: change.actor, change: change.hash, before: previous.hash },
        },
      );
    }
    checkStartOp(write.doc, change, depsMaxOp, maxOp);
    within.set(change.hash, change);
    latest.set(change.actor, change);
    if (change.maxOp > maxOp) maxOp = change.maxOp;
    fresh.push(change);
  }
  return fresh;
}

/** The common case: one change, the owner's next, on exactly the current heads. */
function isNext(change: ChangeHeader, state: DocState, tx: Transaction, write: DocWrite): boolean {
  if (state.refused.size > 0) return false;
  const known = state.actors.get(change.actor);
  // A second change may be the genesis actor's, which must have none.
  if (!known || change.seq !== known.seq + 1 || change.seq === 2) return false;
  if (known.principal !== tx.author && !tx.anyActor && !write.authored) return false;
  if (change.deps.length !== state.heads.size) return false;
  let largest = 0;
  for (const dep of change.deps) {
    const maxOp = state.heads.get(dep);
    if (maxOp === undefined) return false;
    if (maxOp > largest) largest = maxOp;
  }
  return startsRight(change, largest, state.maxOp);
}

/** The other common case: the first change of a document that nobody wrote before, on its genesis. */
function isFirst(change: ChangeHeader, state: DocState, write: DocWrite, lookup: LogLookup): boolean {
  if (state.heads.size + state.actors.size + state.refused.size > 0) return false;
  if (change.seq !== 1 || change.deps.length !== 1) return false;
  const { actor, hash } = write.genesis ?? genesis(write.doc, lookup.uid);
  return change.deps[0] === hash && change.actor !== actor && startsRight(change, 0, state.maxOp);
}

function largestOpOfDeps(
  doc: string,
  change: ChangeHeader,
  state: DocState,
  within: ReadonlyMap<string, ChangeHeader>,
  stage: DocStage,
  lookup: LogLookup,
): number {
  let largest = 0;
  const missing: string[] = [];
  for (const dep of change.deps) {
    let maxOp = state.heads.get(dep) ?? within.get(dep)?.maxOp;
    if (maxOp === undefined) maxOp = lookup.findChange(doc, dep, stage.find(prefixOf(dep)))?.header.maxOp;
    if (maxOp === undefined && dep === genesis(doc, lookup.uid).hash) maxOp = 0;
    if (maxOp === undefined) missing.push(dep);
    else if (maxOp > largest) largest = maxOp;
  }
  if (missing.length > 0) {
    throw new SkaldError(
      "CHANGE_DEPS_MISSING",
      `The change ${change.hash} builds on changes that are not here.`,
      {
        details: { doc, change: change.hash, missing, current_heads: headsOf(state) },
      },
    );
  }
  return largest;
}

/** Throws CHANGE_ACTOR for a change of the genesis actor that is not the genesis. */
function isGenesis(doc: string, change: ChangeHeader, lookup: LogLookup): boolean {
  const { actor, hash } = genesis(doc, lookup.uid);
  if (change.actor === actor && change.hash !== hash) {
    throw new SkaldError(
      "CHANGE_ACTOR",
      `The actor ${actor} makes the first change of ${doc} and no other.`,
      {
        details: { doc, actor, change: change.hash },
      },
    );
  }
  return change.hash === hash;
}

/** Changes looked at before giving up: only a forged change or one on a very old fork needs more. */
const WALK_MAX = 1000;

/** Whether `change` follows from the change `before`. Automerge nearly always names it among the deps. */
function buildsOn(
  doc: string,
  change: ChangeHeader,
  before: string,
  within: ReadonlyMap<string, ChangeHeader>,
  stage: DocStage,
  lookup: LogLookup,
): boolean {
  if (change.deps.includes(before)) return true;
  const find = (hash: string) => lookup.findChange(doc, hash, stage.find(prefixOf(hash)));
  const goal = find(before);
  const floor = (goal?.header ?? within.get(before))?.maxOp ?? 0;
  const todo = [...change.deps];
  const seen = new Set(todo);
  for (let looked = 0; looked < WALK_MAX; looked += 1) {
    const hash = todo.shift();
    if (hash === undefined) return false;
    if (hash === before) return true;
    const found = within.has(hash) ? undefined : find(hash);
    if (goal && found?.alone && found.seq >= goal.seq) return true;
    const header = within.get(hash) ?? found?.header;
    // Op counters never fall along the graph, so what lies below cannot lead there.
    if (!header || header.maxOp < floor) continue;
    for (const dep of header.deps) {
      if (!seen.has(dep)) {
        seen.add(dep);
        todo.push(dep);
      }
    }
  }
  return false;
}

/**
 * Automerge starts a change one after the largest op it knows: its deps' when they are all it has
 * seen, up to the document's when it edits an older point (`changeAt`). More would let one change
 * use up the 32-bit counter and make the document unloadable for ever.
 */
function checkStartOp(doc: string, change: ChangeHeader, depsMaxOp: number, docMaxOp: number): void {
  if (startsRight(change, depsMaxOp, docMaxOp)) return;
  throw new SkaldError(
    "CHANGE_START_OP",
    `The change starts at op ${change.startOp}, not ${depsMaxOp + 1}.`,
    {
      details: { doc, change: change.hash, expected: depsMaxOp + 1, got: change.startOp },
    },
  );
}

/** Without operations only the one number will do: Automerge does not load what it saves of any other. */
function startsRight({ startOp, opCount }: ChangeHeader, depsMaxOp: number, docMaxOp: number): boolean {
  return opCount === 0 ? startOp === depsMaxOp + 1 : startOp > depsMaxOp && startOp <= docMaxOp + 1;
}

function equivocation(
  doc: string,
  change: ChangeHeader,
  within: ReadonlyMap<string, ChangeHeader>,
  lookup: LogLookup,
): SkaldError {
  const here =
    [...within.values()].find((other) => other.actor === change.actor && other.seq === change.seq) ??
    lookup.findByActor(doc, change.actor, change.seq);
  return new SkaldError(
    "CHANGE_EQUIVOCATION",
    `The actor ${change.actor} already has another change ${change.seq} in ${doc}.`,
    {
      details: {
        doc,
        actor: change.actor,
        seq: change.seq,
        hashes: [here?.hash, change.hash].filter(Boolean),
      },
    },
  );
}
