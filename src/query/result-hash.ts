import { CborWriter } from "../ids/cbor.ts";
import { blake3, toHex } from "../ids/hash.ts";

/**
 * A value as SQLite has it: an integer is a bigint, a real a number, a blob bytes. So 1 and 1.0, a text and the
 * blob of its bytes, stay apart.
 */
export type TypedValue = null | bigint | number | string | Uint8Array;

/** Stands first in what is hashed, so that a later way of hashing never gives the same for something else. */
const FORMAT = "skald result 1";

/**
 * The hash of a result: the first 32 bytes of blake3 over a CBOR sequence (RFC 8742) of the format's name, the
 * array of the columns' names, and an array for each row, in order. Integers, texts, byte strings and null are
 * written in their shortest form (RFC 8949 section 4.2), reals always as floats of 64 bits, and -0.0 as 0.0.
 * Defined in specs/25-query.md, pinned by fixtures/query/result-hash.json.
 */
export class ResultHash {
  readonly #out = new CborWriter(1024);

  constructor(columns: readonly string[]) {
    this.#out.text(FORMAT);
    this.#out.array(columns.length);
    for (const column of columns) this.#out.text(column);
  }

  row(values: readonly TypedValue[]): void {
    const out = this.#out;
    out.array(values.length);
    for (const value of values) {
      if (value === null) out.null();
      else if (typeof value === "string") out.text(value);
      else if (typeof value === "bigint") integer(out, value);
      // Zero has two forms and SQLite tells nobody which one it has.
      else if (typeof value === "number") out.float(value === 0 ? 0 : value);
      else out.bytes(value);
    }
  }

  /** 64 lower-case hex digits. */
  digest(): string {
    return toHex(blake3(this.#out.take()));
  }
}

const SAFE = BigInt(Number.MAX_SAFE_INTEGER);

function integer(out: CborWriter, value: bigint): void {
  if (value >= -SAFE && value <= SAFE) {
    out.int(Number(value));
    return;
  }
  const head = new Uint8Array(9);
  head[0] = value < 0n ? 0x3b : 0x1b;
  new DataView(head.buffer).setBigUint64(1, value < 0n ? -1n - value : value);
  out.raw(head);
}

/**
 * A row as a JSON array that keeps what the hash is over: integers have digits alone, however many; reals have a
 * point or an exponent, and the infinite ones are 9e999; a blob is `{"/":{"bytes":"<base64 without padding>"}}`.
 */
export function rowText(values: readonly TypedValue[]): string {
  let text = "[";
  for (let i = 0; i < values.length; i += 1) {
    if (i > 0) text += ",";
    text += valueText(values[i] as TypedValue);
  }
  return `${text}]`;
}

function valueText(value: TypedValue): string {
  if (value === null) return "null";
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "number") return realText(value);
  return `{"/":{"bytes":"${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64").replace(/=+$/, "")}"}}`;
}

function realText(value: number): string {
  if (value === Infinity) return "9e999";
  if (value === -Infinity) return "-9e999";
  const text = String(value);
  return /[.e]/.test(text) ? text : `${text}.0`;
}
