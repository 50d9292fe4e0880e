import { brotliCompressSync, brotliDecompressSync, constants } from "node:zlib";
import { ByteReader, malformed } from "./chunk.ts";
import { PackBytes } from "./change-pack-bytes.ts";

/**
 * A pack keeps what changes say as streams, one per kind of value, so that like stands next to like;
 * each is compressed on its own. The places of the streams are part of the format.
 */
export const STREAM_NAMES = [
  "head",
  "group",
  "time",
  "deps",
  "hash",
  "actor",
  "seq",
  "startOp",
  "opCount",
  "message",
  "kept",
  "names",
  "op",
  "shape",
  "object",
  "key",
  "element",
  "length",
  "text",
  "value",
  "pred",
] as const;

export const HEAD = 0;
export const GROUP = 1;
export const TIME = 2;
export const DEPS = 3;
export const HASH = 4;
export const ACTOR = 5;
export const SEQ = 6;
export const START_OP = 7;
export const OP_COUNT = 8;
export const MESSAGE = 9;
/** Bytes that are kept as they came, because nothing else gives them back exactly. */
export const KEPT = 10;
/** Actor ids, map keys and names of marks, where each comes first. */
export const NAMES = 11;
/** The place of each operation's shape among the shapes met so far. */
export const OP = 12;
export const SHAPE = 13;
export const OBJECT = 14;
export const KEY = 15;
export const ELEMENT = 16;
export const LENGTH = 17;
export const TEXT = 18;
export const VALUE = 19;
export const PRED = 20;

/**
 * One pass over the values both writes and reads them: each call gives the value that stands in the
 * stream, which the writer is handed and the reader finds. So what is read cannot differ in order
 * from what was written.
 */
export interface Coder {
  readonly writing: boolean;
  /** A number from 0 to 2^53 - 1. */
  uint(stream: number, value: number): number;
  /** A number between -2^52 and 2^52. */
  int(stream: number, value: number): number;
  /** `length` bytes from `bytes` at `start` on into the stream, or out of the stream to that place. */
  bytes(stream: number, bytes: Uint8Array, start: number, length: number): void;
  /** How many bytes the stream can still give; the writer has no bound. */
  left(stream: number): number;
}

export class StreamWriter implements Coder {
  readonly writing = true;
  readonly #streams: PackBytes[] = STREAM_NAMES.map(() => new PackBytes());

  uint(stream: number, value: number): number {
    (this.#streams[stream] as PackBytes).uint(value);
    return value;
  }

  int(stream: number, value: number): number {
    (this.#streams[stream] as PackBytes).uint(value < 0 ? -2 * value - 1 : 2 * value);
    return value;
  }

  bytes(stream: number, bytes: Uint8Array, start: number, length: number): void {
    (this.#streams[stream] as PackBytes).copy(bytes, start, start + length);
  }

  left(): number {
    return Infinity;
  }

  streams(): Uint8Array[] {
    return this.#streams.map((stream) => stream.view());
  }
}

export class StreamReader implements Coder {
  readonly writing = false;
  readonly #streams: ByteReader[];

  constructor(streams: readonly Uint8Array[]) {
    this.#streams = streams.map((bytes) => new ByteReader(bytes, 0, bytes.length));
  }

  uint(stream: number): number {
    return (this.#streams[stream] as ByteReader).uint();
  }

  int(stream: number): number {
    const value = (this.#streams[stream] as ByteReader).uint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  bytes(stream: number, bytes: Uint8Array, start: number, length: number): void {
    const input = this.#streams[stream] as ByteReader;
    const at = input.skip(length);
    const from = input.bytes;
    if (length < 24) for (let i = 0; i < length; i++) bytes[start + i] = from[at + i] as number;
    else bytes.set(from.subarray(at, at + length), start);
  }

  left(stream: number): number {
    const input = this.#streams[stream] as ByteReader;
    return input.end - input.pos;
  }

  ended(): boolean {
    return this.#streams.every((stream) => stream.pos === stream.end);
  }
}

// How a stream is stored.
const PLAIN = 0;
const BROTLI = 1;
/** The bytes without their repetitions, then how often each is repeated: brotli over each. */
const RUNS = 2;

/** More than any stream of a pack comes near to; bounds what damaged lengths can ask for. */
const MAX_STREAM = 2 ** 30;

/** Where half of a stream this long repeats, only its runs are tried. */
const RUNS_ONLY = 2 ** 16;

/** Writes the streams one after the other: length, way of storing, stored length, stored bytes. */
export function storeStreams(streams: readonly Uint8Array[], out: PackBytes): void {
  streams.forEach((bytes, stream) => {
    out.uint(bytes.length);
    if (bytes.length === 0) return;
    const mode = stream === TEXT ? constants.BROTLI_MODE_TEXT : constants.BROTLI_MODE_GENERIC;
    let how = PLAIN;
    let stored = bytes;
    const runs = storeRuns(bytes);
    if (runs !== null && runs.length < stored.length) {
      how = RUNS;
      stored = runs;
    }
    // Long streams that repeat themselves take brotli the most time and gain the least.
    if (runs === null || bytes.length <= RUNS_ONLY) {
      const whole = compress(bytes, mode);
      if (whole.length < stored.length) {
        how = BROTLI;
        stored = whole;
      }
    }
    out.uint(how);
    out.uint(stored.length);
    out.copy(stored, 0, stored.length);
  });
}

/** Throws CHANGE_MALFORMED, or what zlib throws, on anything `storeStreams` does not write. */
export function loadStreams(input: ByteReader): Uint8Array[] {
  return STREAM_NAMES.map(() => {
    const length = input.uint();
    if (length === 0) return new Uint8Array(0);
    if (length > MAX_STREAM) malformed("pack", "A stream is longer than any can be");
    const how = input.uint();
    const size = input.uint();
    const at = input.skip(size);
    const stored = input.bytes.subarray(at, at + size);
    const bytes =
      how === PLAIN ? stored : how === BROTLI ? decompress(stored, length) : loadRuns(stored, length);
    if (how > RUNS || bytes.length !== length) malformed("pack", "A stream has another length than it says");
    return bytes;
  });
}

/** Null where too little repeats for this to be worth a try. */
function storeRuns(bytes: Uint8Array): Uint8Array | null {
  let runs = 1;
  for (let i = 1; i < bytes.length; i++) if (bytes[i] !== bytes[i - 1]) runs++;
  if (runs * 2 > bytes.length) return null;
  const values = new PackBytes();
  const repeats = new PackBytes();
  for (let i = 0; i < bytes.length;) {
    const value = bytes[i] as number;
    let end = i + 1;
    while (end < bytes.length && bytes[end] === value) end++;
    values.byte(value);
    repeats.uint(end - i - 1);
    i = end;
  }
  const out = new PackBytes();
  for (const part of [values.view(), repeats.view()]) {
    const stored = compress(part, constants.BROTLI_MODE_GENERIC);
    out.uint(part.length);
    out.uint(stored.length);
    out.copy(stored, 0, stored.length);
  }
  return out.view();
}

function loadRuns(stored: Uint8Array, length: number): Uint8Array {
  const input = new ByteReader(stored, 0, stored.length);
  const [values, repeats] = [loadPart(input, length), loadPart(input, 8 * length)];
  const bytes = new Uint8Array(length);
  const counts = new ByteReader(repeats, 0, repeats.length);
  let pos = 0;
  for (const value of values) {
    const count = counts.uint() + 1;
    if (count > length - pos) malformed("pack", "A run reaches past the end of its stream");
    if (count === 1) bytes[pos] = value;
    else bytes.fill(value, pos, pos + count);
    pos += count;
  }
  if (pos !== length || counts.pos !== counts.end || input.pos !== input.end) {
    malformed("pack", "The runs of a stream do not fill it");
  }
  return bytes;
}

function loadPart(input: ByteReader, max: number): Uint8Array {
  const length = input.uint();
  if (length > max) malformed("pack", "A part of a stream is longer than it can be");
  const size = input.uint();
  const at = input.skip(size);
  const bytes = decompress(input.bytes.subarray(at, at + size), length);
  if (bytes.length !== length) malformed("pack", "A part of a stream has another length than it says");
  return bytes;
}

/** Brotli's best takes 1.5 s a megabyte or more, so what is large gets less of it. */
function quality(length: number): number {
  return length <= 2 ** 17 ? 11 : length <= 2 ** 20 ? 9 : 5;
}

function compress(bytes: Uint8Array, mode: number): Uint8Array {
  return brotliCompressSync(bytes, {
    params: {
      [constants.BROTLI_PARAM_MODE]: mode,
      [constants.BROTLI_PARAM_QUALITY]: quality(bytes.length),
      [constants.BROTLI_PARAM_LGWIN]: 24,
      [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
    },
  });
}

function decompress(bytes: Uint8Array, length: number): Uint8Array {
  return brotliDecompressSync(bytes, { maxOutputLength: Math.max(1, length) });
}
