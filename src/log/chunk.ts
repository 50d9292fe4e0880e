import { inflateRawSync } from "node:zlib";
import { SkaldError } from "../errors.ts";
import { sha256Hex } from "../ids/hash.ts";

/**
 * The frame around everything Automerge writes: magic (4 bytes), checksum (4), type (1), length
 * (uleb128), contents. Source: the Automerge binary format specification, "Chunk container format".
 */

export const CHUNK_DOCUMENT = 0;
export const CHUNK_CHANGE = 1;
export const CHUNK_DEFLATED_CHANGE = 2;

const MAGIC = [0x85, 0x6f, 0x4a, 0x83] as const;

/** What is wrong with bytes that no limit can mend; `reason` is stable, `at` an offset where one is known. */
export function malformed(reason: string, message: string, details: Record<string, unknown> = {}): never {
  throw new SkaldError("CHANGE_MALFORMED", message, { details: { reason, ...details } });
}

/** A limit that was passed: `limit` names the field of the limits record, `max` its value. */
export function tooLarge(limit: string, max: number, found: number): never {
  throw new SkaldError("CHANGE_TOO_LARGE", `More than ${max} (${limit}) in one change or file`, {
    details: { reason: "limit", limit, max, found },
  });
}

/**
 * A cursor over bytes whose every read is checked against `end`. Numbers must be in their shortest
 * leb128 form: Automerge writes changes again from its own columns when it saves, so a longer form
 * would come back with another hash and make the saved document unreadable.
 */
export class ByteReader {
  readonly bytes: Uint8Array;
  pos: number;
  readonly end: number;

  constructor(bytes: Uint8Array, pos: number, end: number) {
    this.bytes = bytes;
    this.pos = pos;
    this.end = end;
  }

  /** Unsigned leb128 of at most 53 bits. */
  uint(): number {
    const pos = this.pos;
    if (pos < this.end) {
      const first = this.bytes[pos] as number;
      if (first < 0x80) {
        this.pos = pos + 1;
        return first;
      }
    }
    return this.#longUint();
  }

  #longUint(): number {
    let value = 0;
    let scale = 1;
    for (let taken = 0; ; taken++) {
      if (this.pos >= this.end) malformed("truncated", "The bytes end inside a number", { at: this.pos });
      const byte = this.bytes[this.pos++] as number;
      value += (byte & 0x7f) * scale;
      if (taken === 7 && (byte > 0x0f || value > Number.MAX_SAFE_INTEGER)) {
        malformed("number-too-large", "A number has more than 53 bits", { at: this.pos });
      }
      if (byte < 0x80) {
        if (byte === 0 && taken > 0) {
          malformed("number-not-minimal", "A number is not in its shortest form", { at: this.pos });
        }
        return value;
      }
      scale *= 128;
    }
  }

  /** Signed leb128 of at most 54 bits with its sign. */
  int(): number {
    const pos = this.pos;
    if (pos < this.end) {
      const first = this.bytes[pos] as number;
      if (first < 0x80) {
        this.pos = pos + 1;
        return first < 0x40 ? first : first - 0x80;
      }
    }
    return this.#longInt();
  }

  #longInt(): number {
    let value = 0;
    let scale = 1;
    let previous = 0;
    for (let taken = 0; ; taken++) {
      if (this.pos >= this.end) malformed("truncated", "The bytes end inside a number", { at: this.pos });
      const byte = this.bytes[this.pos++] as number;
      if (taken === 7 && byte > 0x0f && (byte < 0x70 || byte > 0x7f)) {
        malformed("number-too-large", "A number has more than 53 bits", { at: this.pos });
      }
      value += (byte & 0x7f) * scale;
      scale *= 128;
      if (byte < 0x80) {
        if (taken > 0 && ((byte === 0 && previous < 0xc0) || (byte === 0x7f && previous >= 0xc0))) {
          malformed("number-not-minimal", "A number is not in its shortest form", { at: this.pos });
        }
        if (byte >= 0x40) value -= scale;
        if (!Number.isSafeInteger(value)) {
          malformed("number-too-large", "A number has more than 53 bits", { at: this.pos });
        }
        return value;
      }
      previous = byte;
    }
  }

  /** Moves past `length` bytes and returns where they start. */
  skip(length: number): number {
    const start = this.pos;
    if (length > this.end - start) {
      malformed("truncated", "A length reaches past the end of the bytes", { at: start, length });
    }
    this.pos = start + length;
    return start;
  }
}

/** One chunk inside `bytes`: `start` at its magic, `contents` and `end` around its contents. */
export interface Chunk {
  type: number;
  start: number;
  contents: number;
  end: number;
}

/** Reads the frame at `start` without checking the checksum. Throws CHANGE_MALFORMED. */
export function readFrame(bytes: Uint8Array, start: number): Chunk {
  if (bytes.length - start < 10) {
    malformed("truncated", "Too short for an Automerge chunk", { at: start, length: bytes.length - start });
  }
  if (
    bytes[start] !== MAGIC[0] ||
    bytes[start + 1] !== MAGIC[1] ||
    bytes[start + 2] !== MAGIC[2] ||
    bytes[start + 3] !== MAGIC[3]
  ) {
    malformed("magic", "The bytes do not start as an Automerge chunk does", { at: start });
  }
  const reader = new ByteReader(bytes, start + 9, bytes.length);
  const length = reader.uint();
  const contents = reader.skip(length);
  return { type: bytes[start + 8] as number, start, contents, end: contents + length };
}

/**
 * SHA-256 (lower hex) of a chunk from its type byte on, compared with the checksum in its frame.
 * Throws CHANGE_CHECKSUM.
 */
export function checkedHash(bytes: Uint8Array, start: number, end: number): string {
  const hash = sha256Hex(bytes.subarray(start + 8, end));
  const stated =
    (bytes[start + 4] as number) * 0x1000000 +
    (((bytes[start + 5] as number) << 16) |
      ((bytes[start + 6] as number) << 8) |
      (bytes[start + 7] as number));
  if (Number.parseInt(hash.slice(0, 8), 16) !== stated) {
    throw new SkaldError("CHANGE_CHECKSUM", "The chunk's bytes do not match its checksum", {
      details: { reason: "checksum", at: start, hash },
    });
  }
  return hash;
}

/**
 * Inflates raw deflate under a bound. The bound is given to zlib, so a bomb stops at `max` bytes
 * whatever it would have grown to. Throws CHANGE_TOO_LARGE or CHANGE_MALFORMED.
 */
export function inflate(compressed: Uint8Array, max: number, limit: string): Uint8Array {
  try {
    return inflateRawSync(compressed, { maxOutputLength: Math.max(1, max) });
  } catch (cause) {
    if ((cause as { code?: unknown }).code === "ERR_BUFFER_TOO_LARGE") tooLarge(limit, max, max + 1);
    return malformed("deflate", "Compressed contents do not inflate");
  }
}

/** Frames contents as an uncompressed change under the checksum of the chunk they came in. */
export function frameChange(checksum: Uint8Array, contents: Uint8Array): Uint8Array {
  const out = new Uint8Array(9 + 5 + contents.length);
  out.set(MAGIC);
  out.set(checksum, 4);
  out[8] = CHUNK_CHANGE;
  let pos = 9;
  let length = contents.length;
  while (length >= 0x80) {
    out[pos++] = (length & 0x7f) | 0x80;
    length >>>= 7;
  }
  out[pos++] = length;
  out.set(contents, pos);
  return out.subarray(0, pos + contents.length);
}
