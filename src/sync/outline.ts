/**
 * The graph of all changes of a document: hashes, what each builds on, and the commit that has it. For what
 * a walk back through the last commits does not answer. About 60 bytes a change; changes are numbered in the
 * order they were added, which is a causal one.
 */
export class Outline {
  #hashes: Buffer = Buffer.alloc(32 * FIRST);
  #seqs = new Int32Array(FIRST);
  /** Where each change's deps end in `#deps`. */
  #ends = new Int32Array(FIRST);
  /** Numbers of the changes that each builds on. */
  #deps = new Int32Array(FIRST);
  #depCount = 0;
  #length = 0;
  /** Open addressing: the number of a change and one, 0 for an empty place. */
  #table = new Int32Array(4 * FIRST);

  get length(): number {
    return this.#length;
  }

  get bytes(): number {
    const numbers = this.#seqs.length + this.#ends.length + this.#deps.length + this.#table.length;
    return this.#hashes.length + 4 * numbers;
  }

  /** Deps that are not here are left out. */
  add(hash: string, deps: readonly string[], seq: number): void {
    const at = this.#length++;
    if (at === this.#seqs.length) {
      const hashes = Buffer.alloc(2 * this.#hashes.length);
      this.#hashes.copy(hashes);
      this.#hashes = hashes;
      this.#seqs = widened(this.#seqs);
      this.#ends = widened(this.#ends);
    }
    this.#hashes.write(hash, 32 * at, 32, "hex");
    this.#seqs[at] = seq;
    for (const dep of deps) {
      const index = this.indexOf(dep);
      if (index < 0) continue;
      if (this.#depCount === this.#deps.length) this.#deps = widened(this.#deps);
      this.#deps[this.#depCount++] = index;
    }
    this.#ends[at] = this.#depCount;
    if (2 * this.#length > this.#table.length) {
      this.#table = new Int32Array(2 * this.#table.length);
      for (let i = 0; i < at; i += 1) this.#enter(i);
    }
    this.#enter(at);
  }

  /** The number of a change, -1 when it is not here. */
  indexOf(hash: string): number {
    const bytes = Buffer.from(hash, "hex");
    const mask = this.#table.length - 1;
    for (let place = bytes.readUInt32LE(0) & mask; ; place = (place + 1) & mask) {
      const index = (this.#table[place] as number) - 1;
      if (index < 0 || bytes.compare(this.#hashes, 32 * index, 32 * index + 32) === 0) return index;
    }
  }

  seqOf(index: number): number {
    return this.#seqs[index] as number;
  }

  hashOf(index: number): string {
    return this.#hashes.toString("hex", 32 * index, 32 * index + 32);
  }

  depsOf(index: number): string[] {
    const deps: string[] = [];
    for (let d = this.#start(index); d < (this.#ends[index] as number); d += 1) {
      deps.push(this.hashOf(this.#deps[d] as number));
    }
    return deps;
  }

  /** The numbers of all changes that are not among these or their ancestors, ascending. */
  after(known: readonly string[]): Int32Array {
    const has = new Uint8Array(this.#length);
    for (const hash of known) {
      const index = this.indexOf(hash);
      if (index >= 0) has[index] = 1;
    }
    let count = 0;
    // Who builds on a change has a higher number, so one pass down marks all ancestors.
    for (let i = this.#length - 1; i >= 0; i -= 1) {
      if (has[i] === 0) {
        count += 1;
        continue;
      }
      const end = this.#ends[i] as number;
      for (let d = this.#start(i); d < end; d += 1) has[this.#deps[d] as number] = 1;
    }
    const indexes = new Int32Array(count);
    for (let i = 0, at = 0; at < count; i += 1) if (has[i] === 0) indexes[at++] = i;
    return indexes;
  }

  #start(index: number): number {
    return index === 0 ? 0 : (this.#ends[index - 1] as number);
  }

  #enter(index: number): void {
    const mask = this.#table.length - 1;
    let place = this.#hashes.readUInt32LE(32 * index) & mask;
    while (this.#table[place] !== 0) place = (place + 1) & mask;
    this.#table[place] = index + 1;
  }
}

const FIRST = 256;

function widened(numbers: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const more = new Int32Array(2 * numbers.length);
  more.set(numbers);
  return more;
}
