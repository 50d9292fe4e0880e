import { mkdtempSync } from "node:fs";
import path from "node:path";
import * as A from "@automerge/automerge";
import { CODEC_DAG_CBOR, CODEC_RAW, cidOf } from "../../src/ids/cid.ts";
import { blake3 } from "../../src/ids/hash.ts";
import { encodeMergeEvent, type MergeEvent } from "../../src/log/branch-events.ts";
import { encodeCommit, type Commit } from "../../src/log/commit.ts";
import { Log, type StoredCommit } from "../../src/log/log.ts";
import { encodeRecord } from "../../src/log/record.ts";
import { bodyOf } from "../../src/log/stored-commit.ts";
import { openSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { createSqliteLog } from "../../src/store/sqlite-log.ts";
import { findingsIn } from "../support/ledger.ts";
import { memoryDir } from "../support/temp-dir.ts";
import { ACTORS, copyOf, createLog, lastChange, refusal, set, tx, write } from "./fixture.ts";

/** Merges of branches as another server sends them, forged in every way: none is taken, and verify finds each. */
const root = memoryDir();
const [AA, BB, CC] = ACTORS;

/** Two documents on a branch and one of them on main as well; commit 7 merges the branch. */
async function source(): Promise<Log> {
  const { log } = createLog(root);
  const a = set(copyOf(log, "d/a", AA), { n: 1 });
  await log.write(tx(write("d/a", [lastChange(a)])));
  await log.createBranch("draft", { author: "ann" });
  const there = set(A.clone(a, { actor: BB }), { n: 2 });
  await log.write(tx(write("d/a", [lastChange(there)]), { branch: "draft", author: "bob" }));
  await log.write(tx(write("d/b", [lastChange(set(copyOf(log, "d/b", CC), { b: 1 }))]), { branch: "draft" }));
  await log.write(tx(write("d/a", [lastChange(set(a, { n: 3 }))])));
  await log.createBranch("other", { author: "ann" });
  await log.merge({ author: "mia", clientTxId: "", from: "draft", into: "main" });
  return log;
}

function copyFor(uid: Uint8Array) {
  const folder = path.join(mkdtempSync(path.join(root, "copy-")), "db");
  const storage = createSqliteLog(folder, "copy", { reserve: 0, uid });
  return { storage, log: new Log(storage, openSqliteCatalog(folder)) };
}

/** The merge put together again after a change to it, its addresses and its check right. */
function forged(
  merge: StoredCommit,
  alter: (commit: Commit) => Partial<Commit>,
  blocks = merge.blocks,
): Uint8Array {
  const commit = encodeCommit({ ...merge.commit, ...alter(merge.commit) });
  return encodeRecord({ digest: blake3(commit), commit, blocks, clientTxId: "" });
}

const event = (more: Partial<MergeEvent>): Uint8Array =>
  encodeMergeEvent({ type: "branch.merge", from: "draft", seq: 4, ...more });

type Forgery = (merge: StoredCommit, log: Log) => Uint8Array;
const withEvent =
  (bytes: Uint8Array): Forgery =>
  (merge) =>
    forged(merge, () => ({ events: [cidOf(CODEC_RAW, bytes)] }), [...merge.blocks.slice(0, -1), bytes]);
const cidAt = (log: Log, seq: number): Uint8Array => (log.commit(seq) as StoredCommit).cid;
const entriesWithout = (commit: Commit, doc: string) => commit.entries.filter((entry) => entry.doc !== doc);

const forgeries: Readonly<Record<string, Forgery>> = {
  "leaves a document out": (merge) =>
    forged(
      merge,
      (commit) => ({ entries: entriesWithout(commit, "d/b") }),
      merge.blocks.filter((_, i) => i !== 1),
    ),
  "brings nothing": (merge) => forged(merge, () => ({ entries: [] }), merge.blocks.slice(-1)),
  "names another commit as its second parent": (merge, log) =>
    forged(merge, ({ parents }) => ({ parents: [parents[0] as Uint8Array, cidAt(log, 3)] })),
  "names a commit of no log as its second parent": (merge) =>
    forged(merge, ({ parents }) => ({
      parents: [parents[0] as Uint8Array, cidOf(CODEC_DAG_CBOR, new Uint8Array(3))],
    })),
  "names another branch": withEvent(event({ from: "other" })),
  "names a branch that is not there": withEvent(event({ from: "none" })),
  "names an earlier commit than its second parent": withEvent(event({ seq: 3 })),
  "names a later commit": withEvent(event({ seq: 9 })),
  "names its own branch": withEvent(event({ from: "main", seq: 5 })),
  "says that nothing went before it in the same merge": withEvent(
    encodeMergeEvent({ type: "branch.merge", from: "draft", seq: 4, continues: 0 }),
  ),
  "has no event": (merge) => forged(merge, () => ({ events: [] }), merge.blocks.slice(0, -1)),
  "has an event and one parent": (merge) =>
    forged(merge, ({ parents }) => ({ parents: [parents[0] as Uint8Array] })),
};

test("a merge is taken over as it is, and the copy is the same", async () => {
  const log = await source();
  const copy = copyFor(log.identity.uid);
  await copy.log.receive(copy.log.head(), log.commits(1, 100).map(bodyOf));
  expect(copy.log.head().cid).toEqual(log.head().cid);
  expect(copy.log.branches()).toEqual(log.branches());
  expect(copy.log.state("d/b")?.actors).toEqual(log.state("d/b")?.actors);
  expect(findingsIn(copy.storage)).toEqual([]);
});

test.each(Object.entries(forgeries))("a merge that %s is not taken over", async (_, forge) => {
  const log = await source();
  const copy = copyFor(log.identity.uid);
  const bodies = log.commits(1, 6).map(bodyOf);
  await copy.log.receive(copy.log.head(), bodies);
  const merge = log.commit(7) as StoredCommit;
  const before = copy.log.head();
  const { code } = await refusal(() => copy.log.receive(before, [forge(merge, log)]));
  expect(code).toBe("SYNC_INVALID");
  expect(copy.log.head()).toEqual(before);
});

test.each(Object.entries(forgeries))("verify finds a merge that %s", async (_, forge) => {
  const log = await source();
  const { storage } = copyFor(log.identity.uid);
  const merge = log.commit(7) as StoredCommit;
  const bodies = [...log.commits(1, 6).map(bodyOf), forge(merge, log)];
  await storage.append(bodies.map((body, i) => ({ seq: i + 1, body })));
  expect(findingsIn(storage).map(({ what }) => what)).toContain("merged");
});
