import { readFileSync } from "node:fs";
import { ArchiveReader } from "../../src/archive/archive-reader.ts";
import { CarReader, encodeCarHeader, putSection, sectionBytes, type Section } from "../../src/archive/car.ts";
import { decodeOpening, encodeOpening, type Opening } from "../../src/archive/opening.ts";
import { decodeRunNote, encodeRunNote } from "../../src/archive/run-note.ts";
import { decodeStatePage, encodeStatePage } from "../../src/archive/state-page.ts";
import { CODEC_DAG_CBOR, CODEC_RAW, cidCodec, cidOf } from "../../src/ids/cid.ts";
import type { Random, Target } from "./harness.ts";
import { spoilt } from "./mutate.ts";

/** Archives: as they come, and with addresses worked out anew so that what is spoilt within is read. */

const files = ["history-1.car", "state-1.car"].map((name) =>
  Uint8Array.from(readFileSync(new URL(`../../fixtures/archive/${name}`, import.meta.url))),
);
const blocksOf = (file: Uint8Array): Section[] => [...new CarReader().push(file)];
const archives = files.map(blocksOf);
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

function resealed(random: Random): Uint8Array {
  const blocks = random.pick(archives).map(({ cid, data }) => ({ cid, data }));
  const at = random.chance(0.5) ? random.below(3) : random.below(blocks.length);
  const { cid, data } = blocks[at] as Section;
  const others = blocks.map((block) => block.data);
  const codec = cidCodec(cid) === CODEC_RAW ? CODEC_RAW : CODEC_DAG_CBOR;
  const changed = spoilt(data, random, others);
  blocks[at] = { cid: cidOf(codec, changed), data: changed };
  if (random.chance(0.1)) blocks.splice(random.below(blocks.length), 1);
  if (random.chance(0.1)) blocks.splice(random.below(blocks.length), 0, random.pick(blocks));
  // The root of a state is its first block.
  const root = at === 0 || random.chance(0.5) ? blocks[0]?.cid : blocks.findLast(isCbor)?.cid;
  const parts = blocks.map((block) => {
    const out = new Uint8Array(sectionBytes(block.data.length));
    putSection(out, 0, block.cid, block.data);
    return out;
  });
  return Buffer.concat([encodeCarHeader(root ?? cid), ...parts]);
}

const isCbor = ({ cid }: { readonly cid: Uint8Array }): boolean => cidCodec(cid) === CODEC_DAG_CBOR;

const archive: Target = {
  name: "archive",
  covers: [
    "archive/car.ts CarReader",
    "archive/archive-reader.ts ArchiveReader",
    "archive/history-reader.ts HistoryReader",
    "archive/state-reader.ts StateReader",
  ],
  runs: 1500,
  codes: ["ARCHIVE_INVALID"],
  make: (random) => (random.chance(0.4) ? spoilt(random.pick(files), random, files) : resealed(random)),
  run(bytes) {
    const reader = new ArchiveReader();
    const read = [...reader.push(bytes as Uint8Array)];
    reader.end();
    return { opening: reader.opening as Opening, read, bytes: reader.bytes };
  },
  holds(
    bytes: Uint8Array,
    { opening, read, bytes: length }: { opening: Opening; read: unknown[]; bytes: number },
  ) {
    if (length !== bytes.length) return "was not read to its end";
    const wanted = opening.kind === "history" ? opening.seq : opening.documents;
    return read.length === wanted ? undefined : "has others than it says";
  },
  kept: [new Uint8Array(0), encodeCarHeader(cidOf(CODEC_RAW, new Uint8Array(0)))],
};

const opened = archives.flatMap(([first]) => (first ? [first.data] : []));
const note = archives[0]?.[1]?.data as Uint8Array;
const page = archives[1]?.[1]?.data as Uint8Array;
const sectionOf = (data: Uint8Array): Section => ({
  index: 0,
  offset: 0,
  cid: cidOf(CODEC_DAG_CBOR, data),
  data,
});

function blockTarget<T>(
  name: string,
  covers: string,
  from: readonly Uint8Array[],
  decode: (section: Section) => T,
  encode: (value: T) => Uint8Array,
): Target {
  return {
    name,
    covers: [covers],
    runs: 2000,
    codes: ["ARCHIVE_INVALID"],
    make: (random) => spoilt(random.pick(from), random, from),
    run: (bytes) => decode(sectionOf(bytes as Uint8Array)),
    holds: (bytes: Uint8Array, value: T) =>
      same(encode(value), bytes) ? undefined : "is written again as something else",
    kept: [Buffer.alloc(100_000, 0x81), Buffer.from("bbffffffffffffffff", "hex")],
  };
}

export const archiveTargets: readonly Target[] = [
  archive,
  blockTarget("archive opening", "archive/opening.ts decodeOpening", opened, decodeOpening, encodeOpening),
  blockTarget("archive note", "archive/run-note.ts decodeRunNote", [note], decodeRunNote, encodeRunNote),
  blockTarget("archive page", "archive/state-page.ts decodeStatePage", [page], decodeStatePage, (documents) =>
    encodeStatePage(documents),
  ),
];
