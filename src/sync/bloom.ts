import { LIMITS } from "../limits.ts";
import { ByteReader } from "../log/chunk.ts";
import { guarded, malformed, putUint, uintSize, within } from "./sync-message.ts";

/** One wrong answer in a hundred. Both stand in the bytes, so a peer may choose others. */
const BITS_PER_ENTRY = 10;
const PROBES = 7;

/**
 * Automerge's Bloom filter over change hashes. Bytes: number of entries, bits an entry, probes (unsigned
 * leb128), then the bits; no bytes at all for the empty filter. Probes come from the first twelve bytes of
 * a hash by triple hashing. Source: Kleppmann and Howard, "Byzantine eventual consistency and the
 * fundamental limits of peer-to-peer databases", 2020, and Automerge's documentation of its sync protocol.
 */
export class BloomFilter {
  readonly #entries: number;
  readonly #bitsPerEntry: number;
  readonly #probes: number;
  readonly #bits: Uint8Array;

  private constructor(entries: number, bitsPerEntry: number, probes: number, bits: Uint8Array) {
    this.#entries = entries;
    this.#bitsPerEntry = bitsPerEntry;
    this.#probes = probes;
    this.#bits = bits;
  }

  /** A filter that holds these hashes (hex). */
  static of(hashes: readonly string[]): BloomFilter {
    const filter = BloomFilter.sized(hashes.length);
    for (const hash of hashes) filter.add(hash);
    return filter;
  }

  /** An empty filter with room for so many, each of which must be added. */
  static sized(entries: number): BloomFilter {
    const bits = new Uint8Array(Math.ceil((entries * BITS_PER_ENTRY) / 8));
    return new BloomFilter(entries, BITS_PER_ENTRY, PROBES, bits);
  }

  add(hash: string): void {
    this.#probe(hash, true);
  }

  /** Throws SYNC_MALFORMED, or TOO_LARGE for more than `LIMITS.syncMessage`. */
  static decode(bytes: Uint8Array): BloomFilter {
    if (bytes.length === 0) return new BloomFilter(0, BITS_PER_ENTRY, PROBES, bytes);
    within("filter", bytes.length, LIMITS.syncMessage.bloomBytes);
    return guarded(() => {
      const input = new ByteReader(bytes, 0, bytes.length);
      const entries = input.uint();
      const bitsPerEntry = input.uint();
      const probes = input.uint();
      within("probes of a filter", probes, LIMITS.syncMessage.bloomProbes);
      const size = Math.ceil((entries * bitsPerEntry) / 8);
      const at = input.skip(size);
      if (entries > 0 && size === 0) throw malformed("filter", "A filter has entries and no bits");
      return new BloomFilter(entries, bitsPerEntry, probes, bytes.subarray(at, at + size));
    });
  }

  get size(): number {
    return this.#entries;
  }

  /** False is certain; true is wrong once in a hundred. */
  has(hash: string): boolean {
    return this.#entries > 0 && this.#probe(hash, false);
  }

  encode(): Uint8Array {
    if (this.#entries === 0) return new Uint8Array(0);
    const numbers = [this.#entries, this.#bitsPerEntry, this.#probes];
    const out = new Uint8Array(numbers.reduce((sum, n) => sum + uintSize(n), this.#bits.length));
    let at = 0;
    for (const number of numbers) at = putUint(out, at, number);
    out.set(this.#bits, at);
    return out;
  }

  /** Sets the bits of a hash, or tells whether all of them are set. */
  #probe(hash: string, set: boolean): boolean {
    const bits = this.#bits;
    const modulo = 8 * bits.length;
    let x = word(hash, 0) % modulo;
    let y = word(hash, 8) % modulo;
    const z = word(hash, 16) % modulo;
    for (let probe = 0; probe < this.#probes; probe += 1) {
      if (probe > 0) {
        x = (x + y) % modulo;
        y = (y + z) % modulo;
      }
      const mask = 1 << (x & 7);
      if (set) bits[x >>> 3] = (bits[x >>> 3] as number) | mask;
      else if (((bits[x >>> 3] as number) & mask) === 0) return false;
    }
    return true;
  }
}

/** Four bytes of a hash in hex, little endian, unsigned. */
function word(hash: string, at: number): number {
  return (
    (byte(hash, at) | (byte(hash, at + 2) << 8) | (byte(hash, at + 4) << 16) | (byte(hash, at + 6) << 24)) >>>
    0
  );
}

function byte(hash: string, at: number): number {
  return (digit(hash.charCodeAt(at)) << 4) | digit(hash.charCodeAt(at + 1));
}

function digit(code: number): number {
  return code < 58 ? code - 48 : code - 87;
}
