import { createHash } from "node:crypto";

/** An Automerge change that sets one key of the root to a number below 64, made without Automerge. */
export interface PlainChange {
  readonly hash: string;
  readonly bytes: Uint8Array;
}

export function setChange(parts: {
  readonly deps: readonly string[];
  /** 16 bytes in hex. */
  readonly actor: string;
  readonly seq: number;
  readonly startOp: number;
  /** Fewer than 64 bytes. */
  readonly key: string;
  readonly value: number;
}): PlainChange {
  const { deps, actor, seq, startOp, key, value } = parts;
  const name = Buffer.from(key);
  const columns: [number, number[]][] = [
    [0x15, [0x7f, name.length, ...name]],
    [0x34, [0x01]],
    [0x42, [0x7f, 0x01]],
    [0x56, [0x7f, (1 << 4) | 4]],
    [0x57, [value]],
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
  const hash = createHash("sha256").update(body).digest();
  const bytes = Buffer.concat([Buffer.from([0x85, 0x6f, 0x4a, 0x83]), hash.subarray(0, 4), body]);
  return { hash: hash.toString("hex"), bytes: new Uint8Array(bytes) };
}

function uleb(value: number): number[] {
  const out: number[] = [];
  for (let rest = value; ;) {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    if (rest === 0) return [...out, low];
    out.push(low | 128);
  }
}
