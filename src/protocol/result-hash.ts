import { portableHash } from "../ids/portable-ids.ts";
import { itemTexts } from "./json-source.ts";

/** As `query/result-hash.ts` begins what it hashes. */
const FORMAT = "skald result 1";

const utf8 = new TextEncoder();

/**
 * The `result_hash` of a result, worked out from the texts of its rows as a watch writes them, without Node: whoever
 * applies deltas can see that it has what the server has. Defined in specs/25-query.md; the same vectors hold it
 * that hold the server's.
 */
export function hashOfRows(columns: readonly string[], rows: readonly string[]): string {
  const hash = portableHash();
  const out = new Bytes((full) => hash.update(full));
  out.text(FORMAT);
  out.head(0x80, columns.length);
  for (const column of columns) out.text(column);
  for (const row of rows) {
    const cells = itemTexts(row);
    out.head(0x80, cells.length);
    for (const cell of cells) cellInto(out, cell);
  }
  out.flush();
  return hash.digest();
}

function cellInto(out: Bytes, text: string): void {
  const first = text[0];
  if (first === '"') out.text(JSON.parse(text) as string);
  else if (first === "n") out.byte(0xf6);
  else if (first === "{")
    out.bytes(bytesOfBase64((JSON.parse(text) as { "/": { bytes: string } })["/"].bytes));
  else if (/[.eE]/.test(text)) out.float(Number(text));
  else if (text.length < 16) {
    const value = Number(text);
    if (value < 0) out.head(0x20, -1 - value);
    else out.head(0x00, value);
  } else {
    const value = BigInt(text);
    if (value < 0n) out.head(0x20, -1n - value);
    else out.head(0x00, value);
  }
}

/** Of base64, with padding or without. */
export function bytesOfBase64(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}

/** The few forms of CBOR that a result has, each in its shortest form (RFC 8949 section 4.2). */
class Bytes {
  readonly #full: (bytes: Uint8Array) => void;
  #bytes = new Uint8Array(8192);
  #length = 0;

  constructor(full: (bytes: Uint8Array) => void) {
    this.#full = full;
  }

  flush(): void {
    this.#full(this.#bytes.subarray(0, this.#length));
    this.#length = 0;
  }

  byte(value: number): void {
    if (this.#length === this.#bytes.length) this.flush();
    this.#bytes[this.#length++] = value;
  }

  head(major: number, size: number | bigint): void {
    if (size < 24) return this.byte(major | Number(size));
    const power = size < 0x1_00 ? 0 : size < 0x1_00_00 ? 1 : size < 0x1_00_00_00_00 ? 2 : 3;
    this.byte(major | (24 + power));
    for (let i = (1 << power) - 1; i >= 0; i -= 1) this.byte(Number((BigInt(size) >> BigInt(8 * i)) & 0xffn));
  }

  text(value: string): void {
    this.#string(0x60, utf8.encode(value));
  }

  bytes(value: Uint8Array): void {
    this.#string(0x40, value);
  }

  float(value: number): void {
    const bytes = new Uint8Array(8);
    // A zero's sign says nothing.
    new DataView(bytes.buffer).setFloat64(0, value === 0 ? 0 : value);
    this.byte(0xfb);
    this.#raw(bytes);
  }

  #string(major: number, value: Uint8Array): void {
    this.head(major, value.length);
    this.#raw(value);
  }

  #raw(value: Uint8Array): void {
    if (value.length > this.#bytes.length - this.#length) this.flush();
    if (value.length > this.#bytes.length) {
      this.#full(value);
      return;
    }
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
  }
}
