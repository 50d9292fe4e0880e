import { createHash } from "node:crypto";

function uleb(value) {
  const out = [];
  for (let rest = value; ;) {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    if (rest === 0) return [...out, low];
    out.push(low | 128);
  }
}

export const sha256 = (bytes) => createHash("sha256").update(bytes).digest();

/**
 * An Automerge change that sets one key of the root to a text or, without one, to a number below 64, made
 * without Automerge: starting that takes longer than a whole cycle of the tests. `key` has fewer than 64
 * bytes. Gives `{ bytes, hash }`.
 */
export function setChange({ deps, actor, seq, startOp, key, value = 0, text = "" }) {
  const name = Buffer.from(key);
  const string = Buffer.from(text);
  const [kind, data] =
    string.length > 0 ? [uleb((string.length << 4) | 6), [...string]] : [uleb((1 << 4) | 4), [value]];
  const columns = [
    [0x15, [0x7f, name.length, ...name]],
    [0x34, [0x01]],
    [0x42, [0x7f, 0x01]],
    [0x56, [0x7f, ...kind]],
    [0x57, data],
    [0x70, [0x7f, 0x00]],
  ];
  const contents = Buffer.from([
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
    ...columns.flatMap(([spec, bytes]) => [spec, ...uleb(bytes.length)]),
    ...columns.flatMap(([, bytes]) => bytes),
  ]);
  const body = Buffer.concat([Buffer.from([1, ...uleb(contents.length)]), contents]);
  const hash = sha256(body);
  const bytes = Buffer.concat([Buffer.from([0x85, 0x6f, 0x4a, 0x83]), hash.subarray(0, 4), body]);
  return { bytes: new Uint8Array(bytes), hash: hash.toString("hex") };
}

/** The bytes alone; `pad` is the length of a text to write in the place of `value`, 0 for none. */
export const plainChange = ({ pad, ...change }) => setChange({ ...change, text: "x".repeat(pad) }).bytes;
