import { SkaldError } from "../errors.ts";
import { CborReader, CborWriter } from "../ids/cbor.ts";
import { CID_BYTES, cidDigest, cidToString, isCid } from "../ids/cid.ts";
import { blake3 } from "../ids/hash.ts";
import { LIMITS } from "../limits.ts";

/**
 * CARv1 (https://ipld.io/specs/transport/car/carv1/): a header with the roots, then sections, each the length of what
 * follows as a varint, an address, and the block that it is the address of. Only addresses of ours are read: CIDv1
 * with a blake3-256 multihash, of raw bytes or DAG-CBOR.
 */
export interface Section {
  /** Counts the blocks from 0. */
  readonly index: number;
  /** Of its first byte in the file. */
  readonly offset: number;
  readonly cid: Uint8Array;
  readonly data: Uint8Array;
}

/** Where in a file something stands, for errors. */
export type SectionPlace = Pick<Section, "index" | "offset"> & { readonly cid?: Uint8Array };

/** The error for an archive of which a block is wrong, or does not end where it should. `why` begins with "it" or "its". */
export function archiveInvalid(
  place: SectionPlace | undefined,
  why: string,
  cause?: unknown,
  more: Readonly<Record<string, unknown>> = {},
): SkaldError {
  const { index, offset, cid } = place ?? {};
  const where =
    place === undefined
      ? "The archive"
      : `Block ${index} of the archive (at byte ${offset}${cid ? `, ${cidToString(cid)}` : ""})`;
  return new SkaldError("ARCHIVE_INVALID", `${where} is not to be had: ${why}.`, {
    details: {
      ...more,
      ...(place ? { block: index, offset } : {}),
      ...(cid ? { cid: cidToString(cid) } : {}),
    },
    ...(cause === undefined ? {} : { cause }),
  });
}

export function encodeCarHeader(root: Uint8Array): Uint8Array {
  const w = new CborWriter(128);
  w.map(2);
  w.text("roots");
  w.array(1);
  w.link(root);
  w.text("version");
  w.uint(1);
  const body = w.take();
  return Buffer.concat([[body.length], body].map((part) => Uint8Array.from(part)));
}

/** Bytes that a block takes in the file. */
export function sectionBytes(length: number): number {
  const size = CID_BYTES + length;
  let bytes = 1 + size;
  for (let rest = size; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes += 1;
  return bytes;
}

/** Writes a section at `at` and gives where it ends. */
export function putSection(out: Uint8Array, at: number, cid: Uint8Array, data: Uint8Array): number {
  let to = at;
  let rest = CID_BYTES + data.length;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) out[to++] = (rest % 0x80) | 0x80;
  out[to++] = rest;
  out.set(cid, to);
  out.set(data, to + CID_BYTES);
  return to + CID_BYTES + data.length;
}

/**
 * Takes a file apart as it comes, in pieces of any size. Holds what has come of one section; a section that says it
 * is larger than the limit is refused before any of it is held. Throws ARCHIVE_INVALID.
 */
export class CarReader {
  #root: Uint8Array | undefined;
  #held: Buffer = Buffer.alloc(0);
  #waiting: Uint8Array[] = [];
  /** Bytes that are needed before there is anything to do. */
  #missing = 1;
  /** Of the first byte in `#held`. */
  #offset = 0;
  #index = 0;

  /** The header's only root. Undefined before the header was read. */
  get root(): Uint8Array | undefined {
    return this.#root;
  }

  /** Bytes taken so far, whole sections only. */
  get offset(): number {
    return this.#offset;
  }

  /** Takes the next bytes of the file and gives the sections that they complete, addresses checked. */
  *push(part: Uint8Array): Generator<Section> {
    this.#waiting.push(part);
    this.#missing -= part.length;
    // What is large is put together once, and not with each of its parts.
    if (this.#missing > 0) return;
    this.#held = Buffer.concat([this.#held, ...this.#waiting]);
    this.#waiting = [];
    let at = 0;
    try {
      for (;;) {
        const place = { index: this.#index, offset: this.#offset + at };
        const head = this.#length(at, place);
        this.#missing = head.missing ?? head.at + head.length - this.#held.length;
        if (this.#missing > 0) return;
        const body = this.#held.subarray(head.at, head.at + head.length);
        at = head.at + head.length;
        if (!this.#root) {
          this.#root = readHeader(body);
          continue;
        }
        this.#index += 1;
        yield sectionOf(body, place);
      }
    } finally {
      this.#held = this.#held.subarray(at);
      this.#offset += at;
    }
  }

  /** The file has ended. */
  end(): void {
    const left = this.#held.length + this.#waiting.length;
    if (!this.#root) throw archiveInvalid(undefined, left > 0 ? "it is cut off" : "it is empty");
    if (left > 0) throw archiveInvalid({ index: this.#index, offset: this.#offset }, "it is cut off");
  }

  /** The length that stands at `at`. Undefined bytes of it are `missing`. */
  #length(
    at: number,
    place: SectionPlace,
  ): { readonly at: number; readonly length: number; readonly missing?: number } {
    const most = this.#root ? LIMITS.archive.blockBytes.value + CID_BYTES : LIMITS.archive.headerBytes.value;
    const what = this.#root ? place : undefined;
    let length = 0;
    let scale = 1;
    for (let to = at; ; to += 1, scale *= 0x80) {
      const byte = this.#held[to];
      if (byte === undefined) return { at: to, length, missing: 1 };
      length += (byte & 0x7f) * scale;
      if (length > most || scale > most) throw tooLarge(what, most);
      if (byte >= 0x80) continue;
      if (byte === 0 && scale > 1) throw archiveInvalid(what, "its length is not in its shortest form");
      if (length === 0) throw archiveInvalid(what, "it has no bytes");
      return { at: to + 1, length };
    }
  }
}

function tooLarge(place: SectionPlace | undefined, most: number): SkaldError {
  return archiveInvalid(place, `it says to have more than ${most} bytes`);
}

function sectionOf(body: Uint8Array, place: SectionPlace): Section {
  const cid = body.subarray(0, CID_BYTES);
  if (!isCid(cid)) throw archiveInvalid(place, "its address is of a kind that Skald does not write");
  const data = body.subarray(CID_BYTES);
  if (Buffer.compare(blake3(data), cidDigest(cid)) !== 0)
    throw archiveInvalid({ ...place, cid }, "it does not hash to its address");
  return { index: place.index, offset: place.offset, cid, data };
}

/** Gives the root. */
function readHeader(bytes: Uint8Array): Uint8Array {
  try {
    const r = new CborReader(bytes);
    if (r.map() !== 2) throw new RangeError("other fields");
    r.key("roots");
    if (r.array() !== 1) throw new RangeError("not one root");
    const root = r.link();
    r.key("version");
    if (r.uint() !== 1) throw new RangeError("not version 1");
    r.end();
    if (!isCid(root)) throw new RangeError("a root of another kind");
    return root.slice();
  } catch (cause) {
    throw archiveInvalid(
      undefined,
      `its header is not that of a CAR file, version 1, with one root of Skald's (${(cause as Error).message})`,
      cause,
    );
  }
}
