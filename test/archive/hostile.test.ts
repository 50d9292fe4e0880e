import { readdirSync } from "node:fs";
import path from "node:path";
import { putSection, sectionBytes, encodeCarHeader, CarReader, type Section } from "../../src/archive/car.ts";
import { encodeOpening, decodeOpening, type Opening } from "../../src/archive/opening.ts";
import { decodeRunNote, encodeRunNote, type RunNote } from "../../src/archive/run-note.ts";
import { decodeStatePage, encodeStatePage, type StateDocument } from "../../src/archive/state-page.ts";
import { verifyArchive } from "../../src/archive/archive-verify.ts";
import { CODEC_DAG_CBOR, CODEC_RAW, cidCodec, cidFromDigest, cidOf, cidToString } from "../../src/ids/cid.ts";
import { sha256 } from "../../src/ids/hash.ts";
import { decodeCommit, encodeCommit, type Commit } from "../../src/log/commit.ts";
import { addressesOf } from "../../src/log/stored-commit.ts";
import { openEngine } from "../replication/fixture.ts";
import { seedOf, seeded } from "../support/fault-process.ts";
import { everything, historyOf, importInto, inPieces, stateOf } from "./fixture.ts";

/** Whatever is wrong with an archive: nothing of it is kept, and the error says which block it is. */

const seed = seedOf();
const random = seeded(seed);
const FLIPS = Number(process.env["SKALD_TEST_FLIPS"] ?? 150);
const engine = openEngine();
let history: Buffer;
let state: Buffer;

beforeAll(async () => {
  await everything(engine, "notes");
  history = await historyOf(engine, "notes");
  state = await stateOf(engine, "notes");
}, 60_000);

interface Parts {
  root: Uint8Array;
  blocks: { cid: Uint8Array; data: Uint8Array }[];
}

function partsOf(file: Uint8Array): Parts {
  const reader = new CarReader();
  const blocks = [...reader.push(file)].map(({ cid, data }) => ({ cid: cid.slice(), data: data.slice() }));
  reader.end();
  return { root: reader.root as Uint8Array, blocks };
}

function fileOf({ root, blocks }: Parts): Buffer {
  const all = blocks.map(({ cid, data }) => {
    const out = new Uint8Array(sectionBytes(data.length));
    putSection(out, 0, cid, data);
    return out;
  });
  return Buffer.concat([encodeCarHeader(root), ...all]);
}

const sealed = (data: Uint8Array, codec: typeof CODEC_RAW | typeof CODEC_DAG_CBOR = CODEC_DAG_CBOR) => ({
  cid: cidOf(codec, data),
  data,
});
const section = (data: Uint8Array): Section => ({
  index: 0,
  offset: 0,
  cid: cidOf(CODEC_DAG_CBOR, data),
  data,
});

interface Refused {
  readonly code?: string;
  readonly details?: Record<string, unknown>;
  readonly message?: string;
}

let names = 0;
/** What the import says, after looking that nothing is left of it. */
async function refused(file: Uint8Array, size?: number): Promise<Refused> {
  const db = `bad-${(names += 1)}`;
  const folders = readdirSync(path.join(engine.dir, "dbs")).length;
  const refusal = await importInto(engine, db, file, size).then(
    () => ({}),
    (error: unknown) => error as Refused,
  );
  expect({ there: engine.has(db), folders: readdirSync(path.join(engine.dir, "dbs")).length }).toEqual({
    there: false,
    folders,
  });
  return refusal;
}

async function refusedAt(file: Uint8Array, block: number | undefined, says: RegExp): Promise<Refused> {
  const refusal = await refused(file);
  expect({ code: refusal.code, block: refusal.details?.["block"], message: refusal.message }).toEqual({
    code: "ARCHIVE_INVALID",
    block,
    message: expect.stringMatching(says),
  });
  return refusal;
}

/** Which block each byte belongs to; undefined for the header. */
function blockAt(file: Uint8Array): (at: number) => number | undefined {
  const reader = new CarReader();
  const offsets = [...reader.push(file)].map(({ offset }) => offset);
  return (at) => {
    const index = offsets.findLastIndex((offset) => offset <= at);
    return index < 0 ? undefined : index;
  };
}

test(`a flipped bit is refused, and its block is named (seed ${seed})`, async () => {
  for (const file of [history, state]) {
    const where = blockAt(file);
    for (let n = 0; n < FLIPS / 2; n += 1) {
      const at = Math.floor(random() * file.length);
      const spoilt = Buffer.from(file);
      spoilt[at] = (spoilt[at] as number) ^ (1 << Math.floor(random() * 8));
      const { code, details } = await verifyArchive(inPieces(spoilt)).then(
        () => ({}) as Refused,
        (error: unknown) => error as Refused,
      );
      // The header has only the root that is compared with the blocks, which is the first or the last.
      const wanted = where(at) ?? details?.["block"];
      expect({ at, code, block: details?.["block"] }).toEqual({ at, code: "ARCHIVE_INVALID", block: wanted });
    }
    const at = Math.floor(random() * file.length);
    const spoilt = Buffer.from(file);
    spoilt[at] = (spoilt[at] as number) ^ 1;
    expect((await refused(spoilt)).code).toBe("ARCHIVE_INVALID");
  }
});

test("an archive that is cut anywhere is refused, and the end is where it was cut", async () => {
  for (const file of [history, state]) {
    const where = blockAt(file);
    for (let at = 0; at < file.length; at += 1 + Math.floor(random() * 40)) {
      const cut = file.subarray(0, at);
      const { code, details } = await verifyArchive(inPieces(cut)).then(
        () => ({}) as Refused,
        (error: unknown) => error as Refused,
      );
      const block = where(at);
      expect({ at, code, block: details?.["block"] }).toEqual({ at, code: "ARCHIVE_INVALID", block });
    }
    expect((await refused(file.subarray(0, Math.floor(file.length / 2)))).code).toBe("ARCHIVE_INVALID");
    expect((await refused(file.subarray(0, -1))).code).toBe("ARCHIVE_INVALID");
  }
});

test("what stands behind the end is refused", async () => {
  const { blocks } = partsOf(history);
  await refusedAt(Buffer.concat([history, Buffer.of(0)]), blocks.length, /no bytes/);
  await refusedAt(Buffer.concat([history, Buffer.of(7)]), blocks.length, /cut off/);
  const extra = fileOf({ ...partsOf(history), blocks: [...blocks, blocks[0] as Parts["blocks"][0]] });
  await refusedAt(extra, blocks.length, /behind the last commit/);
  const states = partsOf(state);
  const twice = fileOf({ ...states, blocks: [...states.blocks, states.blocks[2] as Parts["blocks"][0]] });
  await refusedAt(twice, states.blocks.length, /behind the last document/);
});

test("lengths that nothing can have are refused before anything is held", async () => {
  const head = encodeCarHeader(partsOf(history).root);
  for (const length of [
    [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
    [0x80, 0x80, 0x80, 0x7f],
  ])
    await refusedAt(Buffer.concat([head, Buffer.from(length)]), 0, /more than/);
  await refusedAt(Buffer.concat([head, Buffer.of(0x80, 0x00)]), 0, /shortest form/);
  await refusedAt(Buffer.concat([head, Buffer.of(0x00)]), 0, /no bytes/);
  await refusedAt(Buffer.of(0xff, 0xff, 0x7f), undefined, /more than/);
  // One that is allowed is waited for, and held only as far as it came.
  const before = process.memoryUsage().arrayBuffers;
  const large = Buffer.concat([head, Buffer.of(0x80, 0x80, 0x80, 0x20), Buffer.alloc(1000)]);
  await refusedAt(large, 0, /cut off/);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * 1024 * 1024);
});

test("addresses of other kinds are refused", async () => {
  const { root, blocks } = partsOf(history);
  const [first] = blocks as [Parts["blocks"][0]];
  const others: [Uint8Array, RegExp][] = [
    [Uint8Array.from(first.cid, (byte, i) => (i === 1 ? 0x70 : byte)), /of a kind/],
    [Uint8Array.from(first.cid, (byte, i) => (i === 2 ? 0x12 : byte)), /of a kind/],
    [Uint8Array.from(first.cid, (byte, i) => (i === 0 ? 0x12 : byte)), /of a kind/],
    [cidFromDigest(CODEC_DAG_CBOR, sha256(first.data)), /does not hash/],
  ];
  for (const [cid, says] of others)
    await refusedAt(fileOf({ root, blocks: [{ ...first, cid }, ...blocks.slice(1)] }), 0, says);
  // The right bytes, as of the other codec.
  const raw = { data: first.data, cid: cidOf(CODEC_RAW, first.data) };
  await refusedAt(fileOf({ root, blocks: [raw, ...blocks.slice(1)] }), 0, /no DAG-CBOR/);
});

test("a root that is not there is refused", async () => {
  for (const file of [history, state]) {
    const { blocks } = partsOf(file);
    const root = cidOf(CODEC_DAG_CBOR, Buffer.from("elsewhere"));
    await refusedAt(fileOf({ root, blocks }), 0, /root is another/);
  }
  const { root } = partsOf(history);
  await refusedAt(Buffer.from(encodeCarHeader(root)), 0, /not there/);
  await refusedAt(Buffer.alloc(0), undefined, /empty/);
  for (const header of ["a0", "a265726f6f7473806776657273696f6e01", "a26776657273696f6e01"]) {
    const bytes = Buffer.from(header, "hex");
    await refusedAt(Buffer.concat([Buffer.of(bytes.length), bytes]), undefined, /header/);
  }
});

test("a block that is missing, there twice or elsewhere is named", async () => {
  const { root, blocks } = partsOf(history);
  for (const index of [1, 2, 5, Math.floor(blocks.length / 2), blocks.length - 1]) {
    const without = blocks.filter((_, i) => i !== index);
    const { cid } = blocks[index] as Parts["blocks"][0];
    const refusal = await refusedAt(
      fileOf({ root, blocks: without }),
      index,
      /belongs there|not there|is commit|no note/,
    );
    if (cidCodec(cid) === CODEC_RAW) expect(refusal.details?.["missing"]).toBe(cidToString(cid));
    const twice = blocks.toSpliced(index, 0, blocks[index] as Parts["blocks"][0]);
    const second = await refused(fileOf({ root, blocks: twice }));
    expect(second).toMatchObject({ code: "ARCHIVE_INVALID", details: { block: index + 1 } });
  }
  const swapped = blocks.toSpliced(2, 2, blocks[3] as Parts["blocks"][0], blocks[2] as Parts["blocks"][0]);
  await refusedAt(fileOf({ root, blocks: swapped }), 2, /belongs there/);
});

test("deep nesting and giant counts are no work", async () => {
  const { root, blocks } = partsOf(history);
  const states = partsOf(state);
  const deep = Buffer.alloc(200_000, 0x81);
  const wide = Buffer.from("bbffffffffffffffff", "hex");
  for (const data of [deep, wide, Buffer.from("9bffffffffffffffff", "hex")]) {
    await refusedAt(fileOf({ root: sealed(data).cid, blocks: [sealed(data)] }), 0, /what the archive holds/);
    await refusedAt(fileOf({ root, blocks: [blocks[0] as never, sealed(data)] }), 1, /no note/);
    await refusedAt(
      fileOf({ root, blocks: [blocks[0] as never, blocks[1] as never, sealed(data)] }),
      2,
      /belongs there/,
    );
    const opening = decodeOpening(section(states.blocks[0]?.data as Uint8Array));
    const first = sealed(encodeOpening({ ...opening, pages: [sealed(data).cid] }));
    await refusedAt(fileOf({ root: first.cid, blocks: [first, sealed(data)] }), 1, /no page/);
  }
  // A note with a million names for commits that are not there.
  const note = decodeRunNote(section(blocks[1]?.data as Uint8Array));
  const names_ = sealed(encodeRunNote({ ...note, txs: Array<string>(200_000).fill("x") }));
  await refusedAt(fileOf({ root, blocks: [blocks[0] as never, names_] }), 1, /no note/);
});

/** A history whose blocks were altered and all addresses worked out anew, as somebody who makes one up does. */
function madeUp(alter: {
  opening?: (opening: Opening) => Opening;
  note?: (note: RunNote) => RunNote;
  commit?: (commit: Commit, at: number) => Commit;
  block?: (data: Uint8Array, at: number) => Uint8Array;
}): Buffer {
  const { blocks } = partsOf(history);
  const opening = decodeOpening(section(blocks[0]?.data as Uint8Array));
  const out: Parts["blocks"] = [];
  let last: Uint8Array | undefined;
  let commits = 0;
  let raws = 0;
  let pending: { commit: Commit; cid: Uint8Array; blocks: Parts["blocks"] } | undefined;
  const renamed = new Map<string, Uint8Array>();
  const flush = (): void => {
    if (!pending) return;
    const { commit, cid, blocks: own } = pending;
    const name = (cid: Uint8Array): Uint8Array => renamed.get(cidToString(cid)) ?? cid;
    const next = {
      ...commit,
      parents: commit.parents.map(name),
      ...(commit.line ? { line: name(commit.line) } : {}),
      entries: commit.entries.map((entry) => ({ ...entry, changes: entry.changes.map(name) })),
      events: commit.events.map(name),
    };
    const made = sealed(encodeCommit(alter.commit?.(next, commits) ?? next));
    commits += 1;
    last = made.cid;
    renamed.set(cidToString(cid), last);
    out.push(made, ...own);
    pending = undefined;
  };
  for (const { cid, data } of blocks.slice(2)) {
    const isOwn =
      cidCodec(cid) === CODEC_RAW ||
      (pending && addressesOf(pending.commit).some((address) => Buffer.compare(address, cid) === 0));
    if (isOwn && pending) {
      const changed = alter.block?.(data, raws) ?? data;
      raws += 1;
      const made = sealed(changed, cidCodec(cid) === CODEC_RAW ? CODEC_RAW : CODEC_DAG_CBOR);
      renamed.set(cidToString(cid), made.cid);
      pending.blocks.push(made);
    } else {
      flush();
      pending = { commit: decodeCommit(data), cid, blocks: [] };
    }
  }
  flush();
  const note = decodeRunNote(section(blocks[1]?.data as Uint8Array));
  const first = { ...opening, commit: last };
  return fileOf({
    root: last as Uint8Array,
    blocks: [
      sealed(encodeOpening(alter.opening?.(first) ?? first)),
      sealed(encodeRunNote(alter.note?.(note) ?? note)),
      ...out,
    ],
  });
}

test("one that is made up as a whole is held to what the log would have written", async () => {
  await importInto(engine, "as-it-was", madeUp({}));
  expect((await historyOf(engine, "as-it-was")).equals(history)).toBe(true);
  const at = (index: number, change: (commit: Commit) => Commit) => (commit: Commit, i: number) =>
    i === index ? change(commit) : commit;
  const cases: [string, Buffer, RegExp][] = [
    [
      "other heads",
      madeUp({
        commit: at(1, (commit) => ({
          ...commit,
          entries: commit.entries.map((entry) => ({ ...entry, heads: ["ab".repeat(32)] })),
        })),
      }),
      /./,
    ],
    [
      "another db",
      madeUp({ commit: at(2, (commit) => ({ ...commit, db: new Uint8Array(16) })) }),
      /of another db/,
    ],
    [
      "a seq left out",
      madeUp({ commit: at(2, (commit) => ({ ...commit, seq: 9 })) }),
      /it is commit 9 where 3 belongs/,
    ],
    ["no parent", madeUp({ commit: at(2, (commit) => ({ ...commit, parents: [] })) }), /commit before/],
    ["an older time", madeUp({ commit: at(4, (commit) => ({ ...commit, time: 1 })) }), /older/],
    ["a name that is none", madeUp({ commit: at(0, (commit) => ({ ...commit, author: "a\nb" })) }), /author/],
    [
      "a document's name that is none",
      madeUp({
        commit: at(0, (commit) => ({
          ...commit,
          entries: commit.entries.map((entry) => ({ ...entry, doc: "../x" })),
        })),
      }),
      /./,
    ],
    [
      "a change that is none",
      madeUp({ block: (data, i) => (i === 3 ? Buffer.from("no change") : data) }),
      /./,
    ],
    [
      "fewer commits than it says",
      madeUp({ opening: (opening) => ({ ...opening, seq: opening.seq + 1 }) }),
      /said to end with|ends after|too early|not there/,
    ],
    [
      "another last commit",
      madeUp({ opening: (opening) => ({ ...opening, commit: cidOf(CODEC_DAG_CBOR, Buffer.of(1)) }) }),
      /root/,
    ],
    [
      "a receipt twice",
      madeUp({ note: (note) => ({ ...note, txs: note.txs.map((tx) => tx && "first") }) }),
      /client_tx_id/,
    ],
    [
      "a receipt that is none",
      madeUp({ note: (note) => ({ ...note, txs: note.txs.map((tx) => tx && "a b") }) }),
      /./,
    ],
    ["a run of other commits", madeUp({ note: (note) => ({ ...note, first: 2 }) }), /of commits 2/],
    [
      "a run that goes on",
      madeUp({ note: (note) => ({ ...note, count: note.count + 1, txs: [...note.txs, ""] }) }),
      /of commits|behind/,
    ],
    [
      "a run that ends early",
      madeUp({ note: (note) => ({ ...note, count: 1, txs: note.txs.slice(0, 1) }) }),
      /./,
    ],
    ["an erased block that is there", madeUp({ note: (note) => ({ ...note, erased: [0] }) }), /./],
    [
      "an erased block that nobody names",
      madeUp({ note: (note) => ({ ...note, erased: [1_000_000] }) }),
      /no commit names/,
    ],
  ];
  for (const [what, file, says] of cases) {
    const { code, message, details } = await refused(file);
    expect({ what, code, message, block: typeof details?.["block"] }).toEqual({
      what,
      code: "ARCHIVE_INVALID",
      message: expect.stringMatching(says),
      block: "number",
    });
  }
});

test("a state that is made up is held to what its manifest says", async () => {
  const { blocks } = partsOf(state);
  const opening = decodeOpening(section(blocks[0]?.data as Uint8Array));
  const page = decodeStatePage(section(blocks[1]?.data as Uint8Array));
  const chunks = new Map(blocks.slice(2).map((block) => [cidToString(block.cid), block]));
  const made = (
    documents: StateDocument[],
    { extra = new Map<string, Parts["blocks"][0]>(), count = documents.length } = {},
  ): Buffer => {
    const own = sealed(encodeStatePage(documents));
    const first = sealed(encodeOpening({ ...opening, pages: [own.cid], documents: count }));
    const bodies = documents.map(
      ({ chunk }) => extra.get(cidToString(chunk)) ?? chunks.get(cidToString(chunk)),
    );
    return fileOf({ root: first.cid, blocks: [first, own, ...(bodies as Parts["blocks"])] });
  };
  await importInto(engine, "state-as-it-was", made(page));
  const [one, two, ...rest] = page as [StateDocument, StateDocument, ...StateDocument[]];
  const junk = sealed(Buffer.from("no document"), CODEC_RAW);
  const cases: [string, Buffer, RegExp][] = [
    ["other heads", made([{ ...one, heads: two.heads }, two, ...rest]), /heads/],
    [
      "another's chunk",
      made([{ ...one, chunk: (rest.at(-1) as StateDocument).chunk }, two, ...rest]),
      /heads|not taken/,
    ],
    ["out of order", made([two, one, ...rest]), /out of order/],
    ["twice", made([one, one, ...rest]), /twice/],
    ["a name that is none", made([{ ...one, doc: "c" }, two, ...rest]), /no page/],
    ["too few", made(page, { count: page.length + 1 }), /says/],
    ["too many", made(page, { count: 0 }), /says/],
    [
      "a chunk that is none",
      made([{ ...one, chunk: junk.cid }, two, ...rest], { extra: new Map([[cidToString(junk.cid), junk]]) }),
      /not taken/,
    ],
  ];
  for (const [what, file, says] of cases) {
    const { code, message } = await refused(file);
    expect({ what, code, message }).toEqual({
      what,
      code: "ARCHIVE_INVALID",
      message: expect.stringMatching(says),
    });
  }
});
