import { CborReader, CborWriter } from "../ids/cbor.ts";
import type { Parked, Reason, Saved } from "./subscription.ts";

/** What is kept of a subscription, as bytes: numbers that grow are written as distances. */
export interface KeptState extends Saved {
  /** First bytes of the address of the commit at the position: tells another log of the same db. */
  readonly mark: Uint8Array;
  /** The life of the db that all these places are in. */
  readonly epoch: number;
}

const VERSION = 1;
const REASONS: readonly Reason[] = ["nack", "timeout", "gone"];

export function encodeState({ epoch, position, mark, ahead, failures, parked }: KeptState): Uint8Array {
  const w = new CborWriter(64);
  w.array(7);
  w.uint(VERSION);
  w.uint(epoch);
  w.uint(position);
  w.bytes(mark);
  w.array(2 * ahead.length);
  let at = position;
  for (const [first, last] of ahead) {
    w.uint(first - at);
    w.uint(last - first);
    at = last;
  }
  w.array(2 * failures.length);
  at = 0;
  for (const [seq, failed] of failures) {
    w.uint(seq - at);
    w.uint(failed);
    at = seq;
  }
  w.array(3 * parked.length);
  at = 0;
  for (const { seq, attempts, reason, retry } of parked) {
    w.uint(seq - at);
    w.uint(attempts);
    w.uint(2 * REASONS.indexOf(reason) + (retry ? 1 : 0));
    at = seq;
  }
  return w.take();
}

/** Throws RangeError for anything that `encodeState` does not write. */
export function decodeState(bytes: Uint8Array): KeptState {
  const r = new CborReader(bytes);
  if (r.array() !== 7 || r.uint() !== VERSION) throw new RangeError("another version");
  const epoch = r.uint();
  const position = r.uint();
  const mark = r.bytes().slice();
  const ahead: (readonly [number, number])[] = [];
  let at = position;
  for (let i = half(r.array(), 2); i > 0; i -= 1) {
    const first = at + r.uint();
    at = first + r.uint();
    ahead.push([first, at]);
  }
  const failures: (readonly [number, number])[] = [];
  at = 0;
  for (let i = half(r.array(), 2); i > 0; i -= 1) {
    at += r.uint();
    failures.push([at, r.uint()]);
  }
  const parked: Parked[] = [];
  at = 0;
  for (let i = half(r.array(), 3); i > 0; i -= 1) {
    at += r.uint();
    const attempts = r.uint();
    const flags = r.uint();
    const reason = REASONS[flags >> 1];
    if (reason === undefined) throw new RangeError("an unknown reason");
    parked.push({ seq: at, attempts, reason, retry: (flags & 1) === 1 });
  }
  r.end();
  return { epoch, position, mark, ahead, failures, parked };
}

function half(length: number, by: number): number {
  if (length % by !== 0) throw new RangeError("a list is cut");
  return length / by;
}

/**
 * The same in a later life of the db, which shares the commits up to `common`. What was done with commits after
 * that says nothing of those that stand in their places now: they are all given.
 */
export function inLife(
  kept: KeptState,
  epoch: number,
  common: number,
  markOf: (seq: number) => Uint8Array,
): KeptState {
  const { ahead, failures, parked } = kept;
  const position = Math.min(kept.position, common);
  return {
    epoch,
    position,
    mark: position === kept.position ? kept.mark : markOf(position),
    ahead: ahead.filter(([first]) => first <= common).map(([first, last]) => [first, Math.min(last, common)]),
    failures: failures.filter(([seq]) => seq <= common),
    parked: parked.filter(({ seq }) => seq <= common),
  };
}
