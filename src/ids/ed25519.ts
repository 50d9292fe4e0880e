import { createPrivateKey, createPublicKey, sign, verify, type KeyObject } from "node:crypto";
import { didKeyOf, parseDidKey } from "./did-key.ts";

/** Signs for one key. Ed25519 (RFC 8032): the same message always has the same signature. */
export interface Signer {
  /** `did:key` of the key. */
  readonly did: string;
  /** 64 bytes. */
  sign(message: Uint8Array): Uint8Array;
}

/** The signer of a key that is given as its 32 secret bytes. */
export function signerOf(secret: Uint8Array): Signer {
  const key = createPrivateKey({
    key: Buffer.concat([PKCS8, secret]),
    format: "der",
    type: "pkcs8",
  });
  const spki = createPublicKey(key).export({ format: "der", type: "spki" });
  return { did: didKeyOf(spki.subarray(-32)), sign: (message) => sign(null, message, key) };
}

/** Whether it is that key's signature of the message; false for a `did` that names no key. */
export function isSignature(did: string, message: Uint8Array, signature: Uint8Array): boolean {
  const key = keyOf(did);
  return key !== undefined && signature.length === 64 && verify(null, message, key, signature);
}

/** Making one costs as much as a check. */
const known = new Map<string, KeyObject>();
const KNOWN_MAX = 256;

function keyOf(did: string): KeyObject | undefined {
  let key = known.get(did);
  if (key) return key;
  const bytes = parseDidKey(did);
  if (!bytes) return undefined;
  key = createPublicKey({ key: Buffer.concat([SPKI, bytes]), format: "der", type: "spki" });
  if (known.size >= KNOWN_MAX) known.clear();
  known.set(did, key);
  return key;
}

/** What stands before the bytes of a key in DER (RFC 8410). */
const PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex");
const SPKI = Buffer.from("302a300506032b6570032100", "hex");
