import * as A from "@automerge/automerge";
import { CODEC_DAG_CBOR, CODEC_RAW, cidOf } from "../../src/ids/cid.ts";
import { blake3 } from "../../src/ids/hash.ts";
import { encodeCommit, type Commit, type CommitEntry } from "../../src/log/commit.ts";
import { encodeRecord } from "../../src/log/record.ts";
import type { LogStorage } from "../../src/store/contract.ts";
import { findingsIn } from "../support/ledger.ts";
import { tempDir } from "../support/temp-dir.ts";
import { ACTORS, copyOf, createLog, forge, lastChange, set, tx, write } from "./fixture.ts";
import { realWorld } from "../../src/world.ts";

const root = tempDir();
const [AA, BB] = ACTORS;

/** A log of two commits to one document, and a way to write a third past every check. */
async function withTwo() {
  const { log, storage } = createLog(root, { world: { ...realWorld, now: () => 5000 } });
  const one = set(copyOf(log, "notes/a", AA), { n: 1 });
  const two = set(one, { n: 2 });
  for (const doc of [one, two]) await log.write(tx(write("notes/a", [lastChange(doc)])));
  const three = lastChange(set(two, { n: 3 }));
  const hash = (change: Uint8Array): string => A.decodeChange(change).hash as string;
  const append = async (
    change: Uint8Array,
    more: Partial<Commit> = {},
    part: Partial<CommitEntry> = {},
    alter: { blocks?: Uint8Array[]; digest?: Uint8Array; raw?: Uint8Array } = {},
  ): Promise<void> => {
    const entry: CommitEntry = {
      doc: "notes/a",
      base: A.getHeads(two),
      changes: [cidOf(CODEC_RAW, change)],
      heads: part.heads ?? [hash(change)],
      ...part,
    };
    const commit = encodeCommit({
      version: 1,
      db: log.identity.uid,
      branch: "main",
      seq: 3,
      parents: [log.head().cid as Uint8Array],
      time: 5000,
      author: "ann",
      entries: [entry],
      events: [],
      ...more,
    });
    const record = encodeRecord({
      digest: alter.digest ?? blake3(commit),
      commit,
      blocks: alter.blocks ?? [change],
      clientTxId: "",
    });
    await storage.append([{ seq: 3, body: alter.raw ?? record }]);
  };
  return { log, storage, two, three, append, hash };
}

type Fixture = Awaited<ReturnType<typeof withTwo>>;

const kinds = (storage: LogStorage): string[] => [...new Set(findingsIn(storage).map(({ what }) => what))];

describe("verify finds", () => {
  test("nothing in a sound log", async () => {
    const { storage, three, append } = await withTwo();
    await append(three);
    expect(findingsIn(storage)).toEqual([]);
    storage.close();
  });

  const broken: [string, string[], (made: Fixture) => Promise<void>][] = [
    [
      "a record that is none",
      ["record"],
      ({ three, append }) => append(three, {}, {}, { raw: new Uint8Array(50) }),
    ],
    [
      "a commit that does not hash to what its record says",
      ["address"],
      ({ three, append }) => append(three, {}, {}, { digest: new Uint8Array(32) }),
    ],
    ["a commit under another's seq", ["chain"], ({ three, append }) => append(three, { seq: 4 })],
    ["a commit without its parent", ["chain"], ({ three, append }) => append(three, { parents: [] })],
    [
      "a commit with another parent",
      ["chain"],
      ({ three, append }) => append(three, { parents: [cidOf(CODEC_DAG_CBOR, new Uint8Array([1]))] }),
    ],
    [
      "a commit of another db",
      ["identity"],
      ({ three, append }) => append(three, { db: new Uint8Array(16) }),
    ],
    ["a commit older than the one before", ["time"], ({ three, append }) => append(three, { time: 4999 })],
    [
      "a record without a block that its commit names",
      ["blocks", "heads"],
      ({ three, append }) => append(three, {}, {}, { blocks: [] }),
    ],
    [
      "a block that is not the one named",
      ["address", "heads"],
      ({ three, append }) => append(three, {}, {}, { blocks: [forge(three, { time: 9 })] }),
    ],
    [
      "a change that is none",
      ["change", "heads"],
      ({ three, append, hash }) => {
        const cut = three.slice(0, -1);
        return append(cut, {}, { heads: [hash(three)], changes: [cidOf(CODEC_RAW, cut)] }, { blocks: [cut] });
      },
    ],
    [
      "a change on one that is not there",
      ["deps"],
      ({ two, three, append }) =>
        append(forge(three, { deps: [...A.getHeads(two), "ff".repeat(32)].sort() })),
    ],
    ["a number left out", ["actor"], ({ three, append }) => append(forge(three, { seq: 4 }))],
    ["a number used twice", ["actor"], ({ three, append }) => append(forge(three, { seq: 2 }))],
    [
      "operations out of their order",
      ["ops"],
      ({ three, append }) =>
        append(
          forge(three, { startOp: 2, ops: [{ action: "set", obj: "_root", key: "n", value: 3, pred: [] }] }),
        ),
    ],
    ["operations far ahead", ["ops"], ({ three, append }) => append(forge(three, { startOp: 9 }))],
    [
      "no operations, at the wrong number",
      ["ops"],
      ({ three, append }) => append(forge(three, { actor: BB, seq: 1, startOp: 9, ops: [] })),
    ],
    ["an entry on other heads", ["base"], ({ three, append }) => append(three, {}, { base: [] })],
    [
      "an entry with other heads after it",
      ["heads"],
      ({ two, three, append }) => append(three, {}, { heads: A.getHeads(two) }),
    ],
    [
      "a document's name that is none",
      ["record"],
      ({ three, append }) => append(three, {}, { doc: "no-name" }),
    ],
  ];
  test.each(broken)("%s", async (_, expected, spoil) => {
    const made = await withTwo();
    await spoil(made);
    expect(kinds(made.storage).sort()).toEqual(expected);
    for (const { where } of findingsIn(made.storage)) expect(where).toMatch(/commit 3/);
    made.storage.close();
  });
});
