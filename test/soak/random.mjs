/** Numbers from a seed (mulberry32). What each part of a soak does follows from the seed and its own name. */
export function seeded(seed, name = "") {
  let state = seed | 0;
  for (const letter of name) state = Math.imul(state ^ letter.charCodeAt(0), 0x01000193);
  const random = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    random,
    below: (n) => Math.floor(random() * n),
    between: (from, to) => from + random() * (to - from),
    pick: (list) => list[Math.floor(random() * list.length)],
    /** The first ones far more often than the last. */
    favoured: (list) => list[Math.floor(random() ** 3 * list.length)],
    chance: (share) => random() < share,
    text: (length) => Array.from({ length }, () => LETTERS[Math.floor(random() * LETTERS.length)]).join(""),
    bytes: (length) => Buffer.from(Array.from({ length }, () => Math.floor(random() * 256))),
  };
}

const LETTERS = "etaoin shrdlu cmfwyp vbgkqj xzéß漢😀".match(/./gu);

export const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
