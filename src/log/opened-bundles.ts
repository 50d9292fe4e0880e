import { bodyOf, openRecord, type StoredCommit } from "./stored-commit.ts";

/**
 * A bundle that was opened, in a fifth of the memory of its commits: their records one after the other, and
 * which of them touch which document. One of them costs as much to get as a commit that stands alone.
 */
export class OpenedBundle {
  readonly first: number;
  readonly last: number;
  readonly bytes: number;
  readonly #bodies: Uint8Array;
  readonly #ends: Uint32Array;
  readonly #touching = new Map<string, number[]>();

  constructor(commits: readonly StoredCommit[]) {
    const bodies = commits.map(bodyOf);
    this.first = commits[0]?.commit.seq ?? 0;
    this.last = this.first + commits.length - 1;
    this.#bodies = new Uint8Array(bodies.reduce((sum, body) => sum + body.length, 0));
    this.#ends = new Uint32Array(commits.length);
    let at = 0;
    bodies.forEach((body, i) => {
      this.#bodies.set(body, at);
      at += body.length;
      this.#ends[i] = at;
    });
    let touches = 0;
    for (const { commit } of commits) {
      for (const { doc } of commit.entries) {
        const known = this.#touching.get(doc);
        if (known) known.push(commit.seq);
        else this.#touching.set(doc, [commit.seq]);
        touches += 1;
      }
    }
    this.bytes = at + 8 * touches + ENTRY_BYTES * this.#touching.size;
  }

  commit(seq: number): StoredCommit {
    const at = seq - this.first;
    const start = at === 0 ? 0 : (this.#ends[at - 1] as number);
    return openRecord(this.#bodies.subarray(start, this.#ends[at]), seq);
  }

  /** Seqs of its commits with an entry of `doc`, of whichever branch, oldest first. */
  touching(doc: string): readonly number[] {
    return this.#touching.get(doc) ?? [];
  }
}

/**
 * Bundles that were opened by readers of all dbs of a process, within a bound of memory. Whoever reads at many
 * points of a long history would otherwise open the same ones again and again, for a tenth of a second each.
 */
export class OpenedBundles {
  /** By their owner and last seq, least recently used first. */
  readonly #entries = new Map<string, { readonly owner: object; readonly bundle: OpenedBundle }>();
  readonly #ids = new WeakMap<object, number>();
  readonly #most: number;
  #next = 0;
  #bytes = 0;

  constructor(mostBytes = OPENED_BYTES) {
    this.#most = mostBytes;
  }

  get(owner: object, last: number): OpenedBundle | undefined {
    const key = this.#key(owner, last);
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry.bundle;
  }

  put(owner: object, bundle: OpenedBundle): void {
    this.#drop(this.#key(owner, bundle.last));
    this.#entries.set(this.#key(owner, bundle.last), { owner, bundle });
    this.#bytes += bundle.bytes;
    for (const key of this.#entries.keys()) {
      if (this.#bytes <= this.#most) break;
      this.#drop(key);
    }
  }

  /** Drops what an owner has from commit `from` on. */
  forget(owner: object, from = 0): void {
    for (const [key, entry] of this.#entries)
      if (entry.owner === owner && entry.bundle.last >= from) this.#drop(key);
  }

  #drop(key: string): void {
    const entry = this.#entries.get(key);
    if (!entry) return;
    this.#entries.delete(key);
    this.#bytes -= entry.bundle.bytes;
  }

  #key(owner: object, last: number): string {
    let id = this.#ids.get(owner);
    if (id === undefined) this.#ids.set(owner, (id = this.#next++));
    return `${id} ${last}`;
  }
}

/** Some 15 bundles of small commits, 100,000 of them. */
const OPENED_BYTES = 64 * 1024 * 1024;
/** A name, a list and their place in a map. */
const ENTRY_BYTES = 160;
