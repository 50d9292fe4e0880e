import { SkaldError } from "../errors.ts";
import { CborReader, CborWriter } from "../ids/cbor.ts";
import { fromHex, toHex } from "../ids/hash.ts";
import type { ChangeHeader } from "./change.ts";
import type { CommitEntry } from "./commit.ts";

/**
 * What the log must know of a document to take another change: never its content. Its size follows
 * the number of heads and actors, not the number of changes.
 */
export interface DocState {
  /** Row of the catalog; undefined until first written there. */
  id: number | undefined;
  readonly name: string;
  /** The tips of the change graph, each with its largest op counter. */
  readonly heads: Map<string, number>;
  readonly actors: Map<string, ActorState>;
  /** Largest op counter of any change. */
  maxOp: number;
  changes: number;
  /** Sum of the changes' sizes, in bytes. */
  bytes: number;
  /** Seqs of the first and the last commit that touched it; 0 before the first. */
  first: number;
  last: number;
  deleted: boolean;
  /**
   * Changes that were set aside, with their actors. They count in everything else here but the heads:
   * their bytes and numbers stay used. Never changed in place: copies of a state share it.
   */
  refused: ReadonlyMap<string, string>;
  /** Seq of the last commit that set changes aside, 0 for none. */
  refusedAt: number;
  /**
   * Set once changes of it are gone: the commit that erased it, or 0 while all that is known are stubs, which stand
   * before that commit. From then on only what commits say is known: which heads there are, and how many changes.
   */
  erased: number | undefined;
}

export interface ActorState {
  /** Its last change's seq, and its hash. */
  readonly seq: number;
  readonly hash: string;
  /** Whose it is: the principal that first wrote with it. */
  readonly principal: string;
}

const NONE_REFUSED: ReadonlyMap<string, string> = new Map();

export function newDocState(name: string): DocState {
  return {
    id: undefined,
    name,
    heads: new Map(),
    actors: new Map(),
    maxOp: 0,
    changes: 0,
    bytes: 0,
    first: 0,
    last: 0,
    deleted: false,
    refused: NONE_REFUSED,
    refusedAt: 0,
    erased: undefined,
  };
}

export function copyDocState(state: DocState): DocState {
  return { ...state, heads: new Map(state.heads), actors: new Map(state.actors) };
}

/** A state of its own for a row named `row`, from what a branch found of the document. */
export function startRow(base: DocState | undefined, row: string): DocState {
  return base ? { ...copyDocState(base), id: undefined, name: row } : newDocState(row);
}

/** Heads as everything outside writes them: sorted hex. */
export function headsOf(state: DocState): string[] {
  const heads = [...state.heads.keys()];
  return heads.length > 1 ? heads.sort() : heads;
}

/** Moves the state past one change that was checked to follow it. */
export function advance(state: DocState, change: ChangeHeader, principal: string): void {
  for (const dep of change.deps) state.heads.delete(dep);
  state.heads.set(change.hash, change.maxOp);
  const known = state.actors.get(change.actor);
  state.actors.set(change.actor, {
    seq: change.seq,
    hash: change.hash,
    principal: known?.principal ?? principal,
  });
  if (change.maxOp > state.maxOp) state.maxOp = change.maxOp;
  state.changes += 1;
  state.bytes += change.bytes.length;
}

/** What is looked up of changes to set them aside. */
export interface Refusal {
  /** Hash to actor. */
  readonly refused: ReadonlyMap<string, string>;
  /** The tips of what is left, each with its largest op counter. */
  readonly heads: ReadonlyMap<string, number>;
}

/** Takes changes out of the document. Its actors and op counters stay used: no number is given twice. */
export function setAside(state: DocState, refusal: Refusal, seq: number): void {
  state.heads.clear();
  for (const [hash, maxOp] of refusal.heads) state.heads.set(hash, maxOp);
  state.refused = new Map([...state.refused, ...refusal.refused]);
  state.refusedAt = seq;
}

/**
 * Forgets what follows from changes alone, so that the state is the same whether it was worked out before they were
 * erased or after.
 */
export function hollow(state: DocState): void {
  const heads = headsOf(state);
  state.heads.clear();
  for (const hash of heads) state.heads.set(hash, 0);
  state.actors.clear();
  state.maxOp = 0;
  state.bytes = 0;
  state.refused = NONE_REFUSED;
  state.refusedAt = 0;
  state.erased ??= 0;
}

/** Moves a hollow state past what a commit says of the document. */
export function followHollow(
  state: DocState,
  { heads, changes }: Pick<CommitEntry, "heads" | "changes">,
): void {
  state.heads.clear();
  for (const hash of heads.toSorted()) state.heads.set(hash, 0);
  state.changes += changes.length;
}

const writer = new CborWriter();

/** Compact bytes for the catalog; derived, so its form may change with the catalog's schema. */
export function encodeDocState(state: DocState): Uint8Array {
  const w = writer;
  w.reset();
  // Few documents ever have refused changes, and the others do not pay for the two items.
  w.array(state.erased !== undefined ? 6 : state.refused.size > 0 ? 7 : 5);
  w.uint(state.maxOp);
  w.uint(state.changes);
  w.uint(state.bytes);
  w.array(state.heads.size * 2);
  for (const [hash, maxOp] of state.heads) {
    w.bytes(fromHex(hash));
    w.uint(maxOp);
  }
  w.array(state.actors.size * 4);
  for (const [actor, { seq, hash, principal }] of state.actors) {
    w.bytes(fromHex(actor));
    w.uint(seq);
    w.bytes(fromHex(hash));
    w.text(principal);
  }
  if (state.erased !== undefined) w.uint(state.erased);
  else if (state.refused.size > 0) {
    w.uint(state.refusedAt);
    w.array(state.refused.size * 2);
    for (const [hash, actor] of state.refused) {
      w.bytes(fromHex(hash));
      w.bytes(fromHex(actor));
    }
  }
  return w.take();
}

export interface StoredParts {
  readonly id: number;
  readonly name: string;
  readonly state: Uint8Array;
  readonly first: number;
  readonly last: number;
  readonly deleted: boolean;
}

/** Throws DERIVED_DAMAGED for bytes that `encodeDocState` does not write. */
export function decodeDocState(row: StoredParts): DocState {
  try {
    return readDocState(row);
  } catch (cause) {
    throw new SkaldError("DERIVED_DAMAGED", "The catalog's row of a document is not one.", { cause });
  }
}

function readDocState(row: StoredParts): DocState {
  const r = new CborReader(row.state);
  const items = r.array();
  if (items !== 5 && items !== 6 && items !== 7) throw new RangeError("a row has other parts");
  const state: DocState = {
    ...newDocState(row.name),
    id: row.id,
    maxOp: r.uint(),
    changes: r.uint(),
    bytes: r.uint(),
  };
  const heads = r.array();
  for (let left = heads; left > 0; left -= 2) state.heads.set(toHex(r.bytes()), r.uint());
  const actors = r.array();
  for (let left = actors; left > 0; left -= 4) {
    const actor = toHex(r.bytes());
    state.actors.set(actor, { seq: r.uint(), hash: toHex(r.bytes()), principal: r.text() });
  }
  if (items === 6) state.erased = r.uint();
  if (items === 7) {
    state.refusedAt = r.uint();
    const refused = new Map<string, string>();
    const count = r.array();
    for (let left = count; left > 0; left -= 2) refused.set(toHex(r.bytes()), toHex(r.bytes()));
    state.refused = refused;
    if (count !== refused.size * 2 || count === 0) throw new RangeError("a change is set aside twice");
  }
  if (heads !== state.heads.size * 2 || actors !== state.actors.size * 4) {
    throw new RangeError("a head or an actor comes twice");
  }
  r.end();
  return Object.assign(state, { first: row.first, last: row.last, deleted: row.deleted });
}
