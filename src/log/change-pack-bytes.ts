/** Bytes that grow at their end. `view` shares memory until the next write. */
export class PackBytes {
  bytes: Buffer;
  length = 0;

  constructor(size = 256) {
    this.bytes = Buffer.allocUnsafe(size);
  }

  /** Makes room for `more` bytes at the end. */
  reserve(more: number): void {
    if (this.length + more <= this.bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(2 * this.bytes.length, this.length + more));
    larger.set(this.bytes.subarray(0, this.length));
    this.bytes = larger;
  }

  byte(value: number): void {
    if (this.length === this.bytes.length) this.reserve(1);
    this.bytes[this.length++] = value;
  }

  /** Unsigned leb128 of a number up to 2^53 - 1. */
  uint(value: number): void {
    if (this.length + 8 > this.bytes.length) this.reserve(8);
    const bytes = this.bytes;
    let pos = this.length;
    let rest = value;
    while (rest >= 0x80) {
      bytes[pos++] = (rest % 0x80) + 0x80;
      rest = rest < 0x80000000 ? rest >>> 7 : Math.floor(rest / 0x80);
    }
    bytes[pos++] = rest;
    this.length = pos;
  }

  /** Signed leb128 of a number between -2^53 and 2^53. */
  int(value: number): void {
    if (this.length + 8 > this.bytes.length) this.reserve(8);
    const bytes = this.bytes;
    let pos = this.length;
    let rest = value;
    while (rest < -0x40 || rest >= 0x40) {
      const low = ((rest % 0x80) + 0x80) % 0x80;
      bytes[pos++] = low + 0x80;
      rest = (rest - low) / 0x80;
    }
    bytes[pos++] = rest & 0x7f;
    this.length = pos;
  }

  copy(from: Uint8Array, start: number, end: number): void {
    const count = end - start;
    this.reserve(count);
    if (count < 24) {
      const bytes = this.bytes;
      const at = this.length;
      for (let i = 0; i < count; i++) bytes[at + i] = from[start + i] as number;
    } else this.bytes.set(from.subarray(start, end), this.length);
    this.length += count;
  }

  /** A string of one byte a character. */
  latin1(text: string): void {
    const count = text.length;
    this.reserve(count);
    this.bytes.write(text, this.length, count, "latin1");
    this.length += count;
  }

  /** A string in UTF-8. */
  text(text: string): void {
    const count = text.length;
    this.reserve(3 * count);
    // Most are short ASCII, for which the call into the runtime takes longer: written again when it was not.
    if (count < 48) {
      const { bytes } = this;
      let at = this.length;
      let i = 0;
      for (; i < count; i++) {
        const code = text.charCodeAt(i);
        if (code > 0x7f) break;
        bytes[at++] = code;
      }
      if (i === count) {
        this.length = at;
        return;
      }
    }
    this.length += this.bytes.write(text, this.length, "utf8");
  }

  /** The same behind the number of its bytes. */
  utf8(text: string): void {
    const start = this.length;
    const { length } = text;
    this.uint(length);
    const from = this.length;
    this.text(text);
    const bytes = this.length - from;
    if (bytes === length) return;
    this.length = start;
    this.uint(bytes);
    this.text(text);
  }

  /** Bytes in hex. */
  hex(text: string): void {
    const count = text.length / 2;
    this.reserve(count);
    this.bytes.write(text, this.length, count, "hex");
    this.length += count;
  }

  view(): Buffer {
    return this.bytes.subarray(0, this.length);
  }
}
