import { base58btc } from "multiformats/bases/base58";
import { SkaldError } from "../errors.ts";
import { sha256 } from "./hash.ts";

/**
 * How automerge-repo writes ids: base58 over the bytes and the first 4 bytes of their double SHA-256
 * (Bitcoin's base58check without a version byte).
 */
export function toBase58Check(bytes: Uint8Array): string {
  const sum = sha256(sha256(bytes));
  const all = new Uint8Array(bytes.length + 4);
  all.set(bytes);
  all.set(sum.subarray(0, 4), bytes.length);
  return toBase58(all);
}

const LETTERS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/** Three letters at once: the most whose product with 2^16 is an exact number. */
const TRIPLE = 58 ** 3;

/** Each document that is read or listed has its id written: 1 µs here, 6 µs by multiformats, to which a test holds it. */
function toBase58(bytes: Uint8Array): string {
  let zeros = 0;
  while (zeros < bytes.length && bytes[zeros] === 0) zeros += 1;
  const limbs: number[] = [];
  for (let end = bytes.length; end > zeros; end -= 2) {
    limbs.unshift((bytes[end - 1] as number) + (end - 2 >= zeros ? (bytes[end - 2] as number) * 256 : 0));
  }
  let text = "";
  for (let first = 0; first < limbs.length;) {
    let rest = 0;
    for (let i = first; i < limbs.length; i += 1) {
      const value = rest * 65_536 + (limbs[i] as number);
      limbs[i] = Math.floor(value / TRIPLE);
      rest = value % TRIPLE;
    }
    while (first < limbs.length && limbs[first] === 0) first += 1;
    const letters =
      (LETTERS[Math.floor(rest / 3364)] as string) +
      (LETTERS[Math.floor(rest / 58) % 58] as string) +
      (LETTERS[rest % 58] as string);
    text = letters + text;
  }
  let start = 0;
  while (text[start] === "1") start += 1;
  return "1".repeat(zeros) + text.slice(start);
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
