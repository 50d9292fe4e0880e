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
 * An Automerge change that sets one key of the root to a number below 64, made without Automerge: starting
 * that takes longer than a whole cycle of the tests. `key` has fewer than 64 bytes.
 */
export function plainChange({ deps, actor, seq, startOp, key, value, pad }) {
  const name = Buffer.from(key);
  const text = Buffer.from("x".repeat(pad));
  const string = pad > 0;
  const columns = [
    [0x15, [0x7f, name.length, ...name]],
    [0x34, [0x01]],
    [0x42, [0x7f, 0x01]],
    [0x56, [0x7f, ...uleb(string ? (text.length << 4) | 6 : (1 << 4) | 4)]],
    [0x57, string ? [...text] : [value]],
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
    ...columns.flatMap(([spec, data]) => [spec, ...uleb(data.length)]),
    ...columns.flatMap(([, data]) => data),
  ]);
  const body = Buffer.concat([Buffer.from([1, ...uleb(contents.length)]), contents]);
  return new Uint8Array(
    Buffer.concat([Buffer.from([0x85, 0x6f, 0x4a, 0x83]), sha256(body).subarray(0, 4), body]),
  );
}
