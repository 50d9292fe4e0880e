import { mkdtempSync } from "node:fs";
import path from "node:path";
import * as A from "@automerge/automerge";
import { CODEC_DAG_CBOR, CODEC_RAW, cidOf } from "../../src/ids/cid.ts";
import { blake3 } from "../../src/ids/hash.ts";
import { mergeLines, stageRecords } from "../../src/log/adopt.ts";
import { decodeCommit, encodeCommit, type Commit, type CommitEntry } from "../../src/log/commit.ts";
import { Log } from "../../src/log/log.ts";
import { decodeRecord, encodeRecord } from "../../src/log/record.ts";
import { verifyLog } from "../../src/log/verify.ts";
import type { LogStorage } from "../../src/store/contract.ts";
import { openSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { createSqliteLog } from "../../src/store/sqlite-log.ts";
import { memoryDir } from "../support/temp-dir.ts";
import { ACTORS, copyOf, createLog, forge, lastChange, refusal, set, tx, write } from "./fixture.ts";

/** Records as another server sends them, forged in every way: none of one that is wrong is kept. */
const root = memoryDir();
const [AA, BB, CC] = ACTORS;

interface Side {
  readonly log: Log;
  readonly storage: LogStorage;
}

function copyFor(uid: Uint8Array): Side {
  const folder = path.join(mkdtempSync(path.join(root, "copy-")), "db");
  const storage = createSqliteLog(folder, "copy", { reserve: 0, uid });
  return { storage, log: new Log(storage, openSqliteCatalog(folder)) };
}

/** One change to `doc` by a new actor. */
const first = (log: Log, doc: string, actor: string, values: Record<string, unknown>) =>
  write(doc, [lastChange(set(copyOf(log, doc, actor), values))]);

const bodiesOf = ({ log }: Side, from = 1): Uint8Array[] =>
  log.bodies(from, 1000, Infinity).map(({ body }) => body);

async function source(): Promise<Side> {
  const { log, storage } = createLog(root);
  const one = set(copyOf(log, "notes/a", AA), { n: 1 });
  const two = set(one, { n: 2 });
  await log.write(
    tx([write("notes/a", [lastChange(one)]), first(log, "notes/b", AA, { b: 1 })], { clientTxId: "one" }),
  );
  await log.write(tx(write("notes/a", [lastChange(two)]), { author: "ann" }));
  await log.write(tx(first(log, "notes/a", BB, { n: 3 }), { author: "bea", message: "beside" }));
  return { log, storage };
}

const place = ({ log }: Side) => log.head();

interface Parts {
  commit: Commit;
  blocks: readonly Uint8Array[];
  clientTxId: string;
  digest?: Uint8Array;
}

/** The record put together again after a change, its check and its address right. */
function respelled(body: Uint8Array, alter: (parts: Parts) => Partial<Parts>): Uint8Array {
  const { blocks, clientTxId, commit: bytes } = decodeRecord(body, 0);
  const parts: Parts = { commit: decodeCommit(bytes), blocks, clientTxId };
  const altered: Parts = { ...parts, ...alter(parts) };
  const commit = encodeCommit(altered.commit);
  return encodeRecord({ digest: blake3(commit), ...altered, commit });
}

const commitWith =
  (alter: (commit: Commit) => Partial<Commit>) =>
  (body: Uint8Array): Uint8Array =>
    respelled(body, ({ commit }) => ({ commit: { ...commit, ...alter(commit) } }));
const entryWith = (alter: (entry: CommitEntry) => Partial<CommitEntry>) =>
  commitWith(({ entries }) => ({ entries: entries.map((entry) => ({ ...entry, ...alter(entry) })) }));
/** The last commit's change made into another one, all addresses right. */
const changeWith =
  (alter: Record<string, unknown>) =>
  (body: Uint8Array): Uint8Array =>
    respelled(body, ({ commit, blocks }) => {
      const change = forge(blocks[0] as Uint8Array, alter);
      const [entry] = commit.entries as [CommitEntry];
      const heads = [...entry.base, A.decodeChange(change).hash as string].sort();
      return {
        commit: { ...commit, entries: [{ ...entry, changes: [cidOf(CODEC_RAW, change)], heads }] },
        blocks: [change],
      };
    });
const flip = (bytes: Uint8Array, at: number): Uint8Array =>
  bytes.map((byte, i) => (i === at ? byte ^ 1 : byte));
const stranger = cidOf(CODEC_DAG_CBOR, new Uint8Array([1]));

const FORGERIES: Readonly<Record<string, (body: Uint8Array) => Uint8Array>> = {
  "a flipped bit": (body) => flip(body, body.length >> 1),
  "bytes cut off": (body) => body.subarray(0, -20),
  "nothing at all": () => new Uint8Array(0),
  "a bundle's first byte": (body) => Uint8Array.from([2, ...body.subarray(1)]),
  "another address": (body) => respelled(body, () => ({ digest: new Uint8Array(32) })),
  "another seq": commitWith(({ seq }) => ({ seq: seq + 1 })),
  "another db": commitWith(() => ({ db: new Uint8Array(16) })),
  "another parent": commitWith(() => ({ parents: [stranger] })),
  "no parent": commitWith(() => ({ parents: [] })),
  "a second parent": commitWith(({ parents }) => ({ parents: [...parents, stranger] })),
  "three parents": commitWith(({ parents }) => ({ parents: [...parents, stranger, stranger] })),
  "another branch": commitWith(() => ({ branch: "draft" })),
  "an older time": commitWith(() => ({ time: 1 })),
  "a time that is none": commitWith(() => ({ time: 2 ** 53 - 1 })),
  "an author without a name": commitWith(() => ({ author: "" })),
  "an author with a zero byte": commitWith(() => ({ author: "a\0b" })),
  "a message without end": commitWith(() => ({ message: "x".repeat(5000) })),
  "a document without a name": entryWith(() => ({ doc: "notes" })),
  "a document twice": commitWith(({ entries }) => ({ entries: [...entries, ...entries] })),
  "an entry without an effect": commitWith(({ entries }) => ({
    entries: [...entries, { doc: "notes/a", base: [], changes: [], heads: [] }].slice(-1),
  })),
  "another base": entryWith(() => ({ base: [] })),
  "other heads": entryWith(({ base }) => ({ heads: base })),
  "a deletion without one": entryWith(() => ({ deleted: true, heads: [] })),
  "a block too few": (body) => respelled(body, () => ({ blocks: [] })),
  "a block too many": (body) => respelled(body, ({ blocks }) => ({ blocks: [...blocks, new Uint8Array(3)] })),
  "another block": (body) =>
    respelled(body, ({ blocks }) => ({ blocks: blocks.map((block) => flip(block, 12)) })),
  "a receipt that has a commit": (body) =>
    respelled(body, ({ commit }) => ({ commit: { ...commit, author: "ann" }, clientTxId: "one" })),
  "a receipt with a space": (body) => respelled(body, () => ({ clientTxId: "a b" })),
  "a change of an actor's number before": changeWith({ actor: AA, seq: 1 }),
  "a change far ahead": changeWith({ startOp: 900 }),
  "a change of a number left out": changeWith({ seq: 4 }),
  "a change on one that is not there": changeWith({ deps: ["ff".repeat(32)] }),
  "a change set aside that is not there": entryWith(({ base }) => ({
    changes: [],
    refused: ["00".repeat(32)],
    heads: base,
  })),
};

describe("a record that is wrong is refused with the commit named, and nothing of its page is kept:", () => {
  let from: Side;
  let to: Side;
  beforeAll(async () => {
    from = await source();
    to = copyFor(from.log.identity.uid);
    await to.log.receive(place(to), bodiesOf(from).slice(0, 1));
  });

  test.each(Object.keys(FORGERIES))("%s", async (name) => {
    const [, second, third] = bodiesOf(from) as [Uint8Array, Uint8Array, Uint8Array];
    const forged = FORGERIES[name]?.(third) as Uint8Array;
    expect(Buffer.compare(forged, third)).not.toBe(0);
    const said = await refusal(() => to.log.receive(place(to), [second, forged]));
    expect(said).toMatchObject({ code: "SYNC_INVALID", details: { seq: 3 } });
    expect([place(to).seq, to.storage.last()]).toEqual([1, 1]);
    expect(to.log.state("notes/a")?.changes).toBe(1);
    expect(to.log.dryRun(tx(first(to.log, "notes/z", CC, { z: 1 }))).seq).toBe(2);
  });

  test("and the right ones are taken after all of them", async () => {
    await to.log.receive(place(to), bodiesOf(from, 2));
    expect(place(to)).toEqual(place(from));
    expect([...verdictOf(to)]).toEqual([]);
  });
});

test("records that follow another commit are refused, and say where the log is", async () => {
  const from = await source();
  const to = copyFor(from.log.identity.uid);
  for (const after of [
    { seq: 1, cid: from.log.commit(1)?.cid },
    { seq: 5, cid: stranger },
  ])
    expect(await refusal(() => to.log.receive(after, bodiesOf(from)))).toMatchObject({
      code: "SYNC_DIVERGED",
      details: { seq: 0, commit: null },
    });
  await to.log.receive(place(to), bodiesOf(from));
  expect(await refusal(() => to.log.receive({ seq: 3, cid: stranger }, []))).toMatchObject({
    code: "SYNC_DIVERGED",
    details: { seq: 3 },
  });
});

test("writers and received records wait for each other, and none gets in between", async () => {
  const from = await source();
  const to = copyFor(from.log.identity.uid);
  const before = place(to);
  const received = to.log.receive(before, bodiesOf(from));
  const written = to.log.write(tx(first(to.log, "notes/c", CC, { c: 1 })));
  const late = refusal(() => to.log.receive({ seq: 3, cid: from.log.head().cid }, []));
  expect((await received).seq).toBe(3);
  expect((await written).seq).toBe(4);
  expect(await late).toMatchObject({ code: "SYNC_DIVERGED", details: { seq: 4 } });
  expect([...verdictOf(to)]).toEqual([]);
});

const verdictOf = ({ storage }: Side) => {
  const steps = verifyLog(storage);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value.findings;
  }
};

/** Two copies that went apart, and the log of the second once it has merged the first. */
async function merged(): Promise<{ there: Side; merge: Uint8Array; adopt: () => Promise<Side> }> {
  const there = await source();
  const here = copyFor(there.log.identity.uid);
  await here.log.receive(place(here), bodiesOf(there));
  await there.log.write(tx(first(there.log, "notes/a", "11".repeat(16), { there: 1 }), { author: "cleo" }));
  await here.log.write(
    tx(first(here.log, "notes/a", "22".repeat(16), { here: 1 }), { author: "dora", clientTxId: "here" }),
  );
  await here.log.write(tx(first(here.log, "notes/new", "22".repeat(16), { here: 2 }), { author: "dora" }));
  const fork = { seq: 3, cid: there.log.commit(3)?.cid };
  const staged = await stageRecords(here.log, here.storage, fork, bodiesOf(there, 4));
  const { line } = await mergeLines(here.log, here.storage, staged, "operator");
  return {
    there,
    merge: (line.behind[0] as { body: Uint8Array }).body,
    adopt: async () => {
      await here.storage.adopt(line);
      return here;
    },
  };
}

const eventsWith =
  (alter: (events: Uint8Array[], blocks: Uint8Array[], entries: number) => void) =>
  (body: Uint8Array): Uint8Array =>
    respelled(body, ({ commit, blocks }) => {
      const entries = blocks.length - commit.events.length;
      const [events, all] = [[...commit.events], blocks.slice(entries)];
      alter(events, all, entries);
      return { commit: { ...commit, events }, blocks: [...blocks.slice(0, entries), ...all] };
    });

const MERGE_FORGERIES: Readonly<Record<string, (body: Uint8Array) => Uint8Array>> = {
  "another second parent": commitWith(({ parents }) => ({ parents: [parents[0] as Uint8Array, stranger] })),
  "no second parent": commitWith(({ parents }) => ({ parents: parents.slice(0, 1) })),
  "the first of its commits left out": eventsWith((events, blocks) => {
    events.shift();
    blocks.shift();
  }),
  "the last of its commits left out": eventsWith((events, blocks) => {
    events.splice(-2, 1);
    blocks.splice(-2, 1);
  }),
  "no note of its receipts": eventsWith((events, blocks) => {
    events.pop();
    blocks.pop();
  }),
  "a commit twice": eventsWith((events, blocks) => {
    events.unshift(events[0] as Uint8Array);
    blocks.unshift(blocks[0] as Uint8Array);
  }),
  "a change that it leaves out": (body) =>
    respelled(body, ({ commit, blocks }) => ({
      commit: { ...commit, entries: commit.entries.slice(0, 1) },
      blocks: [blocks[0] as Uint8Array, ...blocks.slice(2)],
    })),
  "a change that nobody brought": (body) =>
    respelled(body, ({ commit, blocks }) => {
      const change = forge(blocks[1] as Uint8Array, { actor: "99".repeat(16) });
      const [one, two] = commit.entries as [CommitEntry, CommitEntry];
      const entries = [one, { ...two, changes: [cidOf(CODEC_RAW, change)] }];
      return {
        commit: { ...commit, entries },
        blocks: [blocks[0] as Uint8Array, change, ...blocks.slice(2)],
      };
    }),
  "other heads": entryWith(({ base }) => ({ heads: base })),
  "a change set aside that others build on": entryWith(({ base }) => ({ refused: [...base] })),
};

describe("a merge that is wrong is refused:", () => {
  let made: Awaited<ReturnType<typeof merged>>;
  beforeAll(async () => {
    made = await merged();
  });

  test.each(Object.keys(MERGE_FORGERIES))("%s", async (name) => {
    const { there, merge } = made;
    const said = await refusal(() =>
      there.log.receive(place(there), [MERGE_FORGERIES[name]?.(merge) as Uint8Array]),
    );
    expect(said).toMatchObject({ code: "SYNC_INVALID", details: { seq: 5 } });
    expect([place(there).seq, there.storage.last()]).toEqual([4, 4]);
  });

  test("and the right one is taken, by both to the same end", async () => {
    const { there, merge, adopt } = made;
    await there.log.receive(place(there), [merge]);
    expect([...verdictOf(there)]).toEqual([]);
    expect(
      [...(there.log.state("notes/new")?.actors.values() ?? [])].map(({ principal }) => principal),
    ).toEqual(["dora"]);
    const here = await adopt();
    expect([...verdictOf(here)]).toEqual([]);
    expect(here.storage.last()).toBe(5);
    expect(Buffer.compare(here.storage.read(5) as Uint8Array, merge)).toBe(0);
  });
});

test.each(["other", "own"])(
  "what the %s line set aside goes with all that was built on it",
  async (which) => {
    const there = createLog(root);
    const { log } = there;
    const bad = set(copyOf(log, "notes/a", AA), { n: 1 });
    await log.write(tx(write("notes/a", [lastChange(bad)])));
    await log.write(tx(first(log, "notes/a", BB, { n: 2 }), { author: "bea" }));
    const here = copyFor(log.identity.uid);
    await here.log.receive(place(here), bodiesOf(there));
    const hash = log.state("notes/a")?.actors.get(AA)?.hash as string;
    const heads = [...(log.state("notes/a")?.heads.keys() ?? [])].sort();
    const rest = heads.filter((head) => head !== hash);
    const [setting, building] = which === "other" ? [there, here] : [here, there];
    await setting.log.setAside("notes/a", heads, [hash], rest, "it is bad");
    await building.log.write(tx(write("notes/a", [lastChange(set(bad, { more: 1 }))])));
    const fork = { seq: 2, cid: log.commit(2)?.cid };
    const staged = await stageRecords(here.log, here.storage, fork, bodiesOf(there, 3));
    const { line } = await mergeLines(here.log, here.storage, staged, "operator");
    await log.receive(
      place(there),
      line.behind.map(({ body }) => body),
    );
    expect([...verdictOf(there)]).toEqual([]);
    expect([...(log.state("notes/a")?.heads.keys() ?? [])]).toEqual(rest);
    expect(log.state("notes/a")?.refused.size).toBe(2);
  },
);
