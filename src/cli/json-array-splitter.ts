import { CliError } from "./failure.ts";

/**
 * Cuts a JSON array into the texts of its elements while it is read, so that memory follows the
 * largest element. Only finds where elements begin and end: whether each is JSON is for its reader.
 * Works on bytes, since the bytes it looks for never occur inside another character of UTF-8; so a
 * character cut between two chunks needs no care.
 *
 * Throws BAD_JSON when the whole is no array, TOO_LARGE for an element above `maxBytes`; both name the
 * element, counted from 0.
 */
export async function* splitJsonArray(
  chunks: AsyncIterable<Uint8Array>,
  maxBytes: number,
): AsyncGenerator<Buffer> {
  const splitter = new Splitter(maxBytes);
  for await (const chunk of chunks) yield* splitter.take(chunk);
  splitter.end();
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;

class Splitter {
  readonly #maxBytes: number;
  /** What may come next. `first` is the place before any element, where the array may also end. */
  #at: "before" | "first" | "element" | "inside" | "after" = "before";
  #depth = 0;
  #inString = false;
  #escaped = false;
  #parts: Uint8Array[] = [];
  #size = 0;
  #index = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  *take(chunk: Uint8Array): Generator<Buffer> {
    let start = 0;
    for (let i = 0; i < chunk.length; i += 1) {
      const byte = chunk[i] as number;
      if (this.#at === "inside") {
        if (!this.#endsAt(byte)) continue;
        this.#keep(chunk, start, i);
        yield this.#element();
        this.#at = byte === COMMA ? "element" : "after";
        continue;
      }
      if (isSpace(byte)) continue;
      if (this.#at === "before") {
        if (byte !== 0x5b) throw this.#bad("no array begins there");
        this.#at = "first";
      } else if (this.#at === "after") {
        throw this.#bad("something follows the array");
      } else if (byte === 0x5d && this.#at === "first") {
        this.#at = "after";
      } else if (byte === COMMA || byte === 0x5d || byte === 0x7d) {
        throw this.#bad("an element is missing");
      } else {
        this.#at = "inside";
        start = i;
        this.#endsAt(byte);
      }
    }
    if (this.#at === "inside") this.#keep(chunk, start, chunk.length);
  }

  end(): void {
    if (this.#at !== "after") throw this.#bad("the text ends within it");
  }

  /** Moves on by one byte of an element; true when the byte is the first after it. */
  #endsAt(byte: number): boolean {
    if (this.#inString) {
      if (this.#escaped) this.#escaped = false;
      else if (byte === BACKSLASH) this.#escaped = true;
      else if (byte === QUOTE) this.#inString = false;
      return false;
    }
    if (byte === QUOTE) this.#inString = true;
    else if (byte === 0x5b || byte === 0x7b) this.#depth += 1;
    else if (byte === 0x5d || byte === 0x7d) {
      if (this.#depth === 0) {
        if (byte === 0x7d) throw this.#bad("a brace closes nothing");
        return true;
      }
      this.#depth -= 1;
    } else if (byte === COMMA && this.#depth === 0) return true;
    return false;
  }

  #keep(chunk: Uint8Array, from: number, to: number): void {
    this.#size += to - from;
    if (this.#size > this.#maxBytes) {
      throw new CliError("TOO_LARGE", `Element ${this.#index} has more than ${this.#maxBytes} bytes.`);
    }
    if (to > from) this.#parts.push(chunk.subarray(from, to));
  }

  #element(): Buffer {
    const bytes = Buffer.concat(this.#parts);
    this.#parts = [];
    this.#size = 0;
    this.#index += 1;
    return bytes;
  }

  #bad(why: string): CliError {
    return new CliError("BAD_JSON", `Not a JSON array, at element ${this.#index}: ${why}.`);
  }
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}
