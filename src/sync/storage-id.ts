import { blake3, toHex } from "../ids/hash.ts";

const DOMAIN = new TextEncoder().encode("skald/storage-id/1");

/**
 * The id by which Automerge peers know this copy of a db: a UUID (version 8, RFC 9562), worked out from the
 * actor of the copy, which no other copy of the db has.
 */
export function storageIdOf(actor: Uint8Array): string {
  const bytes = blake3(new Uint8Array([...DOMAIN, ...actor])).slice(0, 16);
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  const hex = toHex(bytes);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
