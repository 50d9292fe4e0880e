import { SkaldError } from "../errors.ts";

/** How much of an item is read before it is refused. */
export interface LooseBounds {
  /** Arrays, maps and tags within each other. */
  readonly levels: number;
  /** Items in all; an entry of a map counts as two. */
  readonly items: number;
}

/**
 * Reads one CBOR item (RFC 8949) as other libraries write it: any head of definite length, `undefined`,
 * floats of every size, also where an integer would do (cbor-x writes those from 2^32 on so), and tags, whose
 * content is given in their place. Byte strings are views. Maps come as objects without a prototype, so that
 * no key of theirs is anything else's; keys are texts, and the last of a repeated one counts. Integers beyond
 * 2^53 come rounded. Throws BAD_CBOR.
 */
export function decodeLooseCbor(bytes: Uint8Array, bounds: LooseBounds): unknown {
  const reader = new LooseReader(bytes, bounds);
  const value = reader.item(0);
  if (!reader.atEnd) throw malformed("bytes are left over");
  return value;
}

class LooseReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #levels: number;
  #left: number;
  #at = 0;

  constructor(bytes: Uint8Array, bounds: LooseBounds) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#levels = bounds.levels;
    this.#left = bounds.items;
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  item(level: number): unknown {
    if ((this.#left -= 1) < 0) throw malformed("there are too many items");
    const first = this.#bytes[this.#at++];
    if (first === undefined) throw malformed("they end within an item");
    const major = first >> 5;
    const info = first & 0x1f;
    if (major === 7) return this.#simple(info);
    const size = this.#length(info);
    switch (major) {
      case 0:
        return size;
      case 1:
        return -1 - size;
      case 2:
        return this.#take(size);
      case 3:
        return readText(this.#take(size));
    }
    if (level >= this.#levels) throw malformed("items nest too deeply");
    if (major === 6) return this.item(level + 1);
    // Each item has a byte at least, so a length beyond what is left is found before anything is made of it.
    if (size > this.#bytes.length - this.#at) throw malformed("a length runs past the end");
    if (major === 4) {
      const items: unknown[] = [];
      for (let i = 0; i < size; i += 1) items.push(this.item(level + 1));
      return items;
    }
    const map = Object.create(null) as Record<string, unknown>;
    for (let i = 0; i < size; i += 1) {
      const key = this.item(level + 1);
      if (typeof key !== "string") throw malformed("a key is no text");
      map[key] = this.item(level + 1);
    }
    return map;
  }

  #simple(info: number): unknown {
    switch (info) {
      case 20:
        return false;
      case 21:
        return true;
      case 22:
        return null;
      case 23:
        return undefined;
      case 25:
        return halfFloat(this.#view.getUint16(this.#step(2)));
      case 26:
        return this.#view.getFloat32(this.#step(4));
      case 27:
        return this.#view.getFloat64(this.#step(8));
      default:
        throw malformed("an item of a kind that is not taken");
    }
  }

  #length(info: number): number {
    if (info < 24) return info;
    if (info === 24) return this.#view.getUint8(this.#step(1));
    if (info === 25) return this.#view.getUint16(this.#step(2));
    if (info === 26) return this.#view.getUint32(this.#step(4));
    if (info !== 27) throw malformed("a head is malformed");
    const at = this.#step(8);
    return this.#view.getUint32(at) * 2 ** 32 + this.#view.getUint32(at + 4);
  }

  #step(size: number): number {
    const at = this.#at;
    if (size > this.#bytes.length - at) throw malformed("a length runs past the end");
    this.#at = at + size;
    return at;
  }

  #take(size: number): Uint8Array {
    const at = this.#step(size);
    return this.#bytes.subarray(at, at + size);
  }
}

/** RFC 8949, appendix D. */
function halfFloat(half: number): number {
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  const size =
    exponent === 0
      ? fraction * 2 ** -24
      : exponent === 31
        ? fraction === 0
          ? Infinity
          : NaN
        : (1024 + fraction) * 2 ** (exponent - 25);
  return half & 0x8000 ? -size : size;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Names and ids are short ASCII, for which the decoder takes four times as long. */
function readText(bytes: Uint8Array): string {
  if (bytes.length <= 48) {
    let text = "";
    for (const code of bytes) {
      if (code > 0x7f) return readUtf8(bytes);
      text += String.fromCharCode(code);
    }
    return text;
  }
  return readUtf8(bytes);
}

function readUtf8(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw malformed("a text is not UTF-8");
  }
}

function malformed(what: string): SkaldError {
  return new SkaldError("BAD_CBOR", `The bytes are not one CBOR item that is taken: ${what}.`);
}
