import * as dagCbor from "@ipld/dag-cbor";
import fc from "fast-check";
import { CID } from "multiformats/cid";
import { CODEC_DAG_CBOR, CODEC_RAW, cidFromDigest } from "../../src/ids/cid.ts";
import { blake3, fromHex, toHex } from "../../src/ids/hash.ts";
import { decodeCommit, encodeCommit, type Commit } from "../../src/log/commit.ts";
import { decodeRecord, encodeRecord, writeRecord } from "../../src/log/record.ts";

const digest = fc.uint8Array({ minLength: 32, maxLength: 32 });
const raw = digest.map((bytes) => cidFromDigest(CODEC_RAW, bytes));
const dag = digest.map((bytes) => cidFromDigest(CODEC_DAG_CBOR, bytes));
const hash = digest.map(toHex);
const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 80 }),
  fc.string({ maxLength: 400 }),
  fc.constantFrom("", "\u{FEFF}", "\u{FEFF}after a mark", "\0", "__proto__", "é".repeat(32), "a".repeat(24)),
);
const count = fc.oneof(
  fc.nat(),
  fc.maxSafeNat(),
  fc.constantFrom(0, 23, 24, 255, 256, 65535, 65536, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER),
);
const hashes = fc.array(hash, { maxLength: 3 });
const commits: fc.Arbitrary<Commit> = fc
  .record(
    {
      version: fc.constant(1 as const),
      db: fc.uint8Array({ maxLength: 20 }),
      branch: text,
      seq: count,
      parents: fc.array(dag, { maxLength: 3 }),
      time: count,
      author: text,
      entries: fc.array(
        fc.record(
          {
            doc: text,
            base: hashes,
            changes: fc.array(raw, { maxLength: 30 }),
            heads: hashes,
            deleted: fc.constant(true),
            refused: fc.array(hash, { minLength: 1, maxLength: 3 }),
          },
          { requiredKeys: ["doc", "base", "changes", "heads"] },
        ),
        { maxLength: 4 },
      ),
      events: fc.array(raw, { maxLength: 3 }),
      message: text,
    },
    { requiredKeys: ["version", "db", "branch", "seq", "parents", "time", "author", "entries", "events"] },
  )
  .map((commit) => commit as Commit);

/** The same commit for the general encoder: links as CIDs, hashes as bytes. */
function general(commit: Commit): unknown {
  return {
    ...commit,
    parents: commit.parents.map((cid) => CID.decode(cid)),
    events: commit.events.map((cid) => CID.decode(cid)),
    entries: commit.entries.map((entry) => ({
      ...entry,
      base: entry.base.map(fromHex),
      heads: entry.heads.map(fromHex),
      changes: entry.changes.map((cid) => CID.decode(cid)),
      ...(entry.refused ? { refused: entry.refused.map(fromHex) } : {}),
    })),
  };
}

const plain = (value: unknown): string =>
  JSON.stringify(value, (_, part: unknown) => (ArrayBuffer.isView(part) ? toHex(part as Uint8Array) : part));

function refused(work: () => unknown): unknown {
  try {
    work();
    return "taken";
  } catch (error) {
    return (error as { code?: unknown }).code;
  }
}

describe("a commit's bytes", () => {
  test("are those that the general DAG-CBOR encoder writes", () => {
    fc.assert(
      fc.property(commits, (commit) => {
        expect(toHex(encodeCommit(commit))).toBe(toHex(dagCbor.encode(general(commit))));
      }),
      { numRuns: 500 },
    );
  });

  test("read back as the commit they came from", () => {
    fc.assert(
      fc.property(commits, (commit) => {
        const back = decodeCommit(encodeCommit(commit));
        const order = Object.fromEntries(Object.keys(commit).map((key) => [key, back[key as keyof Commit]]));
        expect(Object.keys(back).sort()).toEqual(Object.keys(commit).sort());
        expect(JSON.parse(plain(order))).toEqual(JSON.parse(plain(commit)));
      }),
      { numRuns: 300 },
    );
  });

  test("have one form only: whatever reads as a commit writes as the same bytes", () => {
    const seen = { taken: 0, refused: 0 };
    fc.assert(
      fc.property(commits, fc.nat(), fc.integer({ min: 1, max: 255 }), (commit, at, flip) => {
        const bytes = encodeCommit(commit);
        const other = bytes.slice();
        other[at % bytes.length] = (other[at % bytes.length] as number) ^ flip;
        let back: Commit | undefined;
        try {
          back = decodeCommit(other);
        } catch (error) {
          expect((error as { code?: unknown }).code).toBe("DB_DAMAGED");
          seen.refused += 1;
        }
        if (back) {
          seen.taken += 1;
          expect(toHex(encodeCommit(back))).toBe(toHex(other));
        }
      }),
      { numRuns: 2000 },
    );
    expect(seen.refused).toBeGreaterThan(100);
  });

  test("say how many parts they have, and are no commit when they have others", () => {
    const [link, hash] = [cidFromDigest(CODEC_RAW, new Uint8Array(32)), "ab".repeat(32)];
    const entry = { doc: "c/a", base: [], changes: [link], heads: [hash] };
    const commit: Commit = {
      version: 1,
      db: new Uint8Array(16),
      branch: "main",
      seq: 1,
      parents: [],
      time: 1,
      author: "ann",
      entries: [
        entry,
        { ...entry, deleted: true },
        { ...entry, refused: [hash] },
        { ...entry, deleted: true, refused: [hash] },
      ],
      events: [],
    };
    for (const some of [commit, { ...commit, message: "m" }]) {
      const bytes = Buffer.from(encodeCommit(some));
      expect(decodeCommit(bytes)).toEqual(some);
      // The commit's own head, and that of each entry, which begins with its "doc".
      const heads = [0];
      for (let at = bytes.indexOf("cdoc"); at > 0; at = bytes.indexOf("cdoc", at + 1)) heads.push(at - 1);
      expect(heads).toHaveLength(5);
      for (const at of heads) {
        expect((bytes[at] as number) >> 5).toBe(5);
        for (const off of [-2, -1, 1, 2]) {
          const other = Uint8Array.from(bytes);
          other[at] = (other[at] as number) + off;
          expect([at, off, refused(() => decodeCommit(other))]).toEqual([at, off, "DB_DAMAGED"]);
        }
      }
    }
  });

  test("cut short or with more behind them are not a commit", () => {
    fc.assert(
      fc.property(commits, fc.nat(), (commit, at) => {
        const bytes = encodeCommit(commit);
        expect(refused(() => decodeCommit(bytes.subarray(0, at % bytes.length)))).toBe("DB_DAMAGED");
        expect(refused(() => decodeCommit(new Uint8Array([...bytes, 0])))).toBe("DB_DAMAGED");
      }),
      { numRuns: 200 },
    );
  });
});

const parts = fc.record({
  digest,
  commit: fc.uint8Array({ maxLength: 300 }),
  blocks: fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 6 }),
  clientTxId: text,
});

describe("a record", () => {
  test("reads back as what was written", () => {
    fc.assert(
      fc.property(parts, (record) => {
        const { body, blocks } = writeRecord(record);
        expect(toHex(body)).toBe(toHex(encodeRecord(record)));
        expect(blocks.map(toHex)).toEqual(record.blocks.map(toHex));
        expect(JSON.parse(plain(decodeRecord(body, 1)))).toEqual(JSON.parse(plain(record)));
      }),
      { numRuns: 300 },
    );
  });

  test("reads back with parts as long as where a length takes one more byte", () => {
    const of = (length: number) => new Uint8Array(length).fill(7);
    for (const length of [0, 1, 127, 128, 129, 255, 256, 16_383, 16_384, 16_385, 2 ** 21 - 1, 2 ** 21]) {
      const small = { digest: of(32), commit: of(1), blocks: [of(1)], clientTxId: "t" };
      const records = [
        { ...small, commit: of(length) },
        { ...small, blocks: [of(1), of(length), of(1)] },
        { ...small, clientTxId: "t".repeat(length) },
        ...(length < 20_000 ? [{ ...small, blocks: Array.from({ length }, () => of(1)) }] : []),
      ];
      for (const record of records) {
        const { commit, blocks, clientTxId } = decodeRecord(encodeRecord(record), 1);
        expect([length, commit.length, clientTxId.length]).toEqual([
          length,
          record.commit.length,
          record.clientTxId.length,
        ]);
        expect(blocks.map((block) => block.length)).toEqual(record.blocks.map((block) => block.length));
      }
    }
  });

  test("with any one bit flipped is refused, and so is any beginning of it", () => {
    const commit = new Uint8Array(Buffer.from("a commit, for all that a record knows"));
    const body = encodeRecord({
      digest: blake3(commit),
      commit,
      blocks: [new Uint8Array(130).fill(3), new Uint8Array(0)],
      clientTxId: "tx",
    });
    for (let bit = 0; bit < body.length * 8; bit += 1) {
      const other = body.slice();
      other[bit >> 3] = (other[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(refused(() => decodeRecord(other, 1))).toBe("DB_DAMAGED");
    }
    for (let length = 0; length < body.length; length += 1)
      expect(refused(() => decodeRecord(body.subarray(0, length), 1))).toBe("DB_DAMAGED");
  });

  test("of another format is refused, also under a right check", () => {
    const body = encodeRecord({
      digest: new Uint8Array(32),
      commit: new Uint8Array(40),
      blocks: [],
      clientTxId: "",
    });
    const checked = (format: number): Uint8Array => {
      const head = new Uint8Array([format, ...body.subarray(1, -8)]);
      return new Uint8Array([...head, ...blake3(head).subarray(0, 8)]);
    };
    expect(checked(1)).toEqual(body);
    for (const format of [0, 2, 3, 129, 255])
      expect(refused(() => decodeRecord(checked(format), 1))).toBe("DB_DAMAGED");
  });

  test("with bytes left over is refused, also under a right check", () => {
    const body = encodeRecord({
      digest: new Uint8Array(32),
      commit: new Uint8Array(3),
      blocks: [],
      clientTxId: "t",
    });
    for (const more of [[0], [0, 0], [255]]) {
      const head = new Uint8Array([...body.subarray(0, -8), ...more]);
      const longer = new Uint8Array([...head, ...blake3(head).subarray(0, 8)]);
      expect(refused(() => decodeRecord(longer, 1))).toBe("DB_DAMAGED");
    }
  });

  test("whose check is right but whose lengths are not is refused", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (inside) => {
        const head = new Uint8Array([1, ...new Uint8Array(32), ...inside]);
        const body = new Uint8Array([...head, ...blake3(head).subarray(0, 8)]);
        const answer = refused(() => decodeRecord(body, 1));
        if (answer !== "taken") expect(answer).toBe("DB_DAMAGED");
      }),
      { numRuns: 2000 },
    );
  });
});
