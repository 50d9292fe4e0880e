import { SkaldError, isSkaldError } from "../errors.ts";
import { LIMITS, type Limit } from "../limits.ts";
import { ByteReader } from "../log/chunk.ts";

/**
 * Messages of the Automerge sync protocol, read and written without Automerge. Bytes of the versions 1
 * (0x42) and 2 (0x43): type, heads, need, have, parts, then, unless an old peer wrote it, capabilities.
 * Hashes and parts come behind their number, parts and filters behind their length, all in unsigned
 * leb128. Source: the documentation of Automerge's `sync::Message`; checked against Automerge 2.2 and 3.5
 * by the tests. What follows the capabilities is ignored, as Automerge does.
 *
 * Invariant: work and memory are bounded by the number of bytes, whatever the bytes claim, and parts are
 * views of the message.
 */
export interface SyncMessage {
  readonly version: 1 | 2;
  /** The sender's heads, lower hex. */
  readonly heads: readonly string[];
  /** Changes that the sender asks for by name. */
  readonly need: readonly string[];
  readonly have: readonly Have[];
  /**
   * Version 1: one change each. Version 2: Automerge chunks one after the other, mostly all in one part;
   * one of them may be a whole saved document.
   */
  readonly parts: readonly Uint8Array[];
  /** As sent; undefined from peers older than capabilities. */
  readonly capabilities: Uint8Array | undefined;
}

/** What the sender has: all ancestors of `lastSync`, and of later changes those in the filter (`BloomFilter`). */
export interface Have {
  readonly lastSync: readonly string[];
  readonly bloom: Uint8Array;
}

const VERSION_1 = 0x42;
const VERSION_2 = 0x43;
const CAPABILITY_VERSION_2 = 0x02;
/** Marks the capability that is a set of flags (Automerge 3.3 and later). */
const FLAGS = 0x80;
const FLAG_RESET = 0x01;
const FLAG_READ_ONLY = 0x02;
const FLAG_KNOWS_RESET = 0x04;

/** What a message says of its sender. */
export interface Capabilities {
  readonly version2: boolean;
  /** It takes no changes from us. */
  readonly readOnly: boolean;
  /** It asks us to forget what we sent. */
  readonly reset: boolean;
}

export function capabilitiesOf({ version, capabilities = new Uint8Array(0) }: SyncMessage): Capabilities {
  let flags = 0;
  let version2 = version === 2;
  for (const capability of capabilities) {
    if (capability >= FLAGS) flags |= capability;
    else if (capability === CAPABILITY_VERSION_2) version2 = true;
  }
  return { version2, readOnly: (flags & FLAG_READ_ONLY) !== 0, reset: (flags & FLAG_RESET) !== 0 };
}

/** What we say of ourselves. */
export function ownCapabilities(readOnly: boolean): Uint8Array {
  return new Uint8Array([CAPABILITY_VERSION_2, FLAGS | FLAG_KNOWS_RESET | (readOnly ? FLAG_READ_ONLY : 0)]);
}

/** Throws SYNC_MALFORMED, or TOO_LARGE for more than `LIMITS.syncMessage`. */
export function decodeSyncMessage(bytes: Uint8Array): SyncMessage {
  within("message", bytes.length, LIMITS.syncMessage.messageBytes);
  const version = bytes[0];
  if (version !== VERSION_1 && version !== VERSION_2) {
    throw malformed("type", "The bytes are not a sync message");
  }
  return guarded(() => readMessage(bytes, version === VERSION_1 ? 1 : 2));
}

function readMessage(bytes: Uint8Array, version: 1 | 2): SyncMessage {
  const input = new ByteReader(bytes, 1, bytes.length);
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const heads = readHashes(input, text, "heads", LIMITS.syncMessage.heads);
  const need = readHashes(input, text, "need", LIMITS.syncMessage.need);
  const have: Have[] = [];
  const haves = input.uint();
  within("have", haves, LIMITS.syncMessage.have);
  for (let i = 0; i < haves; i += 1) {
    const lastSync = readHashes(input, text, "lastSync", LIMITS.syncMessage.heads);
    const length = input.uint();
    within("filter", length, LIMITS.syncMessage.bloomBytes);
    const at = input.skip(length);
    have.push({ lastSync, bloom: bytes.subarray(at, at + length) });
  }
  const count = input.uint();
  within("changes", count, LIMITS.syncMessage.parts);
  const parts: Uint8Array[] = [];
  for (let i = 0; i < count; i += 1) {
    const length = input.uint();
    const at = input.skip(length);
    parts.push(bytes.subarray(at, at + length));
  }
  let capabilities: Uint8Array | undefined;
  if (input.pos < input.end) {
    const length = input.uint();
    within("capabilities", length, LIMITS.syncMessage.capabilities);
    const at = input.skip(length);
    capabilities = bytes.subarray(at, at + length);
  }
  return { version, heads, need, have, parts, capabilities };
}

function readHashes(input: ByteReader, text: Buffer, what: string, most: Limit): string[] {
  const count = input.uint();
  within(what, count, most);
  const hashes: string[] = [];
  for (let i = 0; i < count; i += 1) {
    const at = input.skip(32);
    hashes.push(text.toString("hex", at, at + 32));
  }
  return hashes;
}

export function encodeSyncMessage(message: SyncMessage): Uint8Array {
  const { heads, need, have, parts, capabilities } = message;
  let size = 1 + hashesSize(heads) + hashesSize(need) + uintSize(have.length) + uintSize(parts.length);
  for (const { lastSync, bloom } of have) size += hashesSize(lastSync) + fieldSize(bloom);
  for (const part of parts) size += fieldSize(part);
  if (capabilities) size += fieldSize(capabilities);
  // Small ones share memory: a buffer of their own costs more than all the rest.
  const out = Buffer.allocUnsafe(size);
  out[0] = message.version === 1 ? VERSION_1 : VERSION_2;
  let at = putHashes(out, 1, heads);
  at = putHashes(out, at, need);
  at = putUint(out, at, have.length);
  for (const { lastSync, bloom } of have) {
    at = putHashes(out, at, lastSync);
    at = putField(out, at, bloom);
  }
  at = putUint(out, at, parts.length);
  for (const part of parts) at = putField(out, at, part);
  if (capabilities) putField(out, at, capabilities);
  return new Uint8Array(out.buffer, out.byteOffset, out.length);
}

/** First byte of the part of a peer's state that outlives the connection. */
const STATE = 0x43;

/** The bytes of Automerge's `encodeSyncState`: the heads that both sides are known to have. */
export function encodeSharedHeads(heads: readonly string[]): Uint8Array {
  const out = Buffer.allocUnsafe(1 + hashesSize(heads));
  out[0] = STATE;
  putHashes(out, 1, heads);
  return new Uint8Array(out.buffer, out.byteOffset, out.length);
}

/** Throws SYNC_MALFORMED, or TOO_LARGE for more heads than a message may have. */
export function decodeSharedHeads(bytes: Uint8Array): string[] {
  if (bytes[0] !== STATE) throw malformed("type", "The bytes are not a sync state");
  return guarded(() => {
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    return readHashes(new ByteReader(bytes, 1, bytes.length), text, "heads", LIMITS.syncMessage.heads);
  });
}

/** What the reader of chunks and filters finds wrong is wrong with the message here. */
export function guarded<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!isSkaldError(error) || error.code !== "CHANGE_MALFORMED") throw error;
    throw new SkaldError("SYNC_MALFORMED", error.message, { details: error.details, cause: error });
  }
}

export function malformed(reason: string, message: string): SkaldError {
  return new SkaldError("SYNC_MALFORMED", message, { details: { reason } });
}

export function within(what: string, found: number, { value, unit }: Limit): void {
  if (found <= value) return;
  throw new SkaldError(
    "TOO_LARGE",
    unit === "bytes"
      ? `The ${what} of a sync message has at most ${value} bytes.`
      : `A sync message has at most ${value} ${what}.`,
    { details: { max: value, found } },
  );
}

export function uintSize(value: number): number {
  let size = 1;
  for (let v = value; v >= 0x80; v = Math.floor(v / 0x80)) size += 1;
  return size;
}

export function putUint(out: Uint8Array, start: number, value: number): number {
  let at = start;
  let v = value;
  while (v >= 0x80) {
    out[at++] = (v % 0x80) | 0x80;
    v = Math.floor(v / 0x80);
  }
  out[at++] = v;
  return at;
}

function hashesSize(hashes: readonly string[]): number {
  return uintSize(hashes.length) + 32 * hashes.length;
}

function putHashes(out: Buffer, start: number, hashes: readonly string[]): number {
  let at = putUint(out, start, hashes.length);
  for (const hash of hashes) {
    out.write(hash, at, 32, "hex");
    at += 32;
  }
  return at;
}

function fieldSize(bytes: Uint8Array): number {
  return uintSize(bytes.length) + bytes.length;
}

function putField(out: Uint8Array, start: number, bytes: Uint8Array): number {
  const at = putUint(out, start, bytes.length);
  out.set(bytes, at);
  return at + bytes.length;
}
