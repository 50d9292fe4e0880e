/**
 * Writes JSON as bytes, from bytes: what is in a commit goes out without becoming a string in between.
 * 100,000 events cost a fifth of what `JSON.stringify` on objects costs.
 */
export class JsonBytes {
  #bytes: Buffer;
  #at = 0;
  #second = Number.NaN;
  readonly #time = Buffer.alloc(20);

  constructor(initial = 80 * 1024) {
    this.#bytes = Buffer.allocUnsafe(initial);
  }

  get length(): number {
    return this.#at;
  }

  /** Forgets what was written after this length. */
  cut(length: number): void {
    this.#at = length;
  }

  /** A copy of what was written; then starts over. */
  take(): Buffer {
    const taken = Buffer.from(this.#bytes.subarray(0, this.#at));
    this.#at = 0;
    return taken;
  }

  /** Text that needs no escapes and is ASCII. */
  ascii(text: string): void {
    this.#room(text.length);
    const bytes = this.#bytes;
    let at = this.#at;
    for (let i = 0; i < text.length; i += 1) bytes[at++] = text.charCodeAt(i);
    this.#at = at;
  }

  /** JSON text as it is. */
  text(json: string): void {
    this.#room(3 * json.length);
    this.#at += this.#bytes.write(json, this.#at);
  }

  raw(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  uint(value: number): void {
    this.#room(16);
    if (value < 10) {
      this.#bytes[this.#at++] = 0x30 + value;
      return;
    }
    let size = 1;
    for (let v = value; v >= 10; v = Math.floor(v / 10)) size += 1;
    let v = value;
    for (let at = this.#at + size - 1; at >= this.#at; at -= 1) {
      const rest = Math.floor(v / 10);
      this.#bytes[at] = 0x30 + (v - 10 * rest);
      v = rest;
    }
    this.#at += size;
  }

  /** A string of these bytes of UTF-8, in quotes and escaped. */
  string(source: Uint8Array, from: number, to: number): void {
    this.#room(6 * (to - from) + 2);
    const bytes = this.#bytes;
    let at = this.#at;
    bytes[at++] = QUOTE;
    for (let i = from; i < to; i += 1) {
      const code = source[i] as number;
      if (code >= 0x20 && code !== QUOTE && code !== BACKSLASH) bytes[at++] = code;
      else {
        for (const char of escaped(code)) bytes[at++] = char.charCodeAt(0);
      }
    }
    bytes[at++] = QUOTE;
    this.#at = at;
  }

  /** Bytes in lower-case hex, in quotes. */
  hex(source: Uint8Array, from: number, length: number): void {
    this.#room(2 * length + 2);
    const bytes = this.#bytes;
    let at = this.#at;
    bytes[at++] = QUOTE;
    for (let i = from; i < from + length; i += 1) {
      const byte = source[i] as number;
      bytes[at++] = HEX[byte >> 4] as number;
      bytes[at++] = HEX[byte & 15] as number;
    }
    bytes[at++] = QUOTE;
    this.#at = at;
  }

  /** Bytes in base64 with padding, in quotes. */
  base64(source: Uint8Array): void {
    const { length } = source;
    this.#room(Math.ceil(length / 3) * 4 + 2);
    const bytes = this.#bytes;
    let at = this.#at;
    bytes[at++] = QUOTE;
    if (length > 512) {
      at += bytes.write(
        Buffer.from(source.buffer, source.byteOffset, length).toString("base64"),
        at,
        "latin1",
      );
    } else {
      let i = 0;
      for (; i + 2 < length; i += 3) {
        const three =
          ((source[i] as number) << 16) | ((source[i + 1] as number) << 8) | (source[i + 2] as number);
        bytes[at++] = BASE64[three >> 18] as number;
        bytes[at++] = BASE64[(three >> 12) & 63] as number;
        bytes[at++] = BASE64[(three >> 6) & 63] as number;
        bytes[at++] = BASE64[three & 63] as number;
      }
      if (i < length) {
        const two = ((source[i] as number) << 16) | ((source[i + 1] ?? 0) << 8);
        bytes[at++] = BASE64[two >> 18] as number;
        bytes[at++] = BASE64[(two >> 12) & 63] as number;
        bytes[at++] = i + 1 < length ? (BASE64[(two >> 6) & 63] as number) : PAD;
        bytes[at++] = PAD;
      }
    }
    bytes[at++] = QUOTE;
    this.#at = at;
  }

  /** A commit's address as `cidToString` gives it, from its digest, in quotes. */
  commitAddress(digest: Uint8Array, from: number): void {
    this.#room(64);
    const bytes = this.#bytes;
    let at = this.#at;
    bytes[at++] = QUOTE;
    // The same for all: multibase, version, codec and hash function take 31 of the first 35 bits.
    for (let i = 0; i < ADDRESS_START.length; i += 1) bytes[at++] = ADDRESS_START.charCodeAt(i);
    let bits = 2;
    let held = 0;
    for (let i = 0; i < 32; i += 1) {
      held = ((held << 8) | (digest[from + i] as number)) & 0xfff;
      bits += 8;
      while (bits >= 5) {
        bits -= 5;
        bytes[at++] = BASE32[(held >> bits) & 31] as number;
      }
    }
    if (bits > 0) bytes[at++] = BASE32[(held << (5 - bits)) & 31] as number;
    bytes[at++] = QUOTE;
    this.#at = at;
  }

  /** A time as `toISOString` gives it, in quotes. */
  time(ms: number): void {
    const second = Math.floor(ms / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#time.write(new Date(second * 1000).toISOString().slice(0, 20), "latin1");
    }
    // Years beyond 9999 have a sign and two digits more.
    if (ms >= YEAR_10000) {
      this.ascii(JSON.stringify(new Date(ms).toISOString()));
      return;
    }
    this.#room(26);
    const bytes = this.#bytes;
    let at = this.#at;
    bytes[at++] = QUOTE;
    for (let i = 0; i < 20; i += 1) bytes[at++] = this.#time[i] as number;
    const rest = ms - second * 1000;
    bytes[at++] = 0x30 + Math.floor(rest / 100);
    bytes[at++] = 0x30 + (Math.floor(rest / 10) % 10);
    bytes[at++] = 0x30 + (rest % 10);
    bytes[at++] = 0x5a;
    bytes[at++] = QUOTE;
    this.#at = at;
  }

  #room(more: number): void {
    const needed = this.#at + more;
    if (needed <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(needed, this.#bytes.length * 2));
    grown.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = grown;
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const PAD = 0x3d;
const YEAR_10000 = Date.UTC(10_000, 0);
const HEX = Buffer.from("0123456789abcdef");
const BASE64 = Buffer.from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
const BASE32 = Buffer.from("abcdefghijklmnopqrstuvwxyz234567");
/** `b`, and the six letters of the bytes 01 71 1e 20 as far as they do not reach into the digest. */
const ADDRESS_START = "bafyr4i";

function escaped(code: number): string {
  return JSON.stringify(String.fromCharCode(code)).slice(1, -1);
}
