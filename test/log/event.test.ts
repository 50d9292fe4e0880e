import * as fc from "fast-check";
import { encodeCommit, decodeCommit, type Commit } from "../../src/log/commit.ts";
import { CommitScan, rawOf } from "../../src/log/commit-scan.ts";
import { packBundle, unpackBundle } from "../../src/log/bundle.ts";
import { decodeEvent, encodeEvent } from "../../src/log/event.ts";
import { CODEC_DAG_CBOR, CODEC_RAW, cidOf } from "../../src/ids/cid.ts";
import { toHex } from "../../src/ids/hash.ts";
import type { StoredCommit } from "../../src/log/stored-commit.ts";

const field = fc.oneof(
  fc.string(),
  fc.nat(),
  fc.boolean(),
  fc.uint8Array({ maxLength: 40 }).map((bytes) => new Uint8Array(bytes)),
);

describe("an event's bytes", () => {
  test("come back as the event, and are the same for the same fields in any order", () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.stringMatching(/^[a-z][a-z_]{0,9}$/), field),
        fc.string(),
        (fields, type) => {
          const event = { ...fields, type };
          const bytes = encodeEvent(event);
          const turned = Object.fromEntries(Object.entries(event).reverse());
          expect(toHex(encodeEvent({ ...turned, type }))).toBe(toHex(bytes));
          const back = decodeEvent(bytes);
          expect(Object.keys(back).sort()).toEqual(Object.keys(event).sort());
          for (const [name, value] of Object.entries(event)) expect(back[name]).toEqual(value);
        },
      ),
      { numRuns: 300 },
    );
  });

  test.each([
    ["nothing", "", /not those of an event/],
    ["a map without a type", "a161610a", /not those of an event/],
    ["a number for its type", "a16474797065 01".replace(" ", ""), /not those of an event/],
    ["something behind it", `${toHex(encodeEvent({ type: "x" }))}00`, /not those of an event/],
    ["fields in another order", "a26474797065616162 6161".replace(" ", ""), /not those of an event/],
  ])("are refused when they are %s", (_, hex, message) => {
    expect(() => decodeEvent(Buffer.from(hex, "hex"))).toThrow(message);
  });
});

describe("a commit on a branch, with a line, events and a signature", () => {
  const db = new Uint8Array(16).fill(7);
  const link = (n: number): Uint8Array => cidOf(CODEC_DAG_CBOR, Uint8Array.of(n));
  const event = encodeEvent({ type: "branch.create", name: "draft", seq: 3 });
  const stored = (commit: Commit, blocks: Uint8Array[]): StoredCommit => {
    const bytes = encodeCommit(commit);
    return { cid: cidOf(CODEC_DAG_CBOR, bytes), bytes, commit, blocks, clientTxId: "" };
  };
  const first = stored(
    {
      version: 1,
      db,
      branch: "main",
      seq: 4,
      parents: [link(3)],
      time: 10,
      author: "ann",
      entries: [],
      events: [],
    },
    [],
  );
  const commit: Commit = {
    version: 1,
    db,
    branch: "draft",
    seq: 5,
    parents: [link(3)],
    line: first.cid,
    time: 12,
    author: "ann",
    entries: [],
    events: [cidOf(CODEC_RAW, event)],
    message: "try it",
    signed: { signer: "did:key:z6Mk", signature: new Uint8Array(64).fill(9) },
  };
  const second = stored(commit, [event]);
  const third = stored(
    {
      version: 1,
      db,
      branch: "main",
      seq: 6,
      parents: [first.cid],
      line: second.cid,
      time: 13,
      author: "bo",
      entries: [],
      events: [],
    },
    [],
  );

  test("comes back from its bytes, and each field alone does", () => {
    expect(decodeCommit(encodeCommit(commit))).toEqual(commit);
    const { line, signed, ...plain } = commit;
    for (const one of [plain, { ...plain, line }, { ...plain, signed }])
      expect(decodeCommit(encodeCommit(one as Commit))).toEqual(one);
  });

  test("is scanned without being decoded", () => {
    const scan = new CommitScan();
    scan.read(rawOf(second));
    expect(Buffer.from(scan.bytes.subarray(scan.branchAt, scan.branchEnd)).toString()).toBe("draft");
    expect(Buffer.from(scan.bytes.subarray(scan.messageAt, scan.messageEnd)).toString()).toBe("try it");
    expect(scan.seq).toBe(5);
  });

  test("comes back from a bundle with those around it, each under its address", () => {
    const commits = [first, second, third];
    const back = unpackBundle(db, packBundle(db, commits));
    expect(back.map(({ cid }) => toHex(cid))).toEqual(commits.map(({ cid }) => toHex(cid)));
    expect(back.map(({ commit: one }) => one)).toEqual(commits.map(({ commit: one }) => one));
    expect(toHex(back[1]?.blocks[0] as Uint8Array)).toBe(toHex(event));
  });
});
