import { PackBytes } from "./change-pack-bytes.ts";

/**
 * Columns of a change that are written from first to last in runs, for who knows the runs beforehand; the form is
 * the one that `ChangeBuilder` writes from single items. Source: the Automerge binary format specification,
 * "Column data".
 */

/** What is no number of a column. */
export const NONE = -(2 ** 30);

/** Run-length encoded numbers, unsigned or (as the steps of a delta column) signed. */
export class NumberRuns {
  readonly out = new PackBytes(128);
  readonly #signed: boolean;
  #value = NONE;
  #count = 0;
  /** Where the length of the literal run under way is to stand, and how many are in it. */
  #literalsAt = -1;
  #literals = 0;
  #any = false;

  constructor(signed = false) {
    this.#signed = signed;
  }

  reset(): void {
    this.out.length = 0;
    this.#value = NONE;
    this.#count = 0;
    this.#literalsAt = -1;
    this.#any = false;
  }

  add(value: number, count = 1): void {
    if (value === this.#value) {
      this.#count += count;
      return;
    }
    this.#flush();
    this.#value = value;
    this.#count = count;
  }

  /** The column's bytes are those of `out` from here on; a column of nothing has none. */
  end(): void {
    this.#flush();
    if (this.#any) this.#literalsAt = endLiterals(this.out, this.#literalsAt, this.#literals);
    else this.out.length = 0;
  }

  #flush(): void {
    const { out } = this;
    const count = this.#count;
    if (count === 0) return;
    if (this.#value === NONE) {
      this.#literalsAt = endLiterals(out, this.#literalsAt, this.#literals);
      out.byte(0);
      out.uint(count);
      return;
    }
    this.#any = true;
    if (count > 1) {
      this.#literalsAt = endLiterals(out, this.#literalsAt, this.#literals);
      out.int(count);
    } else if (this.#literalsAt < 0) {
      this.#literalsAt = out.length;
      this.#literals = 1;
      out.byte(0);
    } else this.#literals += 1;
    if (this.#signed) out.int(this.#value);
    else out.uint(this.#value);
  }
}

/** Run-length encoded strings. */
export class TextRuns {
  readonly out = new PackBytes(256);
  #value: string | undefined;
  #count = 0;
  #literalsAt = -1;
  #literals = 0;
  #any = false;

  reset(): void {
    this.out.length = 0;
    this.#value = undefined;
    this.#count = 0;
    this.#literalsAt = -1;
    this.#any = false;
  }

  add(value: string | undefined, count = 1): void {
    if (value === this.#value) {
      this.#count += count;
      return;
    }
    this.#flush();
    this.#value = value;
    this.#count = count;
  }

  end(): void {
    this.#flush();
    if (this.#any) this.#literalsAt = endLiterals(this.out, this.#literalsAt, this.#literals);
    else this.out.length = 0;
  }

  #flush(): void {
    const { out } = this;
    const count = this.#count;
    if (count === 0) return;
    if (this.#value === undefined) {
      this.#literalsAt = endLiterals(out, this.#literalsAt, this.#literals);
      out.byte(0);
      out.uint(count);
      return;
    }
    this.#any = true;
    if (count > 1) {
      this.#literalsAt = endLiterals(out, this.#literalsAt, this.#literals);
      out.int(count);
    } else if (this.#literalsAt < 0) {
      this.#literalsAt = out.length;
      this.#literals = 1;
      out.byte(0);
    } else this.#literals += 1;
    out.utf8(this.#value);
  }
}

/** Lengths of runs, of which the first is of false. */
export class BooleanRuns {
  readonly out = new PackBytes(64);
  #value = false;
  #count = 0;

  reset(): void {
    this.out.length = 0;
    this.#value = false;
    this.#count = 0;
  }

  add(value: boolean, count = 1): void {
    if (value !== this.#value) {
      this.out.uint(this.#count);
      this.#value = value;
      this.#count = 0;
    }
    this.#count += count;
  }

  end(): void {
    if (this.#count > 0) this.out.uint(this.#count);
  }
}

/** Puts the length before a literal run: one byte is kept free for it, and few are longer. Returns -1. */
function endLiterals(out: PackBytes, at: number, count: number): number {
  if (at < 0) return -1;
  if (count <= 64) {
    out.bytes[at] = 0x80 - count;
    return -1;
  }
  const size = count <= 8192 ? 2 : count <= 2 ** 20 ? 3 : 4;
  out.reserve(size - 1);
  out.bytes.copyWithin(at + size, at + 1, out.length);
  const end = out.length + size - 1;
  out.length = at;
  out.int(-count);
  out.length = end;
  return -1;
}
