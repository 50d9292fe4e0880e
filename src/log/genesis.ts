import { blake3, sha256Hex, toHex } from "../ids/hash.ts";
import { frameChange } from "./chunk.ts";

/**
 * Two copies of a db that both create `collection/key` while apart must converge, so every named
 * document starts from the same first change, which anyone can compute and nobody needs to store.
 */

/** Every part in the most bytes it can take; a new document's commit waits for this, so nothing is allocated. */
let scratch = Buffer.alloc(1024);

/** blake3 over each part behind its length (4 bytes, little endian), so no two lists of parts collide. */
function derive(domain: string, uid: Uint8Array, collection: string, key: string): Uint8Array {
  const most = 16 + 3 * (domain.length + collection.length + key.length) + uid.length;
  if (most > scratch.length) scratch = Buffer.alloc(most);
  let end = putText(0, domain);
  scratch.writeUInt32LE(uid.length, end);
  scratch.set(uid, end + 4);
  end = putText(end + 4 + uid.length, collection);
  end = putText(end, key);
  return blake3(scratch.subarray(0, end)).slice(0, 16);
}

function putText(at: number, text: string): number {
  const length = scratch.write(text, at + 4, "utf8");
  scratch.writeUInt32LE(length, at);
  return at + 4 + length;
}

/**
 * The Automerge documentId (16 bytes) of `collection/key` in the db with this 16-byte uid. It is a UUID made of a
 * name (version 5 of RFC 9562, of which it takes the bits and not the hash): automerge-repo 2.0 takes only ids
 * that are UUIDs of the versions 1 to 5.
 */
export function documentIdOf(uid: Uint8Array, collection: string, key: string): Uint8Array {
  const id = derive("skald/document-id/1", uid, collection, key);
  id[6] = ((id[6] as number) & 0x0f) | 0x50;
  id[8] = ((id[8] as number) & 0x3f) | 0x80;
  return id;
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
  const bytes = GENESIS.slice();
  bytes.set(actor, ACTOR_AT);
  const hash = sha256Hex(bytes.subarray(8));
  const checksum = Number.parseInt(hash.slice(0, 8), 16);
  bytes[4] = checksum >>> 24;
  bytes[5] = checksum >>> 16;
  bytes[6] = checksum >>> 8;
  bytes[7] = checksum;
  return { actor: toHex(actor), hash, bytes };
}

/** All of it but the checksum and the actor. */
const GENESIS = frameChange(
  new Uint8Array(4),
  // deps 0 | actor | seq 1 | startOp 1 | time 0 | message 0 | other actors 0 | columns 0
  new Uint8Array([0, 16, ...new Uint8Array(16), 1, 1, 0, 0, 0, 0]),
);
const ACTOR_AT = 12;
