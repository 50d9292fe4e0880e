import { blake3, sha256Hex, toHex } from "../ids/hash.ts";
import { frameChange } from "./chunk.ts";

/**
 * Two copies of a db that both create `collection/key` while apart must converge, so every named
 * document starts from the same first change, which anyone can compute and nobody needs to store.
 */

const encoder = new TextEncoder();

/** blake3 over each part behind its length (4 bytes, little endian), so no two lists of parts collide. */
function derive(domain: string, uid: Uint8Array, collection: string, key: string): Uint8Array {
  const parts = [encoder.encode(domain), uid, encoder.encode(collection), encoder.encode(key)];
  const input = new Uint8Array(parts.reduce((sum, part) => sum + 4 + part.length, 0));
  const view = new DataView(input.buffer);
  let pos = 0;
  for (const part of parts) {
    view.setUint32(pos, part.length, true);
    input.set(part, pos + 4);
    pos += 4 + part.length;
  }
  return blake3(input).slice(0, 16);
}

/** The Automerge documentId (16 bytes) of `collection/key` in the db with this 16-byte uid. */
export function documentIdOf(uid: Uint8Array, collection: string, key: string): Uint8Array {
  return derive("skald/document-id/1", uid, collection, key);
}

/**
 * The first change of a named document: no operations, seq 1, startOp 1, time 0, no deps. Its actor
 * (lower hex, 16 bytes) is derived and must never author anything else.
 *
 * An empty change uses up no operation number: its maxOp is 0, so the change that follows it has
 * startOp 1 again, and seq 1 under its own actor. The bytes are those Automerge's `emptyChange`
 * makes for this actor at time 0.
 */
export function genesisOf(
  uid: Uint8Array,
  collection: string,
  key: string,
): { actor: string; hash: string; bytes: Uint8Array } {
  const actor = derive("skald/genesis-actor/1", uid, collection, key);
  // deps 0 | actor | seq 1 | startOp 1 | time 0 | message 0 | other actors 0 | columns 0
  const contents = new Uint8Array([0, actor.length, ...actor, 1, 1, 0, 0, 0, 0]);
  const hash = sha256Hex(new Uint8Array([1, contents.length, ...contents]));
  const checksum = new Uint8Array(Buffer.from(hash.slice(0, 8), "hex"));
  return { actor: toHex(actor), hash, bytes: frameChange(checksum, contents) };
}
