import { readFileSync } from "node:fs";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import * as A from "@automerge/automerge";
import { blake3 } from "../../src/ids/hash.ts";
import { PackBytes } from "../../src/log/change-pack-bytes.ts";
import { loadStreams, storeStreams } from "../../src/log/change-pack-streams.ts";
import { emptyValues, parseValues } from "../../src/log/change-pack-values.ts";
import { Names } from "../../src/log/change-pack-names.ts";
import { packChanges, unpackChanges } from "../../src/log/change-pack.ts";
import { readChange, readChanges, readTrustedHeader, type ChangeHeader } from "../../src/log/change.ts";
import { ByteReader, readFrame } from "../../src/log/chunk.ts";
import { guardSavedDocument, type SavedDocumentSize } from "../../src/log/saved-document.ts";
import { changeOf, concat, frame, sleb, uleb } from "../support/change-chunks.ts";
import { mutate, subjects } from "../support/change-mutations.ts";
import type { Random, Target } from "./harness.ts";
import { spoilt } from "./mutate.ts";

/** What Automerge wrote, or somebody who wants it to look so. */

const CODES = ["CHANGE_MALFORMED", "CHANGE_CHECKSUM", "CHANGE_TOO_LARGE"];
const all = subjects();
const golden = (name: string): { bytes?: string; packed?: string }[] =>
  JSON.parse(readFileSync(new URL(`../../fixtures/log/${name}.json`, import.meta.url), "utf8")) as [];
const changes = [
  ...all.map(({ change }) => change),
  ...golden("changes").map(({ bytes }) => Uint8Array.from(Buffer.from(bytes as string, "hex"))),
];
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

const contentsOf = (chunk: Uint8Array): Uint8Array => chunk.subarray(readFrame(chunk, 0).contents);

/** The chunk under type 2, with the checksum of its uncompressed form; `spoil` changes the deflated bytes. */
function deflated(
  chunk: Uint8Array,
  spoil: (bytes: Uint8Array) => Uint8Array = (bytes) => bytes,
): Uint8Array {
  const inner = spoil(deflateRawSync(contentsOf(chunk), { level: 1 }));
  return concat(chunk.subarray(0, 8), [2], uleb(inner.length), inner);
}

function spoiltChange(random: Random): Uint8Array {
  const share = random.below(100);
  const change = random.pick(changes);
  if (share < 15) return spoilt(change, random, changes);
  // Lengths and checksum are put right, so that what is inside is read.
  if (share < 50) return frame(spoilt(contentsOf(change), random, changes));
  if (share < 56) return deflated(frame(spoilt(contentsOf(change), random, changes)));
  if (share < 58) return deflated(change, (bytes) => spoilt(bytes, random, []));
  const made = mutate(random.pick(all), () => random.below(2 ** 31) / 2 ** 31);
  return made === null ? change : made.bytes;
}

/** A run of `count` equal values. */
const run = (count: number, value: number): number[] => [...sleb(count), ...uleb(value)];
const MILLION = 1_000_000;

const change: Target = {
  name: "change",
  covers: [
    "log/change.ts readChange",
    "log/change.ts readChanges",
    "log/change.ts readTrustedHeader",
    "log/chunk.ts readFrame",
    "log/chunk.ts checkedHash",
    "log/chunk.ts inflate",
    "log/chunk.ts ByteReader",
    "log/change-actions.ts checkAction",
    "log/change-values.ts checkValues",
  ],
  runs: 20_000,
  codes: CODES,
  make: spoiltChange,
  run: (bytes) => readChange(bytes as Uint8Array),
  holds(bytes: Uint8Array, read: ChangeHeader) {
    if (bytes[8] === 1 && !same(read.bytes, bytes)) return "has other bytes than it was read from";
    const { bytes: _, ...header } = read;
    for (const again of [readTrustedHeader(read.bytes), ...readChanges(concat(read.bytes, bytes))]) {
      const { bytes: __, ...other } = again;
      if (JSON.stringify(other) !== JSON.stringify(header)) return "reads differently the second time";
    }
    return read.maxOp === read.startOp + read.opCount - 1 ? undefined : "has another largest operation";
  },
  kept: [
    // A million operations in a few bytes: deletions of list elements, empty maps, characters.
    changeOf([
      [0x42, run(MILLION, 3)],
      [0x56, run(MILLION, 0)],
      [0x70, run(MILLION, 0)],
    ]),
    changeOf([
      [0x15, [...sleb(MILLION), 1, 0x61]],
      [0x34, uleb(MILLION)],
      [0x42, run(MILLION, 1)],
      [0x56, run(MILLION, 6)],
      [0x57, Array.from({ length: 10 }, () => 0x61)],
      [0x70, run(MILLION, 0)],
    ]),
    // 8 MiB in 8 KB.
    deflated(frame(new Uint8Array(8 * 1024 * 1024 - 100))),
  ],
};

const longDoc = (): A.Doc<Record<string, unknown>> => {
  let doc = A.from<Record<string, unknown>>({ t: "", l: [] }, { actor: "05".repeat(16) });
  for (let i = 0; i < 40; i += 1) {
    doc = A.change(doc, { time: i, message: i % 7 ? "" : `é${i}` }, (draft) => {
      A.splice(draft, ["t"], i, 0, `x${i}`);
      (draft["l"] as unknown[]).push({ i });
    });
  }
  return doc;
};
const saved = [
  ...all.map((one) => one.saved),
  A.save(longDoc()),
  concat(all[0]?.saved ?? [], all[0]?.change ?? []),
].map((bytes) => Uint8Array.from(bytes));

/** Spoils a column of a document chunk, also inside one that is deflated. */
function spoiltColumn(contents: Uint8Array, random: Random): Uint8Array {
  const input = new ByteReader(contents, 0, contents.length);
  for (let n = input.uint(); n > 0; n -= 1) input.skip(input.uint());
  input.skip(32 * input.uint());
  const head = contents.slice(0, input.pos);
  const specs = (): { spec: number; length: number }[] =>
    Array.from({ length: input.uint() }, () => ({ spec: input.uint(), length: input.uint() }));
  const lists = [specs(), specs()];
  const columns = lists.map((list) =>
    list.map(({ spec, length }) => {
      const at = input.skip(length);
      return { spec, data: contents.slice(at, at + length) };
    }),
  );
  const column = random.pick(columns.flat());
  if (column.spec & 8)
    column.data = Uint8Array.from(deflateRawSync(spoilt(inflateRawSync(column.data), random, [])));
  else column.data = Uint8Array.from(spoilt(column.data, random, []));
  return concat(
    head,
    ...columns.map((list) => [
      ...uleb(list.length),
      ...list.flatMap(({ spec, data }) => [...uleb(spec), ...uleb(data.length)]),
    ]),
    ...columns.flat().map(({ data }) => data),
    contents.subarray(input.pos),
  );
}

const document: Target = {
  name: "saved document",
  covers: ["log/saved-document.ts guardSavedDocument"],
  runs: 10_000,
  codes: CODES,
  make(random) {
    const file = random.pick(saved);
    if (random.chance(0.2)) return spoilt(file, random, [...saved, ...changes]);
    const { end, contents } = readFrame(file, 0);
    const inner = file.subarray(contents, end);
    const made = random.chance(0.5) ? spoiltColumn(inner, random) : spoilt(inner, random, saved);
    return concat(frame(made, 0), file.subarray(end));
  },
  run: (bytes) => guardSavedDocument(bytes as Uint8Array),
  holds: (bytes: Uint8Array, size: SavedDocumentSize) =>
    Object.values(size).every((n: number) => Number.isSafeInteger(n) && n >= 0) && bytes.length > 0
      ? undefined
      : `counts ${JSON.stringify(size)}`,
};

const packs = golden("change-packs").map(({ packed }) =>
  Uint8Array.from(Buffer.from(packed as string, "hex")),
);

/** Spoils the streams under their compression, and the pack's own numbers. */
function spoiltPack(random: Random): Uint8Array {
  const pack = random.pick(packs);
  const checked = (body: Uint8Array): Uint8Array => concat(body, blake3(body).subarray(0, 8));
  if (random.chance(0.3)) return checked(spoilt(pack.subarray(0, -8), random, packs));
  const input = new ByteReader(pack, 1, pack.length - 8);
  const out = new PackBytes();
  out.byte(1);
  out.uint(input.uint());
  out.uint(Math.max(0, input.uint() + (random.chance(0.5) ? random.below(9) - 4 : 0)));
  const streams = loadStreams(input);
  const at = random.below(streams.length);
  streams[at] = spoilt(streams[at] as Uint8Array, random, streams);
  storeStreams(streams, out);
  return checked(out.view());
}

const pack: Target = {
  name: "packed changes",
  covers: [
    "log/change-pack.ts unpackChanges",
    "log/change-pack-streams.ts loadStreams",
    "log/change-pack-streams.ts StreamReader",
  ],
  runs: 750,
  codes: ["DB_DAMAGED"],
  make: spoiltPack,
  run: (bytes) => unpackChanges(bytes as Uint8Array),
  holds(_: Uint8Array, items: ReturnType<typeof unpackChanges>) {
    const again = unpackChanges(packChanges(items));
    return again.every(({ bytes }, i) => same(bytes, items[i]?.bytes ?? new Uint8Array()))
      ? undefined
      : "packs to others";
  },
};

const packing: Target = {
  name: "changes to be packed",
  covers: ["log/change-pack-values.ts parseValues"],
  runs: 300,
  codes: [],
  make: spoiltChange,
  run(bytes) {
    parseValues(bytes as Uint8Array, emptyValues(), new Names(), new Names());
    return unpackChanges(packChanges([{ group: 0, bytes: bytes as Uint8Array }]));
  },
  holds: (bytes: Uint8Array, [item]: ReturnType<typeof unpackChanges>) =>
    item && same(item.bytes, bytes) ? undefined : "do not come back",
};

export const changeTargets: readonly Target[] = [change, document, pack, packing];
