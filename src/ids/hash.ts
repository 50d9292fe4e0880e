import { hash as nodeHash } from "node:crypto";
import { createBLAKE3 } from "hash-wasm";

// hash-wasm's blake3 takes 1.2 µs for a 125-byte change where the pure JavaScript one takes 6.3 µs
// (Node 20, `npm run bench`); a test proves both equal. See specs/decisions/0002-blake3.md.
const hasher = await createBLAKE3(256);

/** blake3-256 of `bytes`: 32 bytes. Source: the BLAKE3 paper, O'Connor et al., 2020. */
export function blake3(bytes: Uint8Array): Uint8Array {
  return hasher.init().update(bytes).digest("binary");
}

/** The same over bytes that come in parts. Some kilobytes of memory each. */
export async function blake3Parts(): Promise<{ update(bytes: Uint8Array): void; digest(): Uint8Array }> {
  const own = (await createBLAKE3(256)).init();
  return { update: (bytes) => void own.update(bytes), digest: () => own.digest("binary") };
}

/** SHA-256 of `bytes` in lower-case hex: how Automerge names its changes. */
export function sha256Hex(bytes: Uint8Array): string {
  return nodeHash("sha256", bytes, "hex");
}

export function sha256(bytes: Uint8Array): Uint8Array {
  return nodeHash("sha256", bytes, "buffer");
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}

export function fromHex(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, "hex"));
}
