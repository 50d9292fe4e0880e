import { LIMITS, valuesOf } from "../limits.ts";

/**
 * The limits a change must keep before Automerge sees it, and the checks that need no document.
 *
 * Automerge trusts its input: 108 bytes can stand for a million list items, and an abort in its
 * WebAssembly module ends every later call in that thread. Figures in the comments are from Node 20,
 * Automerge 3.5, two shared cores.
 */
export interface ChangeLimits {
  /** Bytes of one change as sent (deflated or not). */
  changeBytes: number;
  /** Bytes of one change once inflated: the form that is kept. */
  inflatedBytes: number;
  /** Operations in one change. */
  ops: number;
  /** Operations that add a value without bytes of its own (null, true, "", empty maps, lists and texts). */
  bareOps: number;
  /** References to replaced operations (`pred`) in one change. */
  preds: number;
  deps: number;
  otherActors: number;
  /** Bytes of an actor id. */
  actorBytesMin: number;
  actorBytesMax: number;
  messageBytes: number;
  /** UTF-8 bytes of a map key or a mark's name. */
  keyBytes: number;
  /** Maps, lists and texts nested within each other and made by one change. */
  depth: number;
  /** The largest operation number. */
  maxOp: number;
  /** The largest seq of an actor. */
  maxSeq: number;
}

/**
 * Sized so that what people do passes and what stops a worker does not.
 * - changeBytes, inflatedBytes: a 4 MiB file as bytes in a document, twice over.
 * - ops: text costs one operation a character, so a pasted megabyte is a million. Automerge takes
 *   2.6 s and 350 MB to apply that, and 4.5 s to apply its deletion (149 bytes).
 * - bareOps: run lengths make these free for the sender, so they get a quarter: 169 bytes of 250,000
 *   empty maps take 1.3 s to apply, 1.2 s to load and 100 MB. 200,000 rows of a table still pass.
 * - deps: as many heads as a document can have for one change to join.
 * - otherActors: deleting a text names everyone who wrote in it, once per session of theirs.
 * - actorBytes: Automerge's own are 16; shorter ones can be met by guessing.
 * - depth: applying takes time with the square of the depth or worse (100 levels 20 ms, 400 levels
 *   0.13 s, 2,000 levels 21 s).
 * - maxOp: loading a document takes 80 bytes and 0.13 µs for every number up to its largest, used or
 *   not: one change at 10 million makes that 0.8 GB and 1.4 s, one at 50 million makes the document
 *   unloadable for ever. This is the last resort only; what a change may start at follows from the
 *   document, and whoever has it must check that.
 */
export const DEFAULT_CHANGE_LIMITS: Readonly<ChangeLimits> = valuesOf(LIMITS.change);

/** For what a server authored: its change on a value names everyone who wrote in it, more than a sender may name. */
export const AUTHORED_LIMITS: Readonly<ChangeLimits> = {
  ...DEFAULT_CHANGE_LIMITS,
  otherActors: LIMITS.document.actors.value,
};
