import * as dagCbor from "@ipld/dag-cbor";
import { CID } from "multiformats/cid";

/**
 * Canonical bytes. `CborWriter` writes deterministic DAG-CBOR (RFC 8949 section 4.2 with the DAG-CBOR
 * map order: shorter keys first, then by bytes); the caller gives map keys in that order.
 * It exists because a commit of one change takes 1 µs here and 9 µs through the general encoder
 * (Node 20); tests hold both to the same bytes. Everything that is not hot uses `encodeCbor`.
 */
export class CborWriter {
  #bytes: Uint8Array;
  #length = 0;

  constructor(initial = 4096) {
    this.#bytes = new Uint8Array(initial);
  }

  /** Starts over; what `take` gave before stays as it is. */
  reset(): void {
    this.#length = 0;
  }

  /** A copy of what was written since `reset`. */
  take(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  raw(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  uint(value: number): void {
    this.#head(0x00, value);
  }

  bytes(value: Uint8Array): void {
    this.#head(0x40, value.length);
    this.raw(value);
  }

  text(value: string): void {
    const { length } = value;
    this.#room(9 + 3 * length);
    // Nearly every string here is short ASCII: copy it by hand, and start over when that was wrong.
    if (length < 64) {
      const start = this.#length;
      this.#head(0x60, length);
      let at = this.#length;
      for (let i = 0; i < length; i += 1) {
        const code = value.charCodeAt(i);
        if (code > 0x7f) {
          at = -1;
          break;
        }
        this.#bytes[at++] = code;
      }
      if (at >= 0) {
        this.#length = at;
        return;
      }
      this.#length = start;
    }
    const encoded = Buffer.from(value, "utf8");
    this.#head(0x60, encoded.length);
    this.raw(encoded);
  }

  array(length: number): void {
    this.#head(0x80, length);
  }

  map(size: number): void {
    this.#head(0xa0, size);
  }

  bool(value: boolean): void {
    this.#room(1);
    this.#bytes[this.#length++] = value ? 0xf5 : 0xf4;
  }

  /** Tag 42 over the CID's bytes with their leading zero, as DAG-CBOR writes links. */
  link(cid: Uint8Array): void {
    this.#room(cid.length + 5);
    const b = this.#bytes;
    b[this.#length++] = 0xd8;
    b[this.#length++] = 0x2a;
    b[this.#length++] = 0x58;
    b[this.#length++] = cid.length + 1;
    b[this.#length++] = 0x00;
    this.raw(cid);
  }

  #head(major: number, value: number): void {
    this.#room(9);
    const b = this.#bytes;
    if (value < 24) {
      b[this.#length++] = major | value;
    } else if (value < 0x100) {
      b[this.#length++] = major | 24;
      b[this.#length++] = value;
    } else if (value < 0x10000) {
      b[this.#length++] = major | 25;
      b[this.#length++] = value >>> 8;
      b[this.#length++] = value & 0xff;
    } else if (value < 0x100000000) {
      b[this.#length++] = major | 26;
      this.#word(value);
    } else {
      b[this.#length++] = major | 27;
      this.#word(Math.floor(value / 0x100000000));
      this.#word(value >>> 0);
    }
  }

  #word(value: number): void {
    const b = this.#bytes;
    b[this.#length++] = value >>> 24;
    b[this.#length++] = (value >>> 16) & 0xff;
    b[this.#length++] = (value >>> 8) & 0xff;
    b[this.#length++] = value & 0xff;
  }

  #room(more: number): void {
    const needed = this.#length + more;
    if (needed <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
  }
}

/** Canonical DAG-CBOR of a plain value; links are multiformats CIDs. */
export function encodeCbor(value: unknown): Uint8Array {
  return dagCbor.encode(value);
}

/** Decodes DAG-CBOR; throws on anything the encoder would not have written as a value. */
export function decodeCbor(bytes: Uint8Array): unknown {
  return dagCbor.decode(bytes);
}

/** The 36 bytes of a decoded link, or undefined when `value` is none. */
export function linkBytes(value: unknown): Uint8Array | undefined {
  return CID.asCID(value)?.bytes;
}

export function linkOf(cid: Uint8Array): unknown {
  return CID.decode(cid);
}
