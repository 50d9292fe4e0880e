import { deflateRawSync } from "node:zlib";
import * as A from "@automerge/automerge";
import { LIMITS } from "../../src/limits.ts";
import { readChange } from "../../src/log/change.ts";
import { guardSavedDocument } from "../../src/log/saved-document.ts";
import { changeOf, concat, frame, sleb, spoil, uleb } from "../support/change-chunks.ts";
import { lastChange } from "../support/change-mutations.ts";
import type { ProbeSpec } from "./probe.ts";

type Column = readonly [number, readonly number[]];

const ONE_SET: readonly Column[] = [
  [0x15, [0x7f, 1, 0x61]],
  [0x34, [1]],
  [0x42, [0x7f, 1]],
  [0x56, [0x7f, 0x14]],
  [0x57, [1]],
  [0x70, [0x7f, 0]],
];
const ACTOR = "77".repeat(16);

/** What the guard says: "ok", or the code when it is this limit that it names. */
function guard(bytes: Uint8Array, limit: string, read: (bytes: Uint8Array) => unknown = readChange): string {
  try {
    read(bytes);
    return "ok";
  } catch (error) {
    const { code, details } = error as { code: string; details: Record<string, unknown> };
    if (details["limit"] === limit || details["reason"] === limit) return code;
    throw new Error(`${code} ${JSON.stringify(details)} instead of ${limit}`, { cause: error });
  }
}

/** A change whose chunk is `size` bytes: one value of bytes. */
function changeOfSize(size: number): Uint8Array {
  const made = (length: number): Uint8Array => {
    const columns: [number, Uint8Array | readonly number[]][] = ONE_SET.map(([spec, data]) => [spec, data]);
    columns[3] = [0x56, [0x7f, ...uleb(length * 16 + 7)]];
    columns[4] = [0x57, new Uint8Array(length)];
    return frame(
      concat(
        [0, 16],
        new Uint8Array(16).fill(0x77),
        [1, 1, 0, 0, 0],
        uleb(columns.length),
        ...columns.map(([spec, data]) => [...uleb(spec), ...uleb(data.length)]),
        ...columns.map(([, data]) => data),
      ),
    );
  };
  const guess = size - 100;
  const length = guess + (size - made(guess).length);
  const bytes = made(length);
  if (bytes.length !== size) throw new Error(`made ${bytes.length} bytes instead of ${size}`);
  return bytes;
}

/** The same change deflated. */
function deflated(chunk: Uint8Array): Uint8Array {
  let at = 9;
  while ((chunk[at++] as number) >= 128);
  const packed = deflateRawSync(chunk.subarray(at), { level: 1 });
  return concat(chunk.subarray(0, 8), [2], uleb(packed.length), packed);
}

/** A list of `items` values, each with these columns' value. */
function list(items: number, meta: number, raw: number[]): Uint8Array {
  const n = items;
  return changeOf([
    [0x01, [0, 1, ...sleb(n), 0]],
    [0x02, [0, 1, ...sleb(n), 1]],
    [0x11, [0, 2, ...sleb(n - 1), 0]],
    [0x13, [0, 1, 0x7e, 0, 2, ...sleb(n - 2), 1]],
    [0x15, [0x7f, 1, 0x6c, 0, ...uleb(n)]],
    [0x34, [1, ...uleb(n)]],
    [0x42, [0x7f, 2, ...sleb(n), 1]],
    [0x56, meta === 0 ? [...sleb(n + 1), 0] : [0x7f, 0, ...sleb(n), meta]],
    ...(raw.length > 0 ? [[0x57, raw] as const] : []),
    [0x70, [...sleb(n + 1), 0]],
  ]);
}

const withKey = (key: readonly number[]): Column[] => [
  [0x15, [0x7f, ...uleb(key.length), ...key]],
  ...ONE_SET.slice(1),
];
const plain = changeOf(ONE_SET);
const hash = (n: number, size: number): Uint8Array => {
  const bytes = new Uint8Array(size);
  new DataView(bytes.buffer).setUint32(0, n);
  return bytes;
};

export const changeProbes: Readonly<Record<string, ProbeSpec>> = {
  changeBytes: { run: (n) => guard(changeOfSize(n), "changeBytes") },
  inflatedBytes: { run: (n) => guard(deflated(changeOfSize(n)), "inflatedBytes") },
  ops: { run: (n) => guard(list(n - 1, 0x14, [...Buffer.alloc(n - 1, 1)]), "ops") },
  bareOps: { run: (n) => guard(list(n - 1, 0, []), "bareOps") },
  preds: {
    run: (n) =>
      guard(changeOf([...withPreds(n), [0x71, [...sleb(n), 0]], [0x73, [...sleb(n), 1]]], n + 1), "preds"),
  },
  deps: {
    run: (n) =>
      guard(
        spoil(plain, (p) => (p.deps = hashes(n, 32))),
        "deps",
      ),
    cheap: true,
  },
  otherActors: {
    run: (n) => {
      const names = Array.from({ length: n }, (_, i) => uleb(i + 1)).flat();
      const change = changeOf(
        [...withPreds(n), [0x71, [...sleb(-n), ...names]], [0x73, [0x7f, 1, ...sleb(n - 1), 0]]],
        2,
      );
      return guard(
        spoil(change, (p) => (p.others = hashes(n, 16))),
        "otherActors",
      );
    },
  },
  actorBytesMin: {
    least: true,
    cheap: true,
    run: (n) =>
      guard(
        spoil(plain, (p) => (p.actor = new Uint8Array(n))),
        "actor-length",
      ),
  },
  actorBytesMax: {
    cheap: true,
    run: (n) =>
      guard(
        spoil(plain, (p) => (p.actor = new Uint8Array(n))),
        "actor-length",
      ),
  },
  messageBytes: {
    cheap: true,
    run: (n) =>
      guard(
        spoil(plain, (p) => (p.message = new Uint8Array(n).fill(0x61))),
        "messageBytes",
      ),
  },
  keyBytes: {
    cheap: true,
    run: (n) => guard(changeOf(withKey([...Buffer.alloc(n, 0x61)])), "keyBytes"),
  },
  depth: {
    cheap: true,
    run: (n) => {
      let value: Record<string, unknown> = {};
      for (let i = 1; i < n; i++) value = { a: value };
      return guard(lastChange(A.from({ top: value }, { actor: ACTOR })), "depth");
    },
  },
  maxOp: { cheap: true, run: (n) => guard(changeOf(ONE_SET, n), "maxOp") },
  maxSeq: {
    cheap: true,
    run: (n) =>
      guard(
        spoil(plain, (p) => (p.seq = n)),
        "maxSeq",
      ),
  },
};

/** Sorted, and none twice. */
function hashes(count: number, size: number): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => hash(i + 1, size));
}

/** One deletion that replaces `n` operations. */
function withPreds(n: number): Column[] {
  return [
    [0x15, [0x7f, 1, 0x61]],
    [0x34, [1]],
    [0x42, [0x7f, 3]],
    [0x56, [0x7f, 0]],
    [0x70, [0x7f, ...uleb(n)]],
  ];
}

/** A document chunk with these actors, heads and columns. */
function documentOf(
  parts: { actors?: number; heads?: number },
  changes: readonly (readonly [number, readonly number[]])[],
  ops: readonly (readonly [number, readonly number[]])[],
): Uint8Array {
  const specs = (columns: readonly (readonly [number, readonly number[]])[]): number[] => [
    ...uleb(columns.length),
    ...columns.flatMap(([spec, data]) => [...uleb(spec), ...uleb(data.length)]),
  ];
  return frame(
    concat(
      uleb(parts.actors ?? 0),
      Buffer.concat(hashes(parts.actors ?? 0, 16).map((actor) => concat([16], actor))),
      uleb(parts.heads ?? 0),
      ...hashes(parts.heads ?? 0, 32),
      specs(changes),
      specs(ops),
      ...[...changes, ...ops].map(([, data]) => data),
      ...Array.from({ length: parts.heads ?? 0 }, (_, i) => uleb(i)),
    ),
    0,
  );
}

const saved = (bytes: Uint8Array, limit: string): string => guard(bytes, limit, guardSavedDocument);
const EIGHT = LIMITS.change.changeBytes.value;

/** Changes of `size` bytes together, none larger than one may be. */
function changesOfSize(size: number, form: (change: Uint8Array) => Uint8Array): Uint8Array {
  const whole = Math.floor((size - 1000) / EIGHT);
  const full = form(changeOfSize(EIGHT));
  const rest = size - whole * EIGHT;
  return concat(
    ...Array.from({ length: whole }, () => full),
    ...(rest > EIGHT
      ? [form(changeOfSize(1000)), form(changeOfSize(rest - 1000))]
      : [form(changeOfSize(rest))]),
  );
}

export const savedProbes: Readonly<Record<string, ProbeSpec>> = {
  fileBytes: {
    run: (n) =>
      saved(
        changesOfSize(n, (change) => change),
        "fileBytes",
      ),
  },
  inflatedBytes: { run: (n) => saved(changesOfSize(n, deflated), "inflatedBytes") },
  ops: {
    cheap: true,
    run: (n) => saved(documentOf({}, [[0x01, [0x7f, 0]]], [[0x42, [...sleb(n), 1]]]), "ops"),
  },
  changes: {
    cheap: true,
    run: (n) => saved(documentOf({}, [[0x01, [...sleb(n), 0]]], []), "changes"),
  },
  references: {
    cheap: true,
    run: (n) => {
      const columns: Column[] = [
        [0x42, [0x7f, 1]],
        [0x80, [0x7f, ...uleb(n)]],
        [0x81, [...sleb(n), 0]],
        [0x83, [...sleb(n), 1]],
      ];
      return saved(documentOf({}, [], columns), "references");
    },
  },
  actors: { run: (n) => saved(documentOf({ actors: n }, [], []), "actors") },
  heads: { cheap: true, run: (n) => saved(documentOf({ heads: n }, [[0x01, [...sleb(n), 0]]], []), "heads") },
};
