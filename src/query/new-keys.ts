/**
 * Keys for rows that come without one: 26 characters of Crockford's base 32, the first ten of which are the time in
 * milliseconds, as in a ULID (github.com/ulid/spec). Those of one statement count up from the first, so they sort in
 * the order in which they were made. Clock and randomness come with the job: the same job makes the same keys.
 */
export class NewKeys {
  readonly #time: string;
  #number: bigint;

  /** `now` in milliseconds since 1970, `random` 10 bytes. */
  constructor(now: number, random: Uint8Array) {
    this.#time = base32(BigInt(now), 10);
    // The highest bit stays free, so that counting up never runs over.
    this.#number = random.slice(0, 10).reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n) >> 1n;
  }

  next(): string {
    const key = this.#time + base32(this.#number, 16);
    this.#number += 1n;
    return key;
  }
}

const LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

function base32(number: bigint, letters: number): string {
  let text = "";
  for (let left = number; text.length < letters; left >>= 5n)
    text = (LETTERS[Number(left & 31n)] as string) + text;
  return text;
}
