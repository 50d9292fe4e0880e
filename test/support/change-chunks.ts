import { createHash } from "node:crypto";

/** A change chunk taken apart, so that a test can spoil one part and frame the rest again. */
export interface ChangeParts {
  deps: Uint8Array[];
  actor: Uint8Array;
  seq: number;
  startOp: number;
  time: Uint8Array;
  message: Uint8Array;
  others: Uint8Array[];
  columns: { spec: number; data: number[] }[];
  extra: Uint8Array;
}

export function concat(...parts: (Uint8Array | readonly number[])[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts.map((part) => Buffer.from(part))));
}

export function uleb(value: number): number[] {
  const out: number[] = [];
  for (let rest = value; ;) {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    if (rest === 0) return [...out, low];
    out.push(low | 128);
  }
}

export function sleb(value: number): number[] {
  const out: number[] = [];
  for (let rest = value; ;) {
    const low = ((rest % 128) + 128) % 128;
    rest = (rest - low) / 128;
    if ((rest === 0 && low < 64) || (rest === -1 && low >= 64)) return [...out, low];
    out.push(low | 128);
  }
}

/** Contents under a chunk header with a right checksum and length. */
export function frame(contents: Uint8Array, type = 1): Uint8Array {
  const body = concat([type], uleb(contents.length), contents);
  return concat([0x85, 0x6f, 0x4a, 0x83], createHash("sha256").update(body).digest().subarray(0, 4), body);
}

export function takeApart(chunk: Uint8Array): ChangeParts {
  let pos = 9;
  const number = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = chunk[pos++] as number;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  const bytes = (length: number): Uint8Array => chunk.slice(pos, (pos += length));
  const times = <T>(count: number, read: () => T): T[] => Array.from({ length: count }, read);
  number();
  const deps = times(number(), () => bytes(32));
  const actor = bytes(number());
  const seq = number();
  const startOp = number();
  const timeAt = pos;
  number();
  const time = chunk.slice(timeAt, pos);
  const message = bytes(number());
  const others = times(number(), () => bytes(number()));
  const specs = times(number(), () => ({ spec: number(), length: number() }));
  const columns = specs.map(({ spec, length }) => ({ spec, data: [...bytes(length)] }));
  return { deps, actor, seq, startOp, time, message, others, columns, extra: chunk.slice(pos) };
}

export function putTogether(parts: ChangeParts): Uint8Array {
  return frame(
    concat(
      uleb(parts.deps.length),
      ...parts.deps,
      uleb(parts.actor.length),
      parts.actor,
      uleb(parts.seq),
      uleb(parts.startOp),
      parts.time,
      uleb(parts.message.length),
      parts.message,
      uleb(parts.others.length),
      ...parts.others.flatMap((other) => [uleb(other.length), other]),
      uleb(parts.columns.length),
      ...parts.columns.flatMap(({ spec, data }) => [uleb(spec), uleb(data.length)]),
      ...parts.columns.map(({ data }) => data),
      parts.extra,
    ),
  );
}

/** `chunk` with one part spoilt, under a right checksum. */
export function spoil(chunk: Uint8Array, change: (parts: ChangeParts) => void): Uint8Array {
  const parts = takeApart(chunk);
  change(parts);
  return putTogether(parts);
}

/** A first change by `actor` (hex) with these columns. */
export function changeOf(
  columns: readonly (readonly [number, readonly number[]])[],
  startOp = 1,
): Uint8Array {
  return putTogether({
    deps: [],
    actor: new Uint8Array(16).fill(0x77),
    seq: 1,
    startOp,
    time: new Uint8Array([0]),
    message: new Uint8Array(),
    others: [],
    columns: columns.map(([spec, data]) => ({ spec, data: [...data] })),
    extra: new Uint8Array(),
  });
}
