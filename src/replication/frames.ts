import { SkaldError } from "../errors.ts";
import { CborWriter, decodeCborSequence } from "../ids/cbor.ts";
import { CID_BYTES } from "../ids/cid.ts";
import { LIMITS } from "../limits.ts";

/**
 * Records between servers: a CBOR sequence (RFC 8742) of a map that says where they go on from, one byte string
 * for each record in order, and in a pull's answer a last map that says where they end. A stream without that
 * end broke off.
 */
export interface Head {
  readonly uid: Uint8Array;
  /** The commit that the records follow. */
  readonly after: number;
  readonly commit: Uint8Array | undefined;
  /** Documents that records after these erase, and of which these have changes without their bytes. */
  readonly erased?: readonly string[];
}

export interface End {
  /** The commit that the last record holds. */
  readonly end: number;
  readonly commit: Uint8Array | undefined;
}

const NONE = new Uint8Array(0);

export function encodeHead({ uid, after, commit = NONE, erased = [] }: Head): Uint8Array {
  const w = new CborWriter(128);
  w.map(erased.length > 0 ? 4 : 3);
  w.text("uid");
  w.bytes(uid);
  w.text("after");
  w.uint(after);
  w.text("commit");
  w.bytes(commit);
  if (erased.length > 0) {
    w.text("erased");
    w.array(erased.length);
    for (const doc of erased) w.text(doc);
  }
  return w.take();
}

export function encodeEnd({ end, commit = NONE }: End): Uint8Array {
  const w = new CborWriter(64);
  w.map(2);
  w.text("end");
  w.uint(end);
  w.text("commit");
  w.bytes(commit);
  return w.take();
}

/** Records as byte strings, in one piece. */
export function encodeRecords(bodies: readonly Uint8Array[]): Uint8Array {
  let size = 0;
  for (const { length } of bodies) size += length + 9;
  const out = new Uint8Array(size);
  const view = new DataView(out.buffer);
  let at = 0;
  for (const body of bodies) {
    const { length } = body;
    if (length < 24) out[at++] = 0x40 | length;
    else if (length < 0x100) {
      out[at] = 0x58;
      out[at + 1] = length;
      at += 2;
    } else if (length < 0x10000) {
      out[at] = 0x59;
      view.setUint16(at + 1, length);
      at += 3;
    } else {
      out[at] = 0x5a;
      view.setUint32(at + 1, length);
      at += 5;
    }
    out.set(body, at);
    at += length;
  }
  return out.subarray(0, at);
}

/** What a push brings, which holds all of its records. Throws BAD_CBOR. */
export function decodePush(bytes: Uint8Array): { readonly head: Head; readonly bodies: Uint8Array[] } {
  let head: Head | undefined;
  const bodies: Uint8Array[] = [];
  for (const item of decodeCborSequence(bytes, 3, 8 + ERASED_MOST)) {
    if (!head) head = readHead(item);
    else if (item instanceof Uint8Array) bodies.push(item);
    else throw badFrame("what follows the first item are records");
  }
  if (!head) throw badFrame("it is empty");
  return { head, bodies };
}

/** Throws BAD_CBOR. */
export function readHead(item: unknown): Head {
  const { uid, after, commit, erased } = fields(item, 3, "erased");
  if (!(uid instanceof Uint8Array) || uid.length !== 16) throw badFrame("`uid` has 16 bytes");
  if (!Number.isSafeInteger(after) || (after as number) < 0) throw badFrame("`after` is a seq");
  const head = { uid, after: after as number, commit: readCommit(commit) };
  if (erased === undefined) return head;
  if (!Array.isArray(erased) || !erased.every((doc) => typeof doc === "string"))
    throw badFrame("`erased` are documents' names");
  return { ...head, erased };
}

/** Documents that a page can name: each has a change in it. */
const ERASED_MOST = 2 ** 16;

/** Throws BAD_CBOR. */
export function readEnd(item: unknown): End {
  const { end, commit } = fields(item, 2);
  if (!Number.isSafeInteger(end) || (end as number) < 0) throw badFrame("`end` is a seq");
  return { end: end as number, commit: readCommit(commit) };
}

function fields(item: unknown, count: number, optional = ""): Readonly<Record<string, unknown>> {
  if (typeof item !== "object" || item === null || Array.isArray(item) || item instanceof Uint8Array)
    throw badFrame("a map is missing");
  if (Object.keys(item).length !== count + (optional in item ? 1 : 0))
    throw badFrame("a map has other fields");
  return item as Readonly<Record<string, unknown>>;
}

function readCommit(value: unknown): Uint8Array | undefined {
  if (!(value instanceof Uint8Array) || (value.length !== 0 && value.length !== CID_BYTES))
    throw badFrame("`commit` is an address");
  return value.length === 0 ? undefined : value;
}

function badFrame(what: string): SkaldError {
  return new SkaldError("BAD_CBOR", `The records are not framed as they should be: ${what}.`);
}

/** The items of a stream: each record as bytes, each map decoded. Holds one item at a time. Throws BAD_CBOR. */
export async function* readFrames(parts: AsyncIterable<Uint8Array>): AsyncGenerator<unknown> {
  let held: Buffer = Buffer.alloc(0);
  let missing = 1;
  let waiting: Uint8Array[] = [];
  for await (const part of parts) {
    missing -= part.length;
    waiting.push(part);
    // A large record is put together once, and not with each of its parts.
    if (missing > 0) continue;
    held = Buffer.concat([held, ...waiting]);
    waiting = [];
    let at = 0;
    for (;;) {
      const size = itemSize(held, at);
      missing = size.more ? size.bytes : at + size.bytes - held.length;
      if (missing > 0) break;
      const item = held.subarray(at, at + size.bytes);
      at += size.bytes;
      yield size.record === undefined ? decodeMap(item) : item.subarray(size.record);
    }
    held = held.subarray(at);
  }
}

/** What a map of a stream may take: only heads and ends are maps. */
const SMALL = 128;

/** The size of the item at `at`. With `more`, so many bytes are missing to tell. */
function itemSize(
  bytes: Buffer,
  at: number,
): { readonly bytes: number; readonly more?: true; readonly record?: number } {
  const left = bytes.length - at;
  if (left < 1) return { bytes: 1, more: true };
  const first = bytes[at] as number;
  if (first >> 5 === 2) {
    const info = first & 0x1f;
    const extra = info < 24 ? 0 : info === 24 ? 1 : info === 25 ? 2 : info === 26 ? 4 : -1;
    if (extra < 0) throw badFrame("a record is too large");
    if (left < 1 + extra) return { bytes: 1 + extra - left, more: true };
    const length = extra === 0 ? info : bytes.readUIntBE(at + 1, extra);
    if (length > LIMITS.sync.pageBytes.value) throw badFrame("a record is too large");
    return { bytes: 1 + extra + length, record: 1 + extra };
  }
  if (first >> 5 !== 5) throw badFrame("it is neither a record nor a map");
  const size = mapSize(bytes, at);
  return size === undefined ? { bytes: 1, more: true } : { bytes: size };
}

/** The size of the map at `at`, or undefined when not all of it is there. Throws BAD_CBOR for a large one. */
function mapSize(bytes: Buffer, at: number): number | undefined {
  let end = at;
  for (let items = 1; items > 0; items -= 1) {
    if (end >= bytes.length) return undefined;
    const first = bytes[end] as number;
    const info = first & 0x1f;
    if (info > 27) throw badFrame("an item has no length");
    const extra = info < 24 ? 0 : 1 << (info - 24);
    end += 1 + extra;
    const kind = first >> 5;
    if (end > bytes.length) return undefined;
    if (kind >= 2 && kind <= 5) {
      // More than four bytes of a length are those of no small map.
      const length = extra === 0 ? info : extra > 4 ? SMALL : bytes.readUIntBE(end - extra, extra);
      if (kind <= 3) end += length;
      else items += kind === 4 ? length : 2 * length;
    } else if (kind === 6) items += 1;
    if (end - at > SMALL || items > SMALL) throw badFrame("a map is too large");
  }
  return end > bytes.length ? undefined : end - at;
}

function decodeMap(bytes: Uint8Array): unknown {
  return [...decodeCborSequence(bytes, 2, 8)][0];
}
