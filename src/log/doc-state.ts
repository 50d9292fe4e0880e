import { CborWriter, decodeCbor } from "../ids/cbor.ts";
import { fromHex, toHex } from "../ids/hash.ts";
import type { ChangeHeader } from "./change.ts";

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
}

export interface ActorState {
  /** Its last change's seq. */
  readonly seq: number;
  /** Whose it is: the principal that first wrote with it. */
  readonly principal: string;
}

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
  };
}

export function copyDocState(state: DocState): DocState {
  return { ...state, heads: new Map(state.heads), actors: new Map(state.actors) };
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
  state.actors.set(change.actor, { seq: change.seq, principal: known?.principal ?? principal });
  if (change.maxOp > state.maxOp) state.maxOp = change.maxOp;
  state.changes += 1;
  state.bytes += change.bytes.length;
}

const writer = new CborWriter();

/** Compact bytes for the catalog; derived, so its form may change with the catalog's schema. */
export function encodeDocState(state: DocState): Uint8Array {
  const w = writer;
  w.reset();
  w.array(5);
  w.uint(state.maxOp);
  w.uint(state.changes);
  w.uint(state.bytes);
  w.array(state.heads.size * 2);
  for (const [hash, maxOp] of state.heads) {
    w.bytes(fromHex(hash));
    w.uint(maxOp);
  }
  w.array(state.actors.size * 3);
  for (const [actor, { seq, principal }] of state.actors) {
    w.bytes(fromHex(actor));
    w.uint(seq);
    w.text(principal);
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

export function decodeDocState(row: StoredParts): DocState {
  const [maxOp, changes, bytes, heads, actors] = decodeCbor(row.state) as [
    number,
    number,
    number,
    (Uint8Array | number)[],
    (Uint8Array | number | string)[],
  ];
  const state: DocState = { ...newDocState(row.name), id: row.id, maxOp, changes, bytes };
  for (let i = 0; i < heads.length; i += 2) {
    state.heads.set(toHex(heads[i] as Uint8Array), heads[i + 1] as number);
  }
  for (let i = 0; i < actors.length; i += 3) {
    state.actors.set(toHex(actors[i] as Uint8Array), {
      seq: actors[i + 1] as number,
      principal: actors[i + 2] as string,
    });
  }
  return Object.assign(state, { first: row.first, last: row.last, deleted: row.deleted });
}
