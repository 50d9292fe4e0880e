import { base58btc } from "multiformats/bases/base58";

/**
 * `did:key` of an Ed25519 public key: base58btc, behind `z`, over the multicodec prefix 0xed 0x01 and the 32 bytes.
 * Source: the did:key Method of the W3C Credentials Community Group.
 */
export function didKeyOf(publicKey: Uint8Array): string {
  return `did:key:${base58btc.encode(Buffer.concat([PREFIX, publicKey]))}`;
}

/** The 32 bytes of the public key; undefined for a text that names no Ed25519 key. */
export function parseDidKey(did: string): Uint8Array | undefined {
  // The prefix makes each of them begin and be as long as this.
  if (!DID_KEY.test(did)) return undefined;
  const bytes = base58btc.decode(did.slice("did:key:".length));
  return bytes.length === 34 && bytes[0] === PREFIX[0] && bytes[1] === PREFIX[1]
    ? bytes.subarray(2)
    : undefined;
}

const PREFIX = Uint8Array.of(0xed, 0x01);
const DID_KEY = /^did:key:z6Mk[1-9A-HJ-NP-Za-km-z]{44}$/;
