import { SkaldError } from "../errors.ts";
import { blake3, sha256Hex } from "../ids/hash.ts";
import { ChangeBuilder } from "./change-pack-build.ts";
import { PackBytes } from "./change-pack-bytes.ts";
import { ChangeCoder } from "./change-pack-headers.ts";
import type { Packed } from "./change-pack-headers.ts";
import { loadStreams, storeStreams, StreamReader, StreamWriter } from "./change-pack-streams.ts";
import { Names } from "./change-pack-names.ts";
import { emptyValues, parseValues } from "./change-pack-values.ts";
import { ByteReader, malformed } from "./chunk.ts";

/**
 * Many changes in few bytes: each is taken apart into what it says, of which only what does not follow
 * from the changes before it is kept, and put together again on the way out. Each change is put together
 * while packing, too, and those that do not come back as they were are kept as they are.
 *
 * Format: version (1 byte), number of changes (uleb128), their bytes in sum (uleb128), the streams, and
 * the first 8 bytes of the blake3 of all that.
 */
const VERSION = 1;
const CHECK_BYTES = 8;
/** More than any pack comes near to; bounds what wrong lengths can ask for. */
const MAX_BYTES = 2 ** 31;

export interface PackItem {
  /** Which document the change belongs to: a small integer. */
  readonly group: number;
  readonly bytes: Uint8Array;
}

export interface UnpackedChange {
  readonly group: number;
  /** Shares memory with the other changes of the pack. */
  readonly bytes: Uint8Array;
  /** The hash Automerge names the change by (SHA-256), lower hex. */
  readonly hash: string;
}

/** What packing makes before anything is compressed; for tests and measurements. */
export interface PackedStreams {
  readonly streams: Uint8Array[];
  /** Indexes of the items that are kept as they are. */
  readonly kept: number[];
}

/**
 * Packs changes (uncompressed chunks, type 1) in their order. Lossless for any bytes whatever; what is no
 * change in the form Automerge writes, or has more than 65,536 operations, is kept as it is. Groups
 * are integers from 0 on, the smaller the better (RangeError otherwise).
 */
export function packChanges(items: readonly PackItem[]): Uint8Array {
  for (const { group } of items) {
    if (!Number.isSafeInteger(group + 1) || group < 0) throw new RangeError(`${group} is no group`);
  }
  const packed = tryPack(items, false) ?? tryPack(items, true);
  if (packed === null) {
    throw new SkaldError("INTERNAL", "A pack does not give back the changes that went into it");
  }
  return packed;
}

/**
 * Gives the changes back, byte for byte and in order. Throws DB_DAMAGED when the pack is not as it was
 * written.
 */
export function unpackChanges(packed: Uint8Array): UnpackedChange[] {
  const end = packed.length - CHECK_BYTES;
  if (end < 1 || !sameBytes(check(packed.subarray(0, end)), packed.subarray(end))) {
    damaged("The pack does not match its check");
  }
  if (packed[0] !== VERSION) damaged("The pack is of another version", { version: packed[0] });
  try {
    return unpack(new ByteReader(packed, 1, end));
  } catch (cause) {
    throw new SkaldError("DB_DAMAGED", "A pack of changes is malformed", { cause });
  }
}

/** `keepAll` takes nothing apart. */
export function packStreams(items: readonly PackItem[], keepAll = false): PackedStreams {
  const actors = new Names();
  const keys = new Names();
  const writer = new StreamWriter();
  const coder = new ChangeCoder(writer, actors, keys);
  const builder = new ChangeBuilder(actors, keys);
  const values = emptyValues();
  const again = new PackBytes(1024);
  const kept: number[] = [];
  items.forEach(({ group, bytes }, i) => {
    again.length = 0;
    let hash: string | null = null;
    if (!keepAll && parseValues(bytes, values, actors, keys)) {
      hash = builder.build(values, again);
      if (!again.view().equals(bytes)) hash = null;
    }
    coder.code({ group, kept: hash === null ? bytes : null }, values);
    if (hash === null) kept.push(i);
    else coder.note(values, hash);
  });
  return { streams: writer.streams(), kept };
}

function storePack(items: readonly PackItem[], streams: readonly Uint8Array[]): Uint8Array {
  const out = new PackBytes(1024);
  out.byte(VERSION);
  out.uint(items.length);
  out.uint(items.reduce((sum, { bytes }) => sum + bytes.length, 0));
  storeStreams(streams, out);
  const sum = check(out.view());
  out.copy(sum, 0, sum.length);
  return new Uint8Array(out.view());
}

function unpack(input: ByteReader): UnpackedChange[] {
  const count = input.uint();
  const size = input.uint();
  if (size > MAX_BYTES) malformed("pack", "The changes are more than a pack can hold");
  const reader = new StreamReader(loadStreams(input));
  if (input.pos !== input.end) malformed("pack", "Bytes follow the streams");
  const actors = new Names();
  const keys = new Names();
  const coder = new ChangeCoder(reader, actors, keys);
  const builder = new ChangeBuilder(actors, keys);
  const values = emptyValues();
  const out = new PackBytes(size + 64);
  const item: Packed = { group: 0, kept: null };
  const changes: UnpackedChange[] = [];
  const memory = out.bytes;
  for (let i = 0; i < count; i++) {
    const start = out.length;
    coder.code(item, values);
    let hash: string;
    if (item.kept === null) {
      hash = builder.build(values, out);
      coder.note(values, hash);
    } else {
      out.copy(item.kept, 0, item.kept.length);
      hash = sha256Hex(item.kept.subarray(8));
    }
    if (out.length > size) malformed("pack", "The changes have more bytes than the pack says");
    changes.push({
      group: item.group,
      bytes: new Uint8Array(memory.buffer, memory.byteOffset + start, out.length - start),
      hash,
    });
  }
  if (out.length !== size || !reader.ended()) malformed("pack", "The streams do not end with the changes");
  return changes;
}

/**
 * Null when the pack does not give the changes back. Nobody keeps the changes themselves once they are
 * packed, so every pack is unpacked before it is handed out.
 */
function tryPack(items: readonly PackItem[], keepAll: boolean): Uint8Array | null {
  try {
    const packed = storePack(items, packStreams(items, keepAll).streams);
    const changes = unpackChanges(packed);
    const same =
      changes.length === items.length &&
      changes.every(({ group, bytes }, i) => {
        const item = items[i] as PackItem;
        return group === item.group && sameBytes(bytes, item.bytes);
      });
    return same ? packed : null;
  } catch {
    return null;
  }
}

function check(bytes: Uint8Array): Uint8Array {
  return blake3(bytes).subarray(0, CHECK_BYTES);
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function damaged(message: string, details: Record<string, unknown> = {}): never {
  throw new SkaldError("DB_DAMAGED", message, { details });
}
