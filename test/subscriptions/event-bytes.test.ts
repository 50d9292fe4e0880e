import fc from "fast-check";
import { decodeCborSequence, CborWriter, encodeCbor } from "../../src/ids/cbor.ts";
import { CODEC_DAG_CBOR, CODEC_RAW, cidFromDigest, cidOf, cidToString } from "../../src/ids/cid.ts";
import { FIRST_EPOCH, encodeCursor } from "../../src/ids/cursor.ts";
import { blake3, toHex } from "../../src/ids/hash.ts";
import type { Db } from "../../src/db/db.ts";
import { encodeCommit, type Commit } from "../../src/log/commit.ts";
import { erasedBy, eraseEvent } from "../../src/log/erased.ts";
import { CommitScan, type StoredCommit } from "../../src/log/log.ts";
import { rawOf, rawRecord } from "../../src/log/commit-scan.ts";
import { encodeRecord } from "../../src/log/record.ts";
import { Cursors } from "../../src/subscriptions/cursor.ts";
import { feedEncoder, type FeedFormat } from "../../src/subscriptions/feed-encoder.ts";
import { docTest, type FeedFilter } from "../../src/subscriptions/feed-filter.ts";
import { eventOf } from "../../src/subscriptions/feed.ts";
import { jsonToCbor } from "../../src/subscriptions/json-to-cbor.ts";
import { seedOf } from "../support/fault-process.ts";

const seed = seedOf();
const runs = { seed, numRuns: 60 };
const uid = new Uint8Array(16).fill(7);
/** All that is asked of a db here. */
const db = { log: { identity: { uid }, epoch: FIRST_EPOCH } } as unknown as Db;

const hash = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(toHex);
const bytes = fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ minLength: 510, maxLength: 520 }));
const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 12 }),
  fc.constantFrom("", '"\\\n', "ж€😀\u2028", "\u0000\u001f\u007f"),
);
const wellFormed = text.map((given) => given.toWellFormed());
const stored: fc.Arbitrary<StoredCommit> = fc
  .record({
    seq: fc.oneof(fc.integer({ min: 1, max: 2000 }), fc.integer({ min: 1, max: 2 ** 45 })),
    time: fc.oneof(fc.integer({ min: 0, max: 2 ** 42 }), fc.constantFrom(253402300799999, 253402300800000)),
    author: wellFormed,
    message: fc.option(wellFormed, { nil: undefined }),
    entries: fc.array(
      fc.record({
        key: wellFormed,
        collection: fc.constantFrom("a", "b"),
        base: fc.array(hash, { maxLength: 2 }),
        heads: fc.array(hash, { maxLength: 30 }),
        changes: fc.array(bytes, { maxLength: 3 }),
        deleted: fc.boolean(),
        refused: fc.array(hash, { maxLength: 2 }),
      }),
      { maxLength: 4 },
    ),
    other: fc.array(bytes, { maxLength: 1 }),
    erases: fc.boolean(),
  })
  .map(({ seq, time, author, message, entries, other, erases }) => {
    const [first] = entries;
    const events = [
      ...other,
      ...(erases && first ? [eraseEvent(`${first.collection}/${first.key}`, undefined)] : []),
    ];
    const commit: Commit = {
      version: 1,
      db: uid,
      branch: "main",
      seq,
      parents: seq > 1 ? [cidOf(CODEC_DAG_CBOR, uid)] : [],
      time,
      author,
      entries: entries.map(({ key, collection, base, heads, changes, deleted, refused }) => ({
        doc: `${collection}/${key}`,
        base,
        changes: changes.map((change) => cidOf(CODEC_RAW, change)),
        heads,
        ...(deleted ? { deleted: true } : {}),
        ...(refused.length > 0 ? { refused } : {}),
      })),
      events: events.map((event) => cidOf(CODEC_RAW, event)),
      ...(message === undefined ? {} : { message }),
    };
    const encoded = encodeCommit(commit);
    const blocks = [...entries.flatMap(({ changes }) => changes), ...events];
    return {
      cid: cidFromDigest(CODEC_DAG_CBOR, blake3(encoded)),
      bytes: encoded,
      commit,
      blocks,
      clientTxId: "t",
    };
  });
const filter: fc.Arbitrary<FeedFilter> = fc.oneof(
  fc.constant({}),
  fc.record({ prefix: fc.constantFrom("a/", "b/") }),
  fc.record({ visible: fc.constantFrom([], ["a/"], ["a/", "b/x"]) }),
);
const formats: readonly FeedFormat[] = ["lines", "list", "sse", "cbor"];

/** The commit as a record among others. */
function asRecord(given: StoredCommit): ReturnType<typeof rawRecord> {
  const { cid, bytes: commit, blocks, clientTxId } = given;
  const body = encodeRecord({ digest: cid.subarray(4), commit, blocks, clientTxId });
  const run = Buffer.concat([Buffer.alloc(3, 255), body, Buffer.alloc(3, 255)]);
  return rawRecord(run, 3, 3 + body.length, given.commit.seq);
}

test("a commit as it is stored goes out as the same bytes as the event read from it", () => {
  const scan = new CommitScan();
  fc.assert(
    fc.property(
      stored,
      filter,
      fc.boolean(),
      fc.constantFrom(...formats),
      (given, wanted, changes, format) => {
        const test = docTest(wanted);
        const [fast, slow, bundled] = [0, 1, 2].map(() => feedEncoder(db, format, 16)) as [
          ReturnType<typeof feedEncoder>,
          ReturnType<typeof feedEncoder>,
          ReturnType<typeof feedEncoder>,
        ];
        const event = eventOf(given, test, changes ? "changes" : "none");
        if (event) slow.event(event);
        for (const [encoder, raw] of [
          [fast, asRecord(given)],
          [bundled, rawOf(given)],
        ] as const) {
          scan.read(raw);
          expect(encoder.commit(scan, raw, test, changes)).toBe(event !== undefined);
        }
        const wantedBytes = slow.take();
        expect(fast.take()).toEqual(wantedBytes);
        expect(bundled.take()).toEqual(wantedBytes);
      },
    ),
    runs,
  );
});

test("an event in JSON says what the commit says, and in CBOR the same", () => {
  fc.assert(
    fc.property(stored, (given) => {
      const event = eventOf(given, undefined, "changes");
      if (!event) throw new Error("everything is let through");
      const json = feedEncoder(db, "lines");
      json.event(event);
      const { commit, cid } = given;
      const cursor = encodeCursor(uid, { epoch: FIRST_EPOCH, seq: commit.seq });
      let block = 0;
      const erased = erasedBy(given);
      const docs = commit.entries.map((entry) => {
        const changes = entry.changes.map(() => given.blocks[block++] as Uint8Array);
        return {
          doc: entry.doc,
          heads: entry.heads,
          ...(entry.deleted ? { deleted: true } : {}),
          ...(erased.has(entry.doc) ? { erased: true } : {}),
          ...(entry.refused ? { refused: entry.refused } : {}),
          // A change of no bytes is one that was erased.
          ...(changes.some(({ length }) => length === 0) ? { error: "ERASED" } : { changes }),
        };
      });
      const common = { seq: commit.seq, cursor, author: commit.author, branch: "main" };
      const message = commit.message === undefined ? {} : { message: commit.message };
      expect(JSON.parse(json.take().toString())).toEqual({
        ...common,
        ...message,
        commit: cidToString(cid),
        time: new Date(commit.time).toISOString(),
        docs: docs.map((doc) => ({
          ...doc,
          ...("changes" in doc
            ? { changes: doc.changes.map((change) => Buffer.from(change).toString("base64")) }
            : {}),
        })),
      });
      const cbor = feedEncoder(db, "cbor");
      cbor.event(event);
      const items = [...decodeCborSequence(Uint8Array.from(cbor.take()))];
      const hashes = (list: readonly string[]): Uint8Array[] =>
        list.map((one) => Uint8Array.from(Buffer.from(one, "hex")));
      const plain = (value: unknown): unknown =>
        JSON.parse(
          JSON.stringify(value, (_key, item: unknown) =>
            ArrayBuffer.isView(item) ? toHex(item as Uint8Array) : item,
          ),
        );
      expect(plain(items)).toEqual(
        plain([
          {
            ...common,
            ...message,
            commit: Uint8Array.from(cid),
            time: commit.time,
            docs: docs.map((doc) => ({
              ...doc,
              heads: hashes(doc.heads),
              ...(doc.refused ? { refused: hashes(doc.refused) } : {}),
              ...("changes" in doc ? { changes: doc.changes.map((change) => Uint8Array.from(change)) } : {}),
            })),
          },
        ]),
      );
    }),
    runs,
  );
});

test("cursors made in a row are those made one by one", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 45 }), fc.integer({ min: 1, max: 1200 }), (first, count) => {
      const cursors = new Cursors(db);
      for (let seq = first; seq < first + count; seq += 7)
        expect(cursors.at(seq)).toBe(encodeCursor(uid, { epoch: FIRST_EPOCH, seq }));
    }),
    { ...runs, numRuns: 40 },
  );
});

test("bytes that are not a commit's are refused, wherever they are wrong", () => {
  const scan = new CommitScan();
  fc.assert(
    fc.property(stored, fc.nat(), fc.integer({ min: 1, max: 255 }), (given, place, flip) => {
      const wrong = Uint8Array.from(given.bytes);
      wrong[place % wrong.length] = (wrong[place % wrong.length] as number) ^ flip;
      const raw = { ...rawOf(given), bytes: wrong };
      // It may read as another commit: what vouches for the bytes is the record's check, not this.
      try {
        scan.read(raw);
      } catch (error) {
        expect((error as { code?: string }).code).toBe("DB_DAMAGED");
      }
      const { cid, bytes: commit, blocks } = given;
      const body = encodeRecord({ digest: cid.subarray(4), commit, blocks, clientTxId: "" });
      const at = place % body.length;
      body[at] = (body[at] as number) ^ flip;
      expect(() => rawRecord(body, 0, body.length, given.commit.seq)).toThrow(
        expect.objectContaining({ code: "DB_DAMAGED" }) as Error,
      );
    }),
    runs,
  );
});

test("JSON becomes the CBOR of the same value", () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), fc.boolean(), (value, spaced) => {
      const w = new CborWriter(8);
      const plain = JSON.parse(JSON.stringify(value)) as unknown;
      jsonToCbor(w, JSON.stringify(plain, null, spaced ? 1 : 0));
      const order = (given: unknown): unknown => given;
      expect(decodeAll(w.take())).toEqual(order(plain));
    }),
    runs,
  );
  const big = new CborWriter();
  jsonToCbor(big, "[18446744073709551615,-18446744073709551616,18446744073709551616,-1,1.5]");
  expect(toHex(big.take())).toBe(
    "851bffffffffffffffff3bfffffffffffffffffb43f000000000000020fb3ff8000000000000",
  );
  expect(toHex(encodeCbor([1, -1, 1.5, null, true, "a"]))).toBe(
    (() => {
      const w = new CborWriter();
      jsonToCbor(w, '[1,-1,1.5,null,true,"a"]');
      return toHex(w.take());
    })(),
  );
});

/** Reads what is written here: floats too, which the decoder for peers does not take. */
function decodeAll(encoded: Uint8Array): unknown {
  const view = new DataView(encoded.buffer, encoded.byteOffset, encoded.byteLength);
  let at = 0;
  const item = (): unknown => {
    const first = encoded[at++] as number;
    const info = first & 31;
    if (first >> 5 === 7) {
      if (first === 0xfb) return view.getFloat64((at += 8) - 8);
      return first === 0xf6 ? null : first === 0xf5;
    }
    const exact =
      info < 24
        ? BigInt(info)
        : info === 24
          ? BigInt(view.getUint8(at))
          : info === 25
            ? BigInt(view.getUint16(at))
            : info === 26
              ? BigInt(view.getUint32(at))
              : view.getBigUint64(at);
    const count = Number(exact);
    if (info >= 24) at += 1 << (info - 24);
    switch (first >> 5) {
      case 0:
        return count;
      case 1:
        return Number(-1n - exact);
      case 3:
        return new TextDecoder("utf-8", { ignoreBOM: true }).decode(encoded.subarray(at, (at += count)));
      case 4:
        return Array.from({ length: count }, item);
      default:
        return Object.fromEntries(Array.from({ length: count }, () => [item(), item()]));
    }
  };
  return item();
}
