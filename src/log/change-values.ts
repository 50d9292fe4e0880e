import { NULL, validUtf8Row } from "./change-columns.ts";
import { malformed } from "./chunk.ts";

/**
 * Checks `n` values that share one metadata number (length * 16 + type) and lie one after the other
 * from `start`; returns where they end. `op` is the first one's operation number.
 */
export function checkValues(
  bytes: Uint8Array,
  start: number,
  end: number,
  meta: number,
  n: number,
  op: number,
): number {
  if (meta === NULL) malformed("value", "An operation has no value metadata", { op });
  const type = meta & 15;
  const length = (meta - type) / 16;
  const total = length * n;
  if (total > end - start) {
    malformed("value-length", "Values reach past the end of their column", { op });
  }
  switch (type) {
    case 0:
    case 1:
    case 2:
      if (length !== 0) malformed("value", "A null or a boolean has bytes", { op });
      break;
    case 3:
    case 4:
    case 8:
    case 9:
      for (let i = 0; i < n; i++) checkLeb(bytes, start + i * length, length, type !== 3, op);
      break;
    case 5:
      if (length !== 8) malformed("value", "A float does not have 8 bytes", { op });
      break;
    case 6:
      if (!validUtf8Row(bytes, start, length, n)) {
        malformed("utf-8", "A string value is not UTF-8", { op });
      }
      break;
    case 7:
      break;
    default:
      malformed("value", "A value has an unknown type", { op, type });
  }
  return start + total;
}

/**
 * Automerge's JavaScript refuses to write this key, and reading a document that has it replaces the
 * prototype of the object it shows: the key is not to be seen, what it holds is inherited.
 */
export function isProto(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < PROTO.length; i++) if (bytes[at + i] !== PROTO[i]) return false;
  return true;
}
const PROTO = new TextEncoder().encode("__proto__");

/** A number value fills its bytes exactly, in the shortest form, within 64 bits. */
function checkLeb(bytes: Uint8Array, start: number, length: number, signed: boolean, op: number): void {
  const last = length === 0 ? 0x80 : (bytes[start + length - 1] as number);
  let ok = length >= 1 && length <= 10 && last < 0x80;
  for (let i = 0; i < length - 1 && ok; i++) if ((bytes[start + i] as number) < 0x80) ok = false;
  if (ok && length > 1) {
    if (signed) {
      const before = bytes[start + length - 2] as number;
      if ((last === 0 && before < 0xc0) || (last === 0x7f && before >= 0xc0)) ok = false;
      if (length === 10 && last !== 0 && last !== 0x7f) ok = false;
    } else if (last === 0 || (length === 10 && last !== 1)) ok = false;
  }
  if (!ok) malformed("value", "A number value is not one number in its shortest form", { op });
}
