import { isDeepStrictEqual } from "node:util";
import { readFileSync } from "node:fs";
import { brotliCompressSync, brotliDecompressSync } from "node:zlib";
import { CborReader, CborWriter, decodeCborSequence, encodeCbor } from "../../src/ids/cbor.ts";
import { LIMITS } from "../../src/limits.ts";
import { CODEC_DAG_CBOR, cidDigest, cidFromDigest, cidOf } from "../../src/ids/cid.ts";
import { blake3, fromHex, toHex } from "../../src/ids/hash.ts";
import { decodeBranch, encodeBranch } from "../../src/log/branches.ts";
import { packBundle, unpackBundle } from "../../src/log/bundle.ts";
import { decodeCommit, encodeCommit } from "../../src/log/commit.ts";
import { eraseEvent } from "../../src/log/erased.ts";
import { decodeEvent, encodeEvent } from "../../src/log/event.ts";
import { readRule, setEvent } from "../../src/log/retention.ts";
import { encodeSchemaEvent, readStatement } from "../../src/log/schema-events.ts";
import { decodeSchemaStep, encodeSchemaStep } from "../../src/log/schema-steps.ts";
import { decodeDocState, encodeDocState } from "../../src/log/doc-state.ts";
import { genesisOf } from "../../src/log/genesis.ts";
import { decodeRecord, encodeRecord, writeRecord, type LogRecord } from "../../src/log/record.ts";
import { openReceived } from "../../src/log/received.ts";
import {
  decodePush,
  encodeEnd,
  encodeHead,
  encodeRecords,
  readEnd,
  readFrames,
  readHead,
} from "../../src/replication/frames.ts";
import {
  addressesOf,
  bodyOf,
  checkedBlock,
  openRecord,
  type StoredCommit,
} from "../../src/log/stored-commit.ts";
import { concat } from "../support/change-chunks.ts";
import type { Random, Target } from "./harness.ts";
import { spoilt } from "./mutate.ts";

/** Bytes of our own formats: what peers send in frames, and what the log keeps. */

function fixture(name: string): Record<string, string>[] {
  const text = readFileSync(new URL(`../../fixtures/log/${name}.json`, import.meta.url), "utf8");
  return JSON.parse(text) as Record<string, string>[];
}

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
const plain = (bytes: Uint8Array): Uint8Array => Uint8Array.from(bytes);

const plainCommits = fixture("commits").map((one) => fromHex(one["bytes"] as string));
const signedCommit = encodeCommit({
  ...decodeCommit(plainCommits[0] as Uint8Array),
  branch: "draft",
  line: cidOf(CODEC_DAG_CBOR, plainCommits[0] as Uint8Array),
  signed: { signer: "did:key:z6Mk", signature: new Uint8Array(64).fill(3) },
});
const commits = [...plainCommits, signedCommit];
const records = fixture("records").map((one) => fromHex((one["bytes"] ?? one["record"]) as string));

function frameOf(writes: number): Uint8Array {
  const w = new CborWriter();
  w.map(4);
  w.text("id");
  w.uint(writes * 300);
  w.text("tx");
  w.text("again");
  w.text("writes");
  w.array(writes);
  for (let i = 0; i < writes; i += 1) {
    w.map(3);
    w.text("doc");
    w.text(`notes/é${i}`);
    w.text("base");
    w.array(1);
    w.bytes(new Uint8Array(32).fill(i));
    w.text("changes");
    w.array(1);
    w.bytes(new Uint8Array(90).fill(i));
  }
  w.text("message");
  w.text("said");
  return w.take();
}
const frames = [
  frameOf(1),
  frameOf(3),
  concat(frameOf(1), frameOf(2)),
  encodeCbor([
    0,
    -1,
    24,
    -25,
    256,
    -65_537,
    2 ** 32,
    2 ** 53 - 1,
    true,
    false,
    null,
    "é😀",
    { a: [], bb: {} },
  ]),
];

/** A sequence's items in the one form that CborWriter gives, as far as it has one. */
function writeAgain(items: readonly unknown[]): Uint8Array {
  const w = new CborWriter();
  const write = (value: unknown): void => {
    if (value === null) w.raw(Uint8Array.of(0xf6));
    else if (typeof value === "boolean") w.bool(value);
    else if (typeof value === "number" && value >= 0) w.uint(value);
    else if (typeof value === "number") w.raw(encodeCbor(value));
    else if (typeof value === "string") w.text(value);
    else if (value instanceof Uint8Array) w.bytes(value);
    else if (Array.isArray(value)) {
      w.array(value.length);
      value.forEach(write);
    } else {
      const map = value as Record<string, unknown>;
      w.map(Object.keys(map).length);
      for (const key of Object.keys(map)) {
        w.text(key);
        write(map[key]);
      }
    }
  };
  items.forEach(write);
  return w.take();
}

const arrayOf = (count: number, item: number): Uint8Array => {
  const bytes = Buffer.alloc(count + 5, item);
  bytes[0] = 0x9a;
  bytes.writeUInt32BE(count, 1);
  return bytes;
};

const sequence: Target = {
  name: "cbor sequence",
  covers: ["ids/cbor.ts decodeCborSequence", "ids/cbor.ts CborReader"],
  runs: 40_000,
  codes: ["BAD_CBOR"],
  make: (random) =>
    random.chance(0.1)
      ? random.bytes(random.below(40))
      : spoilt(random.pick(frames), random, [...frames, ...commits]),
  run: (bytes) => [...decodeCborSequence(bytes as Uint8Array)],
  holds(_: Uint8Array, items: unknown[]) {
    const bytes = writeAgain(items);
    const again = writeAgain([...decodeCborSequence(bytes)]);
    return same(bytes, again) ? undefined : "items written again read differently";
  },
  kept: [
    // Each of these held the thread for seconds.
    arrayOf(4_000_000, 0x00),
    arrayOf(4_000_000, 0x80),
    arrayOf(4_000_000, 0xa0),
    arrayOf(LIMITS.socket.cborItems.value / 2, 0x60),
    // Came out as a TypeError.
    Uint8Array.of(0x61, 0xff),
    Uint8Array.of(0x3b, 0x00, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
  ],
};

const commit: Target = {
  name: "commit",
  covers: ["log/commit.ts decodeCommit"],
  runs: 30_000,
  codes: ["DB_DAMAGED"],
  make: (random) => spoilt(random.pick(commits), random, commits),
  run: (bytes) => decodeCommit(bytes as Uint8Array),
  holds: (bytes: Uint8Array, read: ReturnType<typeof decodeCommit>) =>
    same(encodeCommit(read), bytes) ? undefined : "is written again in other bytes",
};

const events = [
  encodeEvent({ type: "branch.create", name: "draft", from: "main", seq: 300 }),
  encodeEvent({ type: "x", flag: true, off: false, bytes: new Uint8Array(70) }),
  encodeEvent({ type: "" }),
  eraseEvent("c/x", "asked for"),
  setEvent({ collection: "logs", maxAge: 3600, expire: true }),
  encodeSchemaEvent({ type: "query.save", name: "all", sql: "SELECT 1", description: "one" }),
];

const event: Target = {
  name: "event",
  covers: ["log/event.ts decodeEvent", "log/retention.ts readRule", "log/schema-events.ts readStatement"],
  runs: 20_000,
  codes: ["DB_DAMAGED"],
  make: (random) => spoilt(random.pick(events), random, events),
  run: (bytes) => {
    readRule(bytes as Uint8Array);
    readStatement(bytes as Uint8Array, 1);
    return decodeEvent(bytes as Uint8Array);
  },
  holds: (bytes: Uint8Array, read: ReturnType<typeof decodeEvent>) =>
    same(encodeEvent(read), bytes) ? undefined : "is written again in other bytes",
};

const steps = [
  encodeSchemaStep({
    seq: 3,
    branch: 0,
    statement: { seq: 3, index: 0, sql: "CREATE TABLE t (id TEXT)" },
    id: "a",
  }),
  encodeSchemaStep({ seq: 9, branch: 4, from: 0, upTo: 7 }),
];

const schemaStep: Target = {
  name: "schema step",
  covers: ["log/schema-steps.ts decodeSchemaStep"],
  runs: 10_000,
  codes: ["DB_DAMAGED", "DERIVED_DAMAGED"],
  make: (random) => spoilt(random.pick(steps), random, steps),
  run: (bytes) => decodeSchemaStep(bytes as Uint8Array),
  holds: (_bytes: Uint8Array, read: ReturnType<typeof decodeSchemaStep>) =>
    isDeepStrictEqual(decodeSchemaStep(encodeSchemaStep(read)), read)
      ? undefined
      : "is another when it is written",
};

/** The first 8 bytes of blake3 put right behind bytes whose own are cut off. */
function checked(bytes: Uint8Array, random: Random): Uint8Array {
  const body = bytes.subarray(0, Math.max(0, bytes.length - 8));
  return random.chance(0.1) ? bytes : concat(body, blake3(body).subarray(0, 8));
}

const record: Target = {
  name: "record",
  covers: [
    "log/record.ts decodeRecord",
    "log/stored-commit.ts openRecord",
    "log/stored-commit.ts checkedBlock",
  ],
  runs: 40_000,
  codes: ["DB_DAMAGED"],
  make: (random) => checked(spoilt(random.pick(records), random, [...records, ...commits]), random),
  run(bytes) {
    const read = decodeRecord(bytes as Uint8Array, 1);
    try {
      const stored = openRecord(bytes as Uint8Array, 1);
      addressesOf(stored.commit).forEach((_, at) => checkedBlock(stored, at));
    } catch (error) {
      if ((error as { code?: unknown }).code !== "DB_DAMAGED") throw error;
    }
    return read;
  },
  holds: (bytes: Uint8Array, read: LogRecord) =>
    same(encodeRecord(read), bytes) ? undefined : "is written again in other bytes",
  kept:
    // A length in two bytes that needs one, and a client_tx_id that is not UTF-8: the check is right in both.
    [
      [0x81, 0x00, 0x61],
      [0x01, 0xff],
    ].map((id) => {
      const { body } = writeRecord({
        digest: new Uint8Array(32),
        commit: commits[0] as Uint8Array,
        blocks: [],
        clientTxId: "",
      });
      const spoiltBody = concat(body.subarray(0, body.length - 9), id);
      return plain(concat(spoiltBody, blake3(spoiltBody).subarray(0, 8)));
    }),
};

/** The same bytes as another server sends them: named by seq, and under the address that they have now. */
const received: Target = {
  name: "received record",
  covers: ["log/received.ts openReceived"],
  runs: 20_000,
  codes: ["SYNC_INVALID"],
  make: (random) => {
    const base = random.pick(records);
    if (random.chance(0.5)) return checked(spoilt(base, random, [...records, ...commits]), random);
    const { commit, blocks, clientTxId } = decodeRecord(base, 1);
    const bytes = spoilt(commit, random, commits);
    return encodeRecord({ digest: blake3(bytes), commit: bytes, blocks, clientTxId });
  },
  run: (bytes) => openReceived(bytes as Uint8Array, seqOf(bytes as Uint8Array)),
  holds: (bytes: Uint8Array, read: StoredCommit) =>
    same(bodyOf(read), bytes) && same(encodeCommit(read.commit), read.bytes)
      ? undefined
      : "is written again in other bytes",
};

/** The seq that a record says it has, so that other checks are come to. */
function seqOf(bytes: Uint8Array): number {
  try {
    return decodeCommit(decodeRecord(bytes, 1).commit).seq;
  } catch {
    return 1;
  }
}

const pages = [0, 1, 3].map((count) =>
  concat(
    encodeHead({
      uid: new Uint8Array(16),
      after: count * 300,
      commit: cidOf(CODEC_DAG_CBOR, new Uint8Array(count)),
    }),
    encodeRecords(records.slice(0, count)),
  ),
);

const push: Target = {
  name: "push of records",
  covers: ["replication/frames.ts decodePush", "replication/frames.ts readHead"],
  runs: 20_000,
  codes: ["BAD_CBOR"],
  make: (random) => spoilt(random.pick(pages), random, [...pages, ...records]),
  run: (bytes) => decodePush(bytes as Uint8Array),
  holds: (_: Uint8Array, read: ReturnType<typeof decodePush>) => {
    const again = decodePush(concat(encodeHead(read.head), encodeRecords(read.bodies)));
    const equal =
      again.bodies.length === read.bodies.length &&
      again.bodies.every((body, i) => same(body, read.bodies[i] as Uint8Array));
    return equal &&
      readHead({ ...again.head, commit: again.head.commit ?? new Uint8Array(0) }).after === read.head.after
      ? undefined
      : "is written again as something else";
  },
};

const ends = [0, 5, 2 ** 40].map((end) =>
  encodeEnd({ end, commit: end === 0 ? undefined : cidOf(CODEC_DAG_CBOR, new Uint8Array(1)) }),
);
const streamEnd: Target = {
  name: "end of a stream of records",
  covers: ["replication/frames.ts readEnd"],
  runs: 10_000,
  codes: ["BAD_CBOR"],
  make: (random) => spoilt(random.pick(ends), random, [...ends, ...pages]),
  run: (bytes) => [...decodeCborSequence(bytes as Uint8Array, 2, 8)].map(readEnd),
  holds: (_: Uint8Array, read: ReturnType<typeof readEnd>[]) =>
    read.every((end) => end.end >= 0) ? undefined : "has a seq below zero",
};

/** In pieces of the size that the last byte says. */
async function* inPieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  const size = ((bytes.at(-1) ?? 0) % 50) + 1;
  for (let at = 0; at < bytes.length; at += size) {
    await Promise.resolve();
    yield bytes.subarray(at, at + size);
  }
}

const stream: Target = {
  name: "stream of records",
  covers: ["replication/frames.ts readFrames"],
  runs: 4_000,
  codes: ["BAD_CBOR"],
  make: (random) => {
    const whole = concat(random.pick(pages), random.pick(ends));
    return random.chance(0.2) ? whole : spoilt(whole, random, [...pages, ...ends]);
  },
  run: async (bytes) => {
    const items: unknown[] = [];
    for await (const item of readFrames(inPieces(bytes as Uint8Array))) items.push(item);
    return items;
  },
  // A piece that is missing at the end is no item; what came whole is what a plain reader gives.
  holds: (bytes: Uint8Array, items: unknown[]) => {
    let size = 0;
    const plain: unknown[] = [];
    try {
      for (const item of decodeCborSequence(bytes, 2, 8)) plain.push(item);
    } catch {
      size = plain.length;
    }
    const read = writeAgain(items);
    return same(read, writeAgain(plain.slice(0, items.length))) && (size > 0 || items.length <= plain.length)
      ? undefined
      : "is read otherwise than in one piece";
  },
};

const uid = new Uint8Array(16).fill(7);

/** A short log as its own writer would have it: each commit has the genesis of a document of its own. */
function shortLog(length: number): StoredCommit[] {
  const all: StoredCommit[] = [];
  for (let seq = 1; seq <= length; seq += 1) {
    const { bytes: change, hash } = genesisOf(uid, "notes", `n${seq}`);
    const last = all.at(-1);
    const made = encodeCommit({
      version: 1,
      db: uid,
      branch: "main",
      seq,
      parents: last ? [last.cid] : [],
      time: 1_700_000_000_000 + seq,
      author: seq % 2 ? "ann" : "bob",
      entries: [{ doc: `notes/n${seq}`, base: [], changes: [cidOf(0x55, change)], heads: [hash] }],
      events: [],
      ...(seq % 3 ? {} : { message: "third" }),
    });
    const cid = cidFromDigest(CODEC_DAG_CBOR, blake3(made));
    all.push({ cid, bytes: made, commit: decodeCommit(made), blocks: [change], clientTxId: `t${seq}` });
  }
  return all;
}

const bundles = [1, 4, 12].map((length) => packBundle(uid, shortLog(length)));

/** Spoils what is inside: the columns under their compression, with lengths and the check put right. */
function spoiltBundle(random: Random): Uint8Array {
  const body = random.pick(bundles);
  if (random.chance(0.02)) return body;
  if (random.chance(0.2)) return checked(spoilt(body, random, bundles), random);
  const outer = new CborReader(body.subarray(33, -8));
  const meta = brotliDecompressSync(outer.bytes());
  const changes = plain(outer.bytes());
  const w = new CborWriter();
  w.raw(body.subarray(0, 33));
  w.bytes(brotliCompressSync(spoilt(meta, random, []), { params: { 1: 1 } }));
  w.bytes(changes);
  const all = w.take();
  return concat(all, blake3(all).subarray(0, 8));
}

const bundle: Target = {
  name: "bundle",
  covers: ["log/bundle.ts unpackBundle"],
  runs: 4_000,
  codes: ["DB_DAMAGED"],
  make: spoiltBundle,
  run: (bytes) => unpackBundle(uid, bytes as Uint8Array),
  holds(bytes: Uint8Array, read: StoredCommit[]) {
    if (!same(cidDigest((read.at(-1) as StoredCommit).cid), bytes.subarray(1, 33)))
      return "has another last commit";
    return read.every((stored) => same(encodeCommit(stored.commit), stored.bytes))
      ? undefined
      : "has other commits";
  },
  kept:
    // One commit that says it has 2^53 - 1 events, or entries, and no columns of them: added to a list without end.
    [true, false].map((events) => {
      const w = new CborWriter();
      w.uint(1);
      w.uint(1);
      w.bytes(new Uint8Array(0));
      w.array(1);
      w.text("ann");
      for (let i = 0; i < 3; i += 1) w.array(0);
      const columns = [0, 0, 0, events ? 0 : 2 ** 53 - 1, events ? 2 ** 53 - 1 : 0];
      for (const value of columns) {
        w.array(1);
        w.uint(value);
      }
      for (let i = 0; i < 3; i += 1) w.array(0);
      w.array(1);
      w.text("");
      w.array(0);
      w.array(0);
      const meta = w.take();
      w.reset();
      const body = bundles[0] as Uint8Array;
      const inner = new CborReader(body.subarray(33, -8));
      inner.bytes();
      w.raw(body.subarray(0, 33));
      w.bytes(brotliCompressSync(meta));
      w.bytes(inner.bytes());
      const all = w.take();
      return plain(concat(all, blake3(all).subarray(0, 8)));
    }),
};

const rows = [0, 3].map((refused) =>
  encodeDocState({
    ...decodeDocState({
      id: 1,
      name: "c/k",
      state: fromHex("8500000080" + "80"),
      first: 1,
      last: 1,
      deleted: false,
    }),
    heads: new Map([
      ["01".repeat(32), 7],
      ["02".repeat(32), 300],
    ]),
    actors: new Map([["aa".repeat(16), { seq: 4, hash: "01".repeat(32), principal: "ann" }]]),
    maxOp: 300,
    changes: 9,
    bytes: 70_000,
    refused: new Map(Array.from({ length: refused }, (_, i) => [`0${i}`.repeat(32), "bb".repeat(16)])),
    refusedAt: refused,
  }),
);

const docState: Target = {
  name: "row of a document",
  covers: ["log/doc-state.ts decodeDocState"],
  runs: 40_000,
  codes: ["DERIVED_DAMAGED"],
  make: (random) => spoilt(random.pick(rows), random, rows),
  run: (state) =>
    decodeDocState({ id: 1, name: "c/k", state: state as Uint8Array, first: 1, last: 2, deleted: false }),
  holds: (bytes: Uint8Array, read: ReturnType<typeof decodeDocState>) =>
    same(encodeDocState(read), bytes) ? undefined : `is written again as ${toHex(encodeDocState(read))}`,
};

const branchRows = [
  {
    id: 0,
    name: "main",
    parent: 0,
    fork: 0,
    head: 0,
    headCid: undefined,
    closed: 0,
    deleted: 0,
    merged: new Map(),
  },
  {
    id: 300,
    name: "draft",
    parent: 0,
    fork: 299,
    head: 70_000,
    headCid: cidOf(CODEC_DAG_CBOR, new Uint8Array(3)),
    closed: 70_000,
    deleted: 0,
    merged: new Map([[0, 400]]),
  },
].map(encodeBranch);

const branchRow: Target = {
  name: "row of a branch",
  covers: ["log/branches.ts decodeBranch"],
  runs: 20_000,
  codes: ["DERIVED_DAMAGED"],
  make: (random) => spoilt(random.pick(branchRows), random, branchRows),
  run: (bytes) => decodeBranch(bytes as Uint8Array),
  holds: (bytes: Uint8Array, read: ReturnType<typeof decodeBranch>) =>
    same(encodeBranch(read), bytes) ? undefined : "is written again in other bytes",
};

export const logTargets: readonly Target[] = [
  sequence,
  commit,
  event,
  schemaStep,
  record,
  received,
  push,
  streamEnd,
  stream,
  bundle,
  docState,
  branchRow,
];
