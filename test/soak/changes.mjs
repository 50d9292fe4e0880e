import { createHash } from "node:crypto";
import { genesisOf } from "../../dist/log/genesis.js";

/** Automerge changes made without Automerge, so that a soak can make thousands a second of them. */
const sha = (bytes) => createHash("sha256").update(bytes).digest();

function uleb(value) {
  const out = [];
  for (let rest = value; ;) {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    if (rest === 0) return [...out, low];
    out.push(low | 128);
  }
}

/** One change that sets `key` (below 64 bytes) of the root to `text`, of one letter or more. Gives `{bytes, hash}`. */
export function makeChange({ deps, actor, seq, startOp, key, text }) {
  const name = Buffer.from(key);
  const value = Buffer.from(text);
  const columns = [
    [0x15, [0x7f, name.length, ...name]],
    [0x34, [0x01]],
    [0x42, [0x7f, 0x01]],
    [0x56, [0x7f, ...uleb((value.length << 4) | 6)]],
    [0x57, [...value]],
    [0x70, [0x7f, 0x00]],
  ];
  return framed(
    Buffer.from([
      ...uleb(deps.length),
      ...Buffer.from(deps.toSorted().join(""), "hex"),
      ...uleb(actor.length / 2),
      ...Buffer.from(actor, "hex"),
      ...uleb(seq),
      ...uleb(startOp),
      0,
      0,
      0,
      columns.length,
      ...columns.flatMap(([spec, data]) => [spec, ...uleb(data.length)]),
      ...columns.flatMap(([, data]) => data),
    ]),
  );
}

function framed(contents) {
  const body = Buffer.concat([Buffer.from([1, ...uleb(contents.length)]), contents]);
  const hash = sha(body);
  return {
    bytes: Buffer.concat([Buffer.from([0x85, 0x6f, 0x4a, 0x83]), hash.subarray(0, 4), body]),
    hash: hash.toString("hex"),
  };
}

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
  if (chance(0.9)) sha(out.subarray(8)).copy(out, 4, 0, 4);
  return chance(0.05) ? out.subarray(0, 1 + below(out.length - 1)) : out;
}

/** One writer's changes to one document, each on its own one before: concurrent with every other writer's. */
export class Chain {
  #actor;
  #head;
  #seq = 0;
  #waiting;

  constructor({ uid, doc, writer }) {
    this.#actor = sha(`${uid} ${doc} ${writer}`).subarray(0, 16).toString("hex");
    const slash = doc.indexOf("/");
    this.#head = genesisOf(Buffer.from(uid, "hex"), doc.slice(0, slash), doc.slice(slash + 1)).hash;
  }

  /** The next change: the same one until it was taken. */
  next(key, text) {
    if (this.#waiting) return this.#waiting;
    this.#waiting = makeChange({
      deps: [this.#head],
      actor: this.#actor,
      seq: this.#seq + 1,
      startOp: this.#seq + 1,
      key,
      text,
    });
    return this.#waiting;
  }

  taken() {
    this.#seq += 1;
    this.#head = this.#waiting.hash;
    this.#waiting = undefined;
  }
}
