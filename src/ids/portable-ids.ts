import { blake3 } from "@noble/hashes/blake3.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { base58btc } from "multiformats/bases/base58";

/**
 * The few ids that a client works out by itself, without Node: what `document-id.ts` and `log/genesis.ts` do
 * thousands of times a second on a server is done here in plain JavaScript, once a document. A test holds both
 * to the same.
 */

const utf8 = new TextEncoder();

/** The documentId (16 bytes) of `collection/key` in the db with this 16-byte uid. */
export function portableDocumentId(uid: Uint8Array, collection: string, key: string): Uint8Array {
  const parts = [utf8.encode("skald/document-id/1"), uid, utf8.encode(collection), utf8.encode(key)];
  const input = new Uint8Array(parts.reduce((sum, part) => sum + 4 + part.length, 0));
  const view = new DataView(input.buffer);
  let pos = 0;
  for (const part of parts) {
    view.setUint32(pos, part.length, true);
    input.set(part, pos + 4);
    pos += 4 + part.length;
  }
  const id = blake3(input).slice(0, 16);
  // The bits of a UUID made of a name: automerge-repo 2.0 takes no others.
  id[6] = ((id[6] as number) & 0x0f) | 0x50;
  id[8] = ((id[8] as number) & 0x3f) | 0x80;
  return id;
}

/** blake3-256 of bytes that come in parts, in lower-case hex. */
export function portableHash(): { update(bytes: Uint8Array): void; digest(): string } {
  const hash = blake3.create({});
  return {
    update: (bytes) => void hash.update(bytes),
    digest: () => Array.from(hash.digest(), (byte) => byte.toString(16).padStart(2, "0")).join(""),
  };
}

/** 16 bytes that name this text: no two texts have the same. */
export function digestOfText(text: string): Uint8Array {
  return blake3(utf8.encode(text)).slice(0, 16);
}

/** Base58 over the bytes and the first 4 bytes of their double SHA-256. */
export function portableBase58Check(bytes: Uint8Array): string {
  const all = new Uint8Array(bytes.length + 4);
  all.set(bytes);
  all.set(sha256(sha256(bytes)).subarray(0, 4), bytes.length);
  return base58btc.baseEncode(all);
}

/** Base58 takes time with the square of its length; the longest text that is one has 50 letters. */
const MAX_LETTERS = 128;

/** The inverse of portableBase58Check; undefined for what is no such text. */
export function bytesOfBase58Check(text: string): Uint8Array | undefined {
  if (text.length > MAX_LETTERS) return undefined;
  let all: Uint8Array;
  try {
    all = base58btc.baseDecode(text);
  } catch {
    return undefined;
  }
  const bytes = all.slice(0, Math.max(0, all.length - 4));
  return bytes.length > 0 && portableBase58Check(bytes) === text ? bytes : undefined;
}
