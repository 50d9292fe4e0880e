/** A file that is kept for a while. */
export interface CachedFile {
  readonly file: string;
  readonly bytes: number;
}

interface Kept<T extends CachedFile> {
  readonly of: T;
  users: number;
}

/**
 * Files by name, the least recently used first, within a budget of bytes. One that is in use is not removed for the
 * budget, however large.
 */
export class PointCache<T extends CachedFile> {
  readonly #budget: number;
  readonly #remove: (file: T) => void;
  readonly #kept = new Map<string, Kept<T>>();

  /** `remove` is called for each file that is let go of. */
  constructor(budget: number, remove: (file: T) => void) {
    this.#budget = budget;
    this.#remove = remove;
  }

  /** Takes a file in, in use by nobody. Whatever had the name is let go of. */
  put(name: string, of: T): void {
    this.drop(name);
    this.#kept.set(name, { of, users: 0 });
  }

  /** Lends a file: until `release` was called it stays, unless it is dropped. */
  lend(name: string): { readonly of: T; readonly release: () => void } | undefined {
    const kept = this.#kept.get(name);
    if (!kept) return undefined;
    this.#kept.delete(name);
    this.#kept.set(name, kept);
    kept.users += 1;
    let held = true;
    const release = (): void => {
      if (!held) return;
      held = false;
      kept.users -= 1;
      this.trim();
    };
    return { of: kept.of, release };
  }

  *[Symbol.iterator](): Generator<[name: string, of: T]> {
    for (const [name, { of }] of this.#kept) yield [name, of];
  }

  get bytes(): number {
    let bytes = 0;
    for (const { of } of this.#kept.values()) bytes += of.bytes;
    return bytes;
  }

  /** Lets go of what nobody uses, until the rest is within the budget. */
  trim(): void {
    let { bytes } = this;
    for (const [name, { of, users }] of this.#kept) {
      if (bytes <= this.#budget) return;
      if (users > 0) continue;
      bytes -= of.bytes;
      this.drop(name);
    }
  }

  /** Lets go of a file, whoever uses it: what has it open goes on with it. */
  drop(name: string): void {
    const kept = this.#kept.get(name);
    if (!kept) return;
    this.#kept.delete(name);
    this.#remove(kept.of);
  }

  /** The same, unless another file has the name by now. */
  dropOnly(name: string, of: T): void {
    if (this.#kept.get(name)?.of === of) this.drop(name);
  }

  clear(): void {
    for (const name of this.#kept.keys()) this.drop(name);
  }
}
