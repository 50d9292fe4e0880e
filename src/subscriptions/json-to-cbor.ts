import { CborWriter } from "../ids/cbor.ts";

/**
 * Writes JSON text of ours as CBOR. Integers that JavaScript cannot hold come out exact as far as 64 bits go,
 * which is why the text is not parsed to values first. Maps keep the order of the text.
 */
export function jsonToCbor(w: CborWriter, json: string): void {
  new Reader(json, w).value();
}

class Reader {
  readonly #text: string;
  readonly #w: CborWriter;
  #at = 0;

  constructor(text: string, w: CborWriter) {
    this.#text = text;
    this.#w = w;
  }

  value(): void {
    this.#space();
    const char = this.#text[this.#at];
    if (char === "{") this.#group("}", true);
    else if (char === "[") this.#group("]", false);
    else if (char === '"') this.#w.text(this.#string());
    else this.#plain();
  }

  /** The number of items comes first in CBOR, so they are written aside. */
  #group(close: string, isMap: boolean): void {
    const inner = new Reader(this.#text, new CborWriter(256));
    inner.#at = this.#at + 1;
    let count = 0;
    for (inner.#space(); this.#text[inner.#at] !== close; inner.#space()) {
      if (count > 0) {
        inner.#at += 1;
        inner.#space();
      }
      if (isMap) {
        inner.#w.text(inner.#string());
        inner.#space();
        inner.#at += 1;
      }
      inner.value();
      count += 1;
    }
    this.#at = inner.#at + 1;
    if (isMap) this.#w.map(count);
    else this.#w.array(count);
    this.#w.raw(inner.#w.take());
  }

  #string(): string {
    const start = this.#at;
    for (this.#at += 1; this.#text[this.#at] !== '"'; this.#at += 1)
      if (this.#text[this.#at] === "\\") this.#at += 1;
    this.#at += 1;
    return JSON.parse(this.#text.slice(start, this.#at)) as string;
  }

  #plain(): void {
    const start = this.#at;
    while (this.#at < this.#text.length && !",]} \n\r\t".includes(this.#text[this.#at] as string))
      this.#at += 1;
    const word = this.#text.slice(start, this.#at);
    if (word === "null") this.#w.null();
    else if (word === "true" || word === "false") this.#w.bool(word === "true");
    else if (/^-?\d+$/.test(word) && word !== "-0") this.#integer(word);
    else this.#w.float(Number(word));
  }

  #integer(word: string): void {
    const value = Number(word);
    if (Number.isSafeInteger(value)) {
      this.#w.int(value);
      return;
    }
    const big = BigInt(word);
    const size = big < 0n ? -1n - big : big;
    if (size >= 2n ** 64n) {
      this.#w.float(value);
      return;
    }
    const nine = Buffer.alloc(9);
    nine[0] = big < 0n ? 0x3b : 0x1b;
    nine.writeBigUInt64BE(size, 1);
    this.#w.raw(nine);
  }

  #space(): void {
    while (" \n\r\t".includes(this.#text[this.#at] ?? "x")) this.#at += 1;
  }
}
