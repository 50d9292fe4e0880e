import { nextTurn, type World } from "../world.ts";

/**
 * One document as the log has it now, for whoever syncs it. Never loads the document; what it tells is a
 * function of the log. A document that descends from its virtual genesis has that as its first change here,
 * since a peer must be sent it like any other.
 *
 * It is live: between two calls the document may have moved on, and each answer says which heads it is for.
 */
export interface History {
  /** Sorted hex; none when there is no such document. */
  readonly heads: readonly string[];
  /** The last commit that touched it, 0 for none. */
  readonly seq: number;
  /** How many changes it has, about. */
  readonly size: number;
  /**
   * The commit that has this change (for a head perhaps a later one), 0 for the genesis, undefined for a
   * change that is not here or was set aside. Cheap for heads and what was committed lately.
   */
  seqOf(hash: string): Promise<number | undefined>;
  /** The same when it follows from what is in memory; `later` when something must be read for it. */
  seqOfNow(hash: string): number | "later" | undefined;
  /** Whether a change was set aside: it is here and does not count. */
  refused(hash: string): boolean;
  /** Whether changes may build on it before the document is here: its genesis, which anybody can make. */
  implied(hash: string): boolean;
  /**
   * The changes that are not among `known` (hashes that are here) or their ancestors, in causal order.
   * Undefined when that are more than `most` or too many bytes. Costs what was committed since.
   */
  since(known: readonly string[], most: Most): Promise<Since | undefined>;
  /** The same when it follows from what is in memory; `later` when something must be read for it. */
  sinceNow(known: readonly string[], most: Most): Since | "later" | undefined;
  /** The same without the bytes, however many there are. */
  stretch(known: readonly string[]): Promise<Stretch>;
  /** A change by its hash, undefined when it is not here. */
  change(hash: string): Promise<HistoryChange | undefined>;
  /** The whole document as Automerge chunks: saved, and perhaps some changes after it. */
  save(): Promise<Saved>;
  /** The single changes of a file of Automerge chunks that passed the guard for saved documents. */
  split(bytes: Uint8Array): Promise<readonly Uint8Array[]>;
  /** Whether a change is certainly not here and builds on nothing but the heads as they are. */
  next(change: { readonly actor: string; readonly seq: number; readonly deps: readonly string[] }): boolean;
  /** Whether this change of an actor is certainly not here: its number is above the actor's last. */
  fresh(actor: string, actorSeq: number): boolean;
  /** Messages that were made before, under what they follow from: peers in the same state share bytes. */
  recall(key: string): Uint8Array | undefined;
  remember(key: string, message: Uint8Array): void;
  /** Made anew for each long piece of work: see `Pace`. */
  pace(): Pace;
}

export interface HistoryChange {
  readonly hash: string;
  readonly deps: readonly string[];
  readonly bytes: Uint8Array;
}

export interface Most {
  readonly changes: number;
  readonly bytes: number;
}

export interface Since {
  /** The document's heads with these changes. */
  readonly heads: readonly string[];
  readonly seq: number;
  readonly changes: readonly HistoryChange[];
}

export interface Saved {
  readonly heads: readonly string[];
  readonly seq: number;
  readonly bytes: Uint8Array;
}

/** Changes of a document by their names, oldest first. */
export interface Stretch {
  readonly length: number;
  hash(index: number): string;
  deps(index: number): readonly string[];
  /** Reads it. */
  change(index: number): HistoryChange;
}

/** Work in slices: asked between two small steps, it lets others have a turn once some milliseconds are used up. */
export class Pace {
  readonly #world: World;
  /** Unset before the first step: most work has one step and never asks for the time. */
  #since: number | undefined;

  constructor(world: World) {
    this.#world = world;
  }

  /** Asked after a step: whether it is time for a turn before the next. */
  due(): boolean {
    const now = this.#world.monotonic();
    this.#since ??= now;
    return now - this.#since > SLICE_MS;
  }

  async turn(): Promise<void> {
    await nextTurn(this.#world);
    this.#since = this.#world.monotonic();
  }
}

const SLICE_MS = 4;
