/**
 * CBOR as automerge-repo speaks it: plain values with text keys, byte strings without a tag, `undefined` as
 * a value, whole numbers beyond 32 bits as floats. Nothing here needs Node; what the server uses does.
 */

const encoder = new TextEncoder();
const strict = new TextDecoder("utf-8", { fatal: true });

/** Levels of a value. Deeper ones are refused either way, before the stack ends. */
const LEVELS = 64;

/** The bytes of a plain value. Throws TypeError for what has none: functions, symbols, cycles. */
export function encodeValue(value: unknown): Uint8Array<ArrayBuffer> {
  let bytes = new Uint8Array(256);
  let length = 0;
  const room = (more: number): void => {
    if (length + more <= bytes.length) return;
    const grown = new Uint8Array(Math.max(length + more, bytes.length * 2));
    grown.set(bytes);
    bytes = grown;
  };
  const head = (major: number, size: number): void => {
    room(9);
    const view = new DataView(bytes.buffer);
    if (size < 24) bytes[length++] = major | size;
    else if (size < 2 ** 8) {
      bytes[length] = major | 24;
      bytes[length + 1] = size;
      length += 2;
    } else if (size < 2 ** 16) {
      bytes[length] = major | 25;
      view.setUint16(length + 1, size);
      length += 3;
    } else {
      bytes[length] = major | 26;
      view.setUint32(length + 1, size);
      length += 5;
    }
  };
  const raw = (part: Uint8Array): void => {
    room(part.length);
    bytes.set(part, length);
    length += part.length;
  };
  const simple = (byte: number): void => {
    room(1);
    bytes[length++] = byte;
  };
  const text = (part: string): void => {
    const encoded = encoder.encode(part);
    head(0x60, encoded.length);
    raw(encoded);
  };
  const item = (part: unknown, level: number): void => {
    if (level > LEVELS) throw new TypeError("the value nests too deeply");
    if (part === undefined) simple(0xf7);
    else if (part === null) simple(0xf6);
    else if (typeof part === "boolean") simple(part ? 0xf5 : 0xf4);
    else if (typeof part === "string") text(part);
    else if (typeof part === "number") {
      if (Number.isInteger(part) && Math.abs(part) < 2 ** 32 && !Object.is(part, -0)) {
        if (part < 0) head(0x20, -1 - part);
        else head(0x00, part);
      } else {
        simple(0xfb);
        room(8);
        new DataView(bytes.buffer).setFloat64(length, part);
        length += 8;
      }
    } else if (part instanceof Uint8Array) {
      head(0x40, part.length);
      raw(part);
    } else if (Array.isArray(part)) {
      head(0x80, part.length);
      for (const one of part) item(one, level + 1);
    } else if (typeof part === "object") {
      const entries = Object.entries(part);
      head(0xa0, entries.length);
      for (const [key, one] of entries) {
        text(key);
        item(one, level + 1);
      }
    } else throw new TypeError(`a ${typeof part} has no bytes`);
  };
  item(value, 0);
  return bytes.slice(0, length);
}

/** The value of these bytes, all of them. Tags are left out. Throws RangeError for anything else. */
export function decodeValue(bytes: Uint8Array): unknown {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const past = (size: number): number => {
    if (size > bytes.length - at) throw new RangeError("a length runs past the end");
    at += size;
    return at - size;
  };
  const item = (level: number): unknown => {
    if (level > LEVELS) throw new RangeError("items nest too deeply");
    const first = view.getUint8(past(1));
    const major = first >> 5;
    const info = first & 0x1f;
    if (major === 7) return plain(info);
    const size = lengthOf(info);
    switch (major) {
      case 0:
        return size;
      case 1:
        return -1 - size;
      case 2:
        return bytes.slice(past(size), at);
      case 3:
        return textOf(bytes.subarray(past(size), at));
      case 4: {
        // No array of the length that is told: each item has a byte at least.
        const items: unknown[] = [];
        for (let i = 0; i < size; i += 1) items.push(item(level + 1));
        return items;
      }
      case 5: {
        const map: Record<string, unknown> = {};
        for (let i = 0; i < size; i += 1) {
          const key = item(level + 1);
          if (typeof key !== "string" && typeof key !== "number") throw new RangeError("a key is no text");
          // Set plainly, a key `__proto__` would replace the prototype.
          Object.defineProperty(map, key, {
            value: item(level + 1),
            enumerable: true,
            configurable: true,
            writable: true,
          });
        }
        return map;
      }
      default:
        return item(level + 1);
    }
  };
  const lengthOf = (info: number): number => {
    if (info < 24) return info;
    if (info === 24) return view.getUint8(past(1));
    if (info === 25) return view.getUint16(past(2));
    if (info === 26) return view.getUint32(past(4));
    if (info === 27) return Number(view.getBigUint64(past(8)));
    throw new RangeError("an item has no definite length");
  };
  const plain = (info: number): unknown => {
    if (info === 20) return false;
    if (info === 21) return true;
    if (info === 22) return null;
    if (info === 23) return undefined;
    if (info === 25) return half(view.getUint16(past(2)));
    if (info === 26) return view.getFloat32(past(4));
    if (info === 27) return view.getFloat64(past(8));
    throw new RangeError("an item of a kind that is not taken");
  };
  const value = item(0);
  if (at !== bytes.length) throw new RangeError("bytes are left over");
  return value;
}

function textOf(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes);
  } catch {
    throw new RangeError("a text is not UTF-8");
  }
}

/** A float of 16 bits (IEEE 754 binary16). */
function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
