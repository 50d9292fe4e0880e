import * as A from "@automerge/automerge";
import { cidFromString, cidToString } from "../../src/ids/cid.ts";
import { cursorAt, seqOfCursor } from "../../src/subscriptions/cursor.ts";
import { Consumer } from "../../src/subscriptions/subscription-consumer.ts";
import { Subscriptions } from "../../src/subscriptions/subscriptions.ts";
import { pull, push } from "../../src/replication/exchange.ts";
import { checkLogNow } from "../../src/db/check.ts";
import { sqliteFiles, type DbFiles } from "../../src/db/files.ts";
import { mergedIn } from "../../src/log/merged.ts";
import type { StoredCommit } from "../../src/log/log.ts";
import { decodeRecord, encodeRecord } from "../../src/log/record.ts";
import type { AdoptedLine } from "../../src/store/contract.ts";
import { openSqliteLog } from "../../src/store/sqlite-log.ts";
import { StorageAround } from "../support/broken-builds.ts";
import {
  codeOf,
  copies,
  openEngine,
  peerOf,
  headOf,
  lineOf,
  carrying,
  put,
  read,
  wrongWith,
} from "./fixture.ts";

const { engine, copy, peer, made } = copies();

/** Two copies of a db with a few documents. */
async function two(): Promise<[string, string]> {
  const a = await made();
  for (let n = 0; n < 6; n += 1)
    await put(engine, `items/${n % 3}`, { n }, { db: a, clientTxId: `first-${n}` });
  const b = await copy(a);
  await pull({ here: peer(b), there: peer(a) }, carrying);
  return [a, b];
}

const both = (here: string, there: string) => ({ here: peer(here), there: peer(there) });

test("what both wrote is merged by a pull, and a push makes both the same", async () => {
  const [a, b] = await two();
  const there = [
    await put(engine, "items/0", { n: 3, there: true }, { db: a }),
    await put(engine, "items/there", { n: 1 }, { db: a, clientTxId: "there" }),
  ];
  const here = [
    await put(engine, "items/0", { n: 3, here: true }, { db: b }),
    await put(engine, "items/here", { n: 1 }, { db: b, clientTxId: "here" }),
    await put(engine, "items/here", { n: 2 }, { db: b, author: "bea" }),
  ];
  const heads = [await headOf(engine, b), await headOf(engine, a)];
  const done = await pull(both(b, a), carrying);
  expect(done).toMatchObject({ received: { commits: 2 }, head: { seq: 9 }, ahead: 1 });
  expect(done.merged).toMatchObject({ common: 6, heads: [{ seq: 9 }, { seq: 8 }] });
  expect((await lineOf(engine, b)).slice(0, 8)).toEqual(await lineOf(engine, a));
  expect(await read(engine, "items/0", b)).toEqual({ n: 3, here: true, there: true });
  expect(await read(engine, "items/here", b)).toEqual({ n: 2 });
  expect(await wrongWith(engine, b)).toEqual([]);

  expect(await push(both(b, a), carrying)).toMatchObject({ sent: { commits: 1 }, ahead: 0 });
  expect(await lineOf(engine, a)).toEqual(await lineOf(engine, b));
  for (const db of [a, b]) {
    expect(await wrongWith(engine, db, [...here, ...there])).toEqual([]);
    await engine.use(db, async ({ log }) => {
      const merge = log.commit(9);
      expect(merge?.commit.parents.map((cid) => Buffer.from(cid))).toEqual(
        [heads[1], heads[0]].map((head) => Buffer.from(head?.cid as Uint8Array)),
      );
      // Every commit of both lines is found by its address.
      for (const { commit } of [...here, ...there]) {
        const cid = cidFromString(commit);
        expect(await log.locate(cid)).toBeGreaterThan(6);
        expect(log.block(cid)).toBeDefined();
      }
      expect(
        [...(log.state("items/here")?.actors.values() ?? [])].map(({ principal }) => principal),
      ).toContain("ann");
    });
    // What came in with a merge is no point of this db; the merge is.
    const within = here[1]?.commit as string;
    await engine.use(db, async (held) => {
      await expect(held.read("items/here", { at: within })).rejects.toMatchObject({
        code: "POINT_OTHER_BRANCH",
        details: { seq: 9 },
      });
      await expect(held.read("items/here", { at: there[1]?.commit as string })).rejects.toMatchObject({
        code: "DOC_NOT_FOUND",
      });
    });
    // Receipts of both lines are still those.
    expect(await put(engine, "items/here", { n: 9 }, { db, clientTxId: "here" })).toMatchObject({
      duplicate: true,
      commit: here[1]?.commit,
    });
    expect(await put(engine, "items/there", { n: 9 }, { db, clientTxId: "there" })).toMatchObject({
      duplicate: true,
      commit: there[1]?.commit,
    });
  }
  expect(await pull(both(b, a), carrying)).toMatchObject({ received: { commits: 0 }, ahead: 0 });
  expect(await pull(both(a, b), carrying)).toMatchObject({ received: { commits: 0 }, ahead: 0 });
});

test("merges can be merged again, on either side, and go into bundles", async () => {
  const [a, b] = await two();
  const receipts = [];
  for (let round = 0; round < 4; round += 1) {
    for (let n = 0; n <= round; n += 1) {
      receipts.push(
        await put(engine, `items/${n}`, { round, a: n }, { db: a, clientTxId: `a-${round}-${n}` }),
      );
      receipts.push(
        await put(engine, `items/${n}`, { round, b: n }, { db: b, clientTxId: `b-${round}-${n}` }),
      );
    }
    // One side merges, and both write again before it is sent.
    await pull(round % 2 ? both(a, b) : both(b, a), carrying);
    if (round === 2) {
      await engine.use(b, (db) => db.compact());
      await engine.use(a, (db) => db.compact({ upTo: 8 }));
    }
  }
  await push(both(b, a), carrying);
  await pull(both(b, a), carrying);
  expect(await lineOf(engine, a)).toEqual(await lineOf(engine, b));
  for (const db of [a, b]) expect(await wrongWith(engine, db, receipts)).toEqual([]);
  await engine.use(a, (db) => db.compact());
  expect(await wrongWith(engine, a, receipts)).toEqual([]);
  const c = await copy(a);
  await pull(both(c, a), carrying);
  expect(await lineOf(engine, c)).toEqual(await lineOf(engine, b));
  expect(await wrongWith(engine, c, receipts)).toEqual([]);
});

test("a commit is found where it stands, also when a merge after it holds it too, and when it is in a bundle", async () => {
  const [a, b] = await two();
  await put(engine, "items/0", { a: 1 }, { db: a });
  await put(engine, "items/1", { b: 1 }, { db: b });
  const c = await copy(a);
  await pull(both(c, a), carrying);
  // On the line of the second copy the first one's commit is in a merge; the third copy's line has it as it is.
  await pull(both(a, b), carrying);
  await pull(both(a, c), carrying);
  const places = async (): Promise<unknown> =>
    engine.use(a, async ({ log }) => {
      const line = Array.from({ length: log.head().seq }, (_, i) => log.commit(i + 1) as StoredCommit);
      const within = line.flatMap((stored) => mergedIn(stored));
      const cids = [...line, ...within].map(({ cid }) => cid);
      const found = await Promise.all(cids.map(async (cid) => [cidToString(cid), await log.locate(cid)]));
      expect(cids.map((cid) => log.findCommit(cid))).toEqual(found.map(([, seq]) => seq));
      return Object.fromEntries(found) as Record<string, number>;
    });
  const line = await lineOf(engine, a);
  expect(line).toHaveLength(8);
  const before = await places();
  expect(before).toMatchObject(Object.fromEntries(line.map((cid, i) => [cid, i + 1])));
  // The first copy's commit is one of those within the merge.
  expect(Object.keys(before as object)).toHaveLength(10);
  expect(await wrongWith(engine, a)).toEqual([]);
  await engine.use(a, (db) => db.compact({ upTo: 7 }));
  expect(await places()).toEqual(before);
  expect(await wrongWith(engine, a)).toEqual([]);
  await put(engine, "items/2", { a: 2 }, { db: a });
  await engine.use(a, (db) => db.compact());
  expect(await places()).toMatchObject(before as object);
  await engine.rebuild(a);
  expect(await places()).toMatchObject(before as object);
  expect(await wrongWith(engine, a)).toEqual([]);
});

test("a deletion stands unless the other side wrote the document too", async () => {
  const [a, b] = await two();
  const remove = (db: string, doc: string) =>
    engine.use(db, (held) => held.tx({ author: "ann", writes: [{ doc, delete: true }] }));
  await remove(b, "items/0");
  await remove(b, "items/1");
  await remove(b, "items/2");
  await put(engine, "items/1", { n: 7 }, { db: a });
  await remove(a, "items/2");
  await push(both(b, a), carrying);
  expect(await lineOf(engine, a)).toEqual(await lineOf(engine, b));
  expect(await codeOf(() => read(engine, "items/0", a))).toBe("DOC_NOT_FOUND");
  expect(await read(engine, "items/1", a)).toEqual({ n: 7 });
  expect(await codeOf(() => read(engine, "items/2", a))).toBe("DOC_NOT_FOUND");
  expect([await wrongWith(engine, a), await wrongWith(engine, b)]).toEqual([[], []]);
});

test("an actor that wrote two things under one number cannot be merged: it is named and nothing is kept", async () => {
  const [a, b] = await two();
  const actor = "ab".repeat(16);
  const hashes: string[] = [];
  for (const db of [a, b]) {
    await engine.use(db, async (held) => {
      const [doc] = A.applyChanges(A.init<Record<string, unknown>>({ actor }), [held.genesis("x/y").bytes]);
      const change = A.getLastLocalChange(
        A.change(doc, { time: 0 }, (draft) => void (draft["from"] = db)),
      ) as Uint8Array;
      hashes.push(A.decodeChange(change).hash as string);
      await held.tx({ author: "ann", writes: [{ doc: "x/y", changes: [change] }] });
    });
  }
  const before = await lineOf(engine, b);
  const error = await pull(both(b, a), carrying).catch((caught: unknown) => caught);
  expect(error).toMatchObject({ code: "SYNC_EQUIVOCATION", details: { doc: "x/y", actor } });
  expect((error as { details: { hashes: string[] } }).details.hashes.toSorted()).toEqual(hashes.toSorted());
  expect(await lineOf(engine, b)).toEqual(before);
  expect(await read(engine, "x/y", b)).toEqual({ from: b });
  expect(await wrongWith(engine, b)).toEqual([]);
});

test("the same transaction made on both sides keeps the receipt of the line that it is merged into", async () => {
  const [a, b] = await two();
  const there = await put(engine, "items/twice", { n: 1 }, { db: a, clientTxId: "twice" });
  await put(engine, "items/twice", { n: 1 }, { db: b, clientTxId: "twice" });
  await push(both(b, a), carrying);
  for (const db of [a, b]) {
    expect(await put(engine, "items/twice", { n: 1 }, { db, clientTxId: "twice" })).toMatchObject({
      duplicate: true,
      commit: there.commit,
    });
    expect(await wrongWith(engine, db)).toEqual([]);
  }
});

test("without merging, a push to a side that went on is refused, and a merge leaves the other side alone", async () => {
  const [a, b] = await two();
  await put(engine, "items/0", { a: 1 }, { db: a });
  await put(engine, "items/0", { b: 1 }, { db: b });
  const [lineA, lineB] = [await lineOf(engine, a), await lineOf(engine, b)];
  expect(await codeOf(() => push(both(b, a), carrying, { merge: false }))).toBe("SYNC_DIVERGED");
  expect([await lineOf(engine, a), await lineOf(engine, b)]).toEqual([lineA, lineB]);
  await pull(both(b, a), carrying);
  expect(await lineOf(engine, a)).toEqual(lineA);
});

test("a db that merged is in a new life, which shares the places up to the last common commit", async () => {
  const [a, b] = await two();
  await put(engine, "items/0", { a: 1 }, { db: a });
  await put(engine, "items/0", { b: 1 }, { db: b });
  const cursors = await engine.use(b, (db) => [0, 6, 7].map((seq) => cursorAt(db, seq)));
  await pull(both(b, a), carrying);
  expect(await engine.use(b, ({ log }) => [log.epoch, log.lives])).toEqual([
    2,
    [
      { epoch: 1, after: 0 },
      { epoch: 2, after: 6 },
    ],
  ]);
  expect(await engine.use(a, ({ log }) => log.epoch)).toBe(1);
  await engine.use(b, (db) => {
    expect(cursors.slice(0, 2).map((text) => seqOfCursor(db, text))).toEqual([0, 6]);
    const error = catching(() => seqOfCursor(db, cursors[2] as string));
    expect(error).toMatchObject({
      code: "EPOCH_CHANGED",
      details: { last_common_seq: 6, last_common_commit: cidToString(db.log.commit(6)?.cid as Uint8Array) },
    });
    const { cursor } = (error as { details: { cursor: string } }).details;
    expect(seqOfCursor(db, cursor)).toBe(6);
    expect(seqOfCursor(db, cursorAt(db, 8))).toBe(8);
  });
});

function catching(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  return undefined;
}

describe("a build is noticed that", () => {
  const BROKEN: Readonly<Record<string, { wrong: (line: AdoptedLine) => AdoptedLine; what: string }>> = {
    "loses the merge of its own commits": {
      wrong: (line) => ({ ...line, behind: [] }),
      what: "acknowledged",
    },
    "keeps a merge without its blocks": {
      wrong: (line) => ({
        ...line,
        behind: line.behind.map(({ seq, body }) => {
          const record = decodeRecord(body, seq);
          return { seq, body: encodeRecord({ ...record, blocks: record.blocks.slice(0, -1) }) };
        }),
      }),
      what: "blocks",
    },
  };

  test.each(Object.keys(BROKEN))("%s", async (name) => {
    const { wrong, what } = BROKEN[name] as (typeof BROKEN)[string];
    const files: DbFiles = {
      ...sqliteFiles,
      openLog: (...args) =>
        new (class extends StorageAround {
          override adopt(line: AdoptedLine): Promise<void> {
            return super.adopt(wrong(line));
          }
        })(sqliteFiles.openLog(...args)),
    };
    const side = openEngine(undefined, files);
    const [a, b] = ["a", "b"];
    await side.create(a);
    await put(side, "items/0", { n: 1 }, { db: a });
    await side.create(b, await side.use(a, ({ log }) => log.identity.uid));
    const pair = { here: peerOf(side, b), there: peerOf(side, a) };
    await pull(pair, carrying);
    await put(side, "items/0", { a: 1 }, { db: a });
    const receipt = await put(side, "items/0", { b: 1 }, { db: b });
    await pull(pair, carrying).catch(() => {});
    const storage = openSqliteLog(side.folderOf(b), b, { readonly: true });
    const { findings } = checkLogNow(storage, { receipts: [receipt] });
    storage.close();
    expect(findings.map((finding) => finding.what)).toContain(what);
  });
});

test.each(["ahead of its place", "up to its place"])(
  "a subscription that had acknowledged commits after the common one (%s) is given those that stand there now",
  async (how) => {
    const [a, b] = await two();
    for (const n of [1, 2, 3]) await put(engine, "items/there", { n }, { db: a });
    for (const n of [1, 2, 3]) await put(engine, "items/here", { n }, { db: b });
    const subscriptions = new Subscriptions({ engine, onError: (error) => expect(error).toBeUndefined() });
    const rest = { include: "none", creator: "ann", created: 0, ackMs: 10_000, maxUnacked: 100 } as const;
    const given = (): Promise<number[]> =>
      engine.use(b, async (db) => {
        const live = subscriptions.of(db).get("s");
        const consumer = new Consumer("c", 1000);
        const leave = live.enter(consumer, true);
        await live.settled();
        const seqs = consumer.take().map(({ event }) => event.seq);
        leave();
        return seqs;
      });
    await engine.use(b, (db) => subscriptions.of(db).put("s", { mode: "shared", ...rest }, 4));
    expect(await given()).toEqual([5, 6, 7, 8, 9]);
    const acknowledged = how === "ahead of its place" ? [6, 8] : [5, 6, 7];
    await engine.use(b, async (db) => {
      const live = subscriptions.of(db).get("s");
      live.enter(new Consumer("c", 1000), true);
      await live.settled();
      await live.ack(acknowledged);
    });
    await pull(both(b, a), carrying);
    expect(await given()).toEqual(
      [5, 6, 7, 8, 9, 10].filter((seq) => seq > 6 || !acknowledged.includes(seq)),
    );
  },
);
