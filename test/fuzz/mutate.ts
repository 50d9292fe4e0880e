import { concat, uleb } from "../support/change-chunks.ts";
import type { Random } from "./harness.ts";

const BYTES = [0, 1, 2, 0x17, 0x18, 0x1b, 0x3f, 0x40, 0x5b, 0x7f, 0x80, 0x9b, 0xbb, 0xc0, 0xf5, 0xfe, 0xff];
const NUMBERS = [0, 1, 127, 128, 255, 65_536, 2 ** 31, 2 ** 32 - 1, 2 ** 42, 2 ** 53 - 1];

/** `bytes` with one to four things done to them. `others` lends its parts. */
export function spoilt(bytes: Uint8Array, random: Random, others: readonly Uint8Array[]): Uint8Array {
  let out = Uint8Array.from(bytes);
  for (let i = 1 + random.below(random.chance(0.3) ? 4 : 1); i > 0; i -= 1) out = once(out, random, others);
  return out;
}

function once(bytes: Uint8Array, random: Random, others: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const at = random.below(bytes.length + 1);
  const length = 1 + random.below(random.chance(0.5) ? 4 : 40);
  const cut = (from: number, to: number, ...into: (Uint8Array | readonly number[])[]) =>
    Uint8Array.from(concat(bytes.subarray(0, from), ...into, bytes.subarray(to)));
  switch (random.below(10)) {
    case 0:
      return cut(at, at + 1, [(bytes[at] ?? 0) ^ (1 << random.below(8))]);
    case 1:
      return cut(at, at + 1, [random.pick(BYTES)]);
    case 2:
      return cut(at, at + 1, [((bytes[at] ?? 0) + (random.chance(0.5) ? 1 : 255)) & 255]);
    case 3:
      return cut(at, at, random.bytes(length));
    case 4:
      return cut(at, at + length);
    case 5:
      return cut(at, bytes.length);
    case 6:
      return cut(at, at, bytes.subarray(at, at + length));
    case 7:
      return cut(at, at + (random.chance(0.5) ? 1 : 0), uleb(random.pick(NUMBERS)));
    case 8:
      // The same number in more bytes than it needs.
      return cut(at, at + 1, [(bytes[at] ?? 0) | 0x80, 0]);
    default: {
      const other = others.length > 0 ? random.pick(others) : bytes;
      const from = random.below(other.length);
      return cut(at, at + (random.chance(0.5) ? length : 0), other.subarray(from, from + length));
    }
  }
}

const TEXTS = [
  "",
  "/",
  "//",
  "..",
  ".",
  "~",
  "~0",
  "~2",
  "-",
  "0",
  "00",
  "01",
  "9007199254740993",
  "1e400",
  "-0",
  "%2e",
  "%00",
  "%",
  "\0",
  "\n",
  "\u007f",
  "\u0085",
  "é",
  "😀",
  "\ud800",
  "\udc00",
  "\ufeff",
  "__proto__",
  "constructor",
  "toString",
  " ",
  "+",
  "=",
  '"',
  "\\",
  "\\u0000",
  "\\ud83d",
  "[",
  "]",
  "{",
  "}",
  ",",
  ":",
  "null",
  "A",
  "z",
  "_",
];

/** `text` with one to four things done to it. */
export function spoiltText(text: string, random: Random, others: readonly string[]): string {
  let out = text;
  for (let i = 1 + random.below(random.chance(0.3) ? 4 : 1); i > 0; i -= 1) {
    const at = random.below(out.length + 1);
    const length = 1 + random.below(random.chance(0.6) ? 3 : 30);
    const cut = (to: number, into: string): string => out.slice(0, at) + into + out.slice(to);
    switch (random.below(8)) {
      case 0:
        out = cut(at, random.pick(TEXTS));
        break;
      case 1:
        out = cut(at + 1, random.pick(TEXTS));
        break;
      case 2:
        out = cut(at + length, "");
        break;
      case 3:
        out = cut(out.length, "");
        break;
      case 4:
        out = cut(at, out.slice(at, at + length));
        break;
      case 5:
        out = cut(at + 1, String.fromCharCode(random.chance(0.8) ? random.below(128) : random.below(65_536)));
        break;
      case 6:
        out = cut(at, random.pick(TEXTS).repeat(1 + random.below(random.chance(0.05) ? 600 : 8)));
        break;
      default: {
        const other = random.pick(others);
        const from = random.below(other.length + 1);
        out = cut(random.chance(0.5) ? at + length : at, other.slice(from, from + length));
      }
    }
  }
  return out;
}
