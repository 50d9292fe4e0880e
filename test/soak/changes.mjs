import { genesisOf } from "../../dist/log/genesis.js";
import { setChange, sha256 } from "../support/plain-change.mjs";

/** A change with some bytes of its contents altered and a checksum that fits again, or not. */
export function mutated(bytes, { below, chance }) {
  const out = Buffer.from(bytes);
  let at = 9;
  while (out[at] & 128) at += 1;
  at += 1;
  for (let i = 1 + below(3); i > 0; i -= 1) {
    const place = at + below(out.length - at);
    out[place] = chance(0.5) ? out[place] ^ (1 << below(8)) : below(256);
  }
  if (chance(0.9)) sha256(out.subarray(8)).copy(out, 4, 0, 4);
  return chance(0.05) ? out.subarray(0, 1 + below(out.length - 1)) : out;
}

/** One writer's changes to one document, each on its own one before: concurrent with every other writer's. */
export class Chain {
  #actor;
  #head;
  #seq = 0;
  #waiting;

  constructor({ uid, doc, writer }) {
    this.#actor = sha256(`${uid} ${doc} ${writer}`).subarray(0, 16).toString("hex");
    const slash = doc.indexOf("/");
    this.#head = genesisOf(Buffer.from(uid, "hex"), doc.slice(0, slash), doc.slice(slash + 1)).hash;
  }

  /** The next change: the same one until it was taken. */
  next(key, text) {
    if (this.#waiting) return this.#waiting;
    const { bytes, hash } = setChange({
      deps: [this.#head],
      actor: this.#actor,
      seq: this.#seq + 1,
      startOp: this.#seq + 1,
      key,
      text,
    });
    this.#waiting = { bytes: Buffer.from(bytes), hash };
    return this.#waiting;
  }

  taken() {
    this.#seq += 1;
    this.#head = this.#waiting.hash;
    this.#waiting = undefined;
  }
}
