import { base32 } from "multiformats/bases/base32";
import { SkaldError } from "../errors.ts";
import { blake3 } from "./hash.ts";

/**
 * Addresses: CIDv1 with a blake3-256 multihash (code 0x1e). Inside, an address travels as its 36
 * bytes; outside, as multibase base32. Source: the CID and multihash specifications of Multiformats.
 */

export const CODEC_RAW = 0x55;
export const CODEC_DAG_CBOR = 0x71;
export type Codec = typeof CODEC_RAW | typeof CODEC_DAG_CBOR;

export const CID_BYTES = 36;
const DIGEST_OFFSET = 4;

export function cidFromDigest(codec: Codec, digest: Uint8Array): Uint8Array {
  const cid = new Uint8Array(CID_BYTES);
  cid[0] = 0x01;
  cid[1] = codec;
  cid[2] = 0x1e;
  cid[3] = 0x20;
  cid.set(digest, DIGEST_OFFSET);
  return cid;
}

/** The address of `bytes`: 36 bytes. */
export function cidOf(codec: Codec, bytes: Uint8Array): Uint8Array {
  return cidFromDigest(codec, blake3(bytes));
}

export function cidCodec(cid: Uint8Array): number {
  return cid[1] ?? 0;
}

export function cidDigest(cid: Uint8Array): Uint8Array {
  return cid.subarray(DIGEST_OFFSET, CID_BYTES);
}

export function isCid(bytes: Uint8Array): boolean {
  return (
    bytes.length === CID_BYTES &&
    bytes[0] === 0x01 &&
    (bytes[1] === CODEC_RAW || bytes[1] === CODEC_DAG_CBOR) &&
    bytes[2] === 0x1e &&
    bytes[3] === 0x20
  );
}

export function cidToString(cid: Uint8Array): string {
  return base32.encode(cid);
}

const CID_TEXT = /^b[a-z2-7]{58}$/;

export function looksLikeCid(text: string): boolean {
  return CID_TEXT.test(text);
}

/** Parses multibase base32; throws CID_INVALID for anything that is not one of our addresses. */
export function cidFromString(text: string): Uint8Array {
  // 58 letters hold two bits more than an address. The decoder takes them only as zeros and throws a
  // SyntaxError otherwise, so the last letter is one of eight.
  if (looksLikeCid(text) && /[aeimquy4]$/.test(text)) {
    const cid = base32.decode(text);
    if (isCid(cid)) return cid;
  }
  throw new SkaldError("CID_INVALID", `"${text.slice(0, 80)}" is not an address of this server.`);
}
