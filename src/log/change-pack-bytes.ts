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

  view(): Buffer {
    return this.bytes.subarray(0, this.length);
  }
}
