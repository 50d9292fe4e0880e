import { base58btc } from "multiformats/bases/base58";
import { SkaldError } from "../errors.ts";
import { fromHex, sha256Hex } from "./hash.ts";

/**
 * How automerge-repo writes ids: base58 over the bytes and the first 4 bytes of their double SHA-256
 * (Bitcoin's base58check without a version byte).
 */
export function toBase58Check(bytes: Uint8Array): string {
  const sum = fromHex(sha256Hex(fromHex(sha256Hex(bytes)))).subarray(0, 4);
  const all = new Uint8Array(bytes.length + 4);
  all.set(bytes);
  all.set(sum, bytes.length);
  return base58btc.baseEncode(all);
}

/** An id has 28 letters; base58 takes time with the square of its length, 100,000 letters more than ten seconds. */
const MAX_LETTERS = 128;

/** The inverse of toBase58Check, for up to 128 letters. Throws NAME_INVALID. */
export function fromBase58Check(text: string): Uint8Array {
  let all: Uint8Array | undefined;
  try {
    all = text.length > MAX_LETTERS ? undefined : base58btc.baseDecode(text);
  } catch {
    all = undefined;
  }
  if (all && all.length > 4) {
    const bytes = all.slice(0, -4);
    if (toBase58Check(bytes) === text) return bytes;
  }
  throw new SkaldError("NAME_INVALID", `"${text.slice(0, 80)}" is not an Automerge document id.`);
}
