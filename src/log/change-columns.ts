import { isAscii, isUtf8 } from "node:buffer";
import { ByteReader, malformed } from "./chunk.ts";

/**
 * Cursors over the run-length encoded columns of Automerge. A cursor stands on a *segment*: `left`
 * items that share one value (or, for a delta column, one step). Callers take as many items as all
 * their columns have left, so the work grows with the bytes and never with the items they stand for.
 *
 * Every column must be in the one form Automerge writes. It keeps no copy of a change's bytes: what
 * it saves and sends on is encoded again from its own columns, so a change in any other form would
 * come back with another hash, and the saved document would not load.
 *
 * Source: the Automerge binary format specification, "Column data"; the rules on which form is the
 * written one were found by encoding and are held by test/log/guard-fuzz.test.ts.
 */

/** More items than any limit lets through, and far from overflowing a sum. */
const MAX_RUN = 2 ** 40;

export const NULL = -1;

type Mode = 0 | 1 | 2 | 3;
const START = 0;
const RUN = 1;
const LITERAL = 2;
const NULLS = 3;

/** Unsigned numbers, nulls allowed: `value` is NULL (-1) for those. An absent column is all nulls. */
export class UintColumn {
  left = 0;
  value = NULL;
  readonly #in: ByteReader;
  readonly #name: string;
  #literals = 0;
  #mode: Mode = START;
  #last = NULL;

  constructor(bytes: Uint8Array, start: number, end: number, name: string) {
    this.#in = new ByteReader(bytes, start, end);
    this.#name = name;
  }

  /** Stands on a segment with `left` > 0, or leaves `left` at 0 when the column has ended. */
  load(): void {
    if (this.left > 0) return;
    const input = this.#in;
    if (this.#literals > 0) {
      this.#literals--;
      const value = input.uint();
      if (value === this.#last) this.#notCanonical("equal values in a row are not one run");
      this.value = value;
      this.#last = value;
      this.left = 1;
      return;
    }
    if (input.pos === input.end) return;
    const count = input.int();
    if (count > 0) {
      if (count === 1) this.#notCanonical("a run of one");
      const value = input.uint();
      if (this.#mode !== START && this.#mode !== NULLS && value === this.#last) {
        this.#notCanonical("equal values in a row are not one run");
      }
      this.#mode = RUN;
      this.value = value;
      this.#last = value;
      this.left = bounded(count);
    } else if (count < 0) {
      if (this.#mode === LITERAL) this.#notCanonical("two literal runs in a row");
      if (this.#mode !== RUN) this.#last = NULL;
      this.#mode = LITERAL;
      this.#literals = -count;
      this.load();
    } else {
      if (this.#mode === NULLS) this.#notCanonical("two null runs in a row");
      const nulls = input.uint();
      if (nulls === 0) this.#notCanonical("an empty null run");
      if (this.#mode === START && input.pos === input.end) this.#notCanonical("a column of nulls only");
      this.#mode = NULLS;
      this.value = NULL;
      this.#last = NULL;
      this.left = bounded(nulls);
    }
  }

  ended(): boolean {
    return this.left === 0 && this.#literals === 0 && this.#in.pos === this.#in.end;
  }

  #notCanonical(why: string): never {
    malformed("not-canonical", `Column ${this.#name} is not in the form Automerge writes: ${why}`, {
      column: this.#name,
      at: this.#in.pos,
    });
  }
}

/**
 * Numbers stored as differences. Within a segment the first item is `value` and each next one
 * `step` more; `isNull` marks a segment of nulls, which leaves the running value as it is.
 */
export class DeltaColumn {
  left = 0;
  value = 0;
  step = 0;
  isNull = false;
  readonly #in: ByteReader;
  readonly #name: string;
  #literals = 0;
  #mode: Mode = START;
  #current = 0;

  constructor(bytes: Uint8Array, start: number, end: number, name: string) {
    this.#in = new ByteReader(bytes, start, end);
    this.#name = name;
  }

  load(): void {
    if (this.left > 0) return;
    const input = this.#in;
    if (this.#literals > 0) {
      this.#literals--;
      const step = input.int();
      if (step === this.step && this.#mode !== START) this.#notCanonical("equal steps are not one run");
      if (this.#mode === START) this.#mode = LITERAL;
      this.#enter(step, 1);
      return;
    }
    if (input.pos === input.end) return;
    const count = input.int();
    if (count > 0) {
      if (count === 1) this.#notCanonical("a run of one");
      const step = input.int();
      if (this.#mode !== START && this.#mode !== NULLS && step === this.step) {
        this.#notCanonical("equal steps are not one run");
      }
      this.#mode = RUN;
      this.#enter(step, bounded(count));
    } else if (count < 0) {
      if (this.#mode === LITERAL) this.#notCanonical("two literal runs in a row");
      // START tells the first literal that no value stands before it to compare with.
      this.#mode = this.#mode === RUN ? LITERAL : START;
      this.#literals = -count;
      this.load();
    } else {
      if (this.#mode === NULLS) this.#notCanonical("two null runs in a row");
      const nulls = input.uint();
      if (nulls === 0) this.#notCanonical("an empty null run");
      if (this.#mode === START && input.pos === input.end) this.#notCanonical("a column of nulls only");
      this.#mode = NULLS;
      this.isNull = true;
      this.left = bounded(nulls);
    }
  }

  #enter(step: number, count: number): void {
    const first = this.#current + step;
    const last = this.#current + step * count;
    // Automerge keeps counters in 32 bits; beyond 53 the sums here would no longer be exact either.
    if (first < 0 || last < 0 || first > MAX_RUN || last > MAX_RUN) {
      malformed("counter-out-of-range", `Column ${this.#name} leaves the range of operation numbers`, {
        column: this.#name,
      });
    }
    this.isNull = false;
    this.step = step;
    this.value = first;
    this.left = count;
    this.#current = last;
  }

  /** Moves `count` items on within the segment. */
  take(count: number): void {
    this.left -= count;
    if (!this.isNull) this.value += this.step * count;
  }

  ended(): boolean {
    return this.left === 0 && this.#literals === 0 && this.#in.pos === this.#in.end;
  }

  #notCanonical(why: string): never {
    malformed("not-canonical", `Column ${this.#name} is not in the form Automerge writes: ${why}`, {
      column: this.#name,
      at: this.#in.pos,
    });
  }
}

/** Alternating runs of false and true. */
export class BooleanColumn {
  left = 0;
  value = true;
  readonly #in: ByteReader;
  readonly #name: string;
  #first = true;

  constructor(bytes: Uint8Array, start: number, end: number, name: string) {
    this.#in = new ByteReader(bytes, start, end);
    this.#name = name;
  }

  load(): void {
    if (this.left > 0) return;
    const input = this.#in;
    if (input.pos === input.end) return;
    this.value = !this.value;
    const count = input.uint();
    if (count === 0) {
      if (!this.#first || input.pos === input.end) {
        malformed("not-canonical", `Column ${this.#name} is not in the form Automerge writes: an empty run`, {
          column: this.#name,
          at: input.pos,
        });
      }
      this.#first = false;
      this.load();
      return;
    }
    this.#first = false;
    this.left = bounded(count);
  }

  ended(): boolean {
    return this.left === 0 && this.#in.pos === this.#in.end;
  }
}

/** UTF-8 strings, nulls allowed: `start` is NULL (-1) for those, else the segment's string is at start, `length`. */
export class StringColumn {
  left = 0;
  start = NULL;
  length = 0;
  readonly #in: ByteReader;
  readonly #name: string;
  #literals = 0;
  #mode: Mode = START;
  #lastStart = NULL;
  #lastLength = 0;

  constructor(bytes: Uint8Array, start: number, end: number, name: string) {
    this.#in = new ByteReader(bytes, start, end);
    this.#name = name;
  }

  load(): void {
    if (this.left > 0) return;
    const input = this.#in;
    if (this.#literals > 0) {
      this.#literals--;
      this.#read();
      this.left = 1;
      return;
    }
    if (input.pos === input.end) return;
    const count = input.int();
    if (count > 0) {
      if (count === 1) this.#notCanonical("a run of one");
      if (this.#mode === NULLS) this.#lastStart = NULL;
      this.#mode = RUN;
      this.#read();
      this.left = bounded(count);
    } else if (count < 0) {
      if (this.#mode === LITERAL) this.#notCanonical("two literal runs in a row");
      if (this.#mode === NULLS) this.#lastStart = NULL;
      this.#mode = LITERAL;
      this.#literals = -count;
      this.load();
    } else {
      if (this.#mode === NULLS) this.#notCanonical("two null runs in a row");
      const nulls = input.uint();
      if (nulls === 0) this.#notCanonical("an empty null run");
      if (this.#mode === START && input.pos === input.end) this.#notCanonical("a column of nulls only");
      this.#mode = NULLS;
      this.start = NULL;
      this.left = bounded(nulls);
    }
  }

  #read(): void {
    const input = this.#in;
    const length = input.uint();
    const start = input.skip(length);
    if (
      this.#lastStart !== NULL &&
      length === this.#lastLength &&
      sameBytes(input.bytes, start, this.#lastStart, length)
    ) {
      this.#notCanonical("equal values in a row are not one run");
    }
    if (!validUtf8(input.bytes, start, length)) {
      malformed("utf-8", `Column ${this.#name} holds a string that is not UTF-8`, {
        column: this.#name,
        at: start,
      });
    }
    this.start = start;
    this.length = length;
    this.#lastStart = start;
    this.#lastLength = length;
  }

  ended(): boolean {
    return this.left === 0 && this.#literals === 0 && this.#in.pos === this.#in.end;
  }

  #notCanonical(why: string): never {
    malformed("not-canonical", `Column ${this.#name} is not in the form Automerge writes: ${why}`, {
      column: this.#name,
      at: this.#in.pos,
    });
  }
}

function bounded(count: number): number {
  return count > MAX_RUN ? MAX_RUN : count;
}

export function sameBytes(bytes: Uint8Array, a: number, b: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (bytes[a + i] !== bytes[b + i]) return false;
  return true;
}

export function validUtf8(bytes: Uint8Array, start: number, length: number): boolean {
  // Most strings are short ASCII, for which the call into the runtime costs more than the loop.
  if (length <= 32) {
    let i = start;
    const end = start + length;
    while (i < end && (bytes[i] as number) < 0x80) i++;
    if (i === end) return true;
  }
  return isUtf8(bytes.subarray(start, start + length));
}

/** `count` strings of `length` bytes each, one after the other. */
export function validUtf8Row(bytes: Uint8Array, start: number, length: number, count: number): boolean {
  if (length === 0) return true;
  if (count === 1) return validUtf8(bytes, start, length);
  const end = start + length * count;
  if (length === 1) return isAscii(bytes.subarray(start, end));
  if (!isUtf8(bytes.subarray(start, end))) return false;
  for (let at = start; at < end; at += length) if (((bytes[at] as number) & 0xc0) === 0x80) return false;
  return true;
}

/** The number of items in a run-length encoded column of unsigned numbers; reads runs, not items. */
export function countItems(bytes: Uint8Array, start: number, end: number, name: string): number {
  if (end - start === 2 && bytes[start] === 0x7f && (bytes[start + 1] as number) < 0x80) return 1;
  const column = new UintColumn(bytes, start, end, name);
  let count = 0;
  for (;;) {
    column.load();
    if (column.left === 0) return count;
    count += column.left;
    column.left = 0;
  }
}
