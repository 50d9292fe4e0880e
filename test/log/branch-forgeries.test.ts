import * as A from "@automerge/automerge";
import { mkdtempSync } from "node:fs";
import path from "node:path";
import { CODEC_RAW, cidOf } from "../../src/ids/cid.ts";
import { blake3 } from "../../src/ids/hash.ts";
import { mergeLines, stageRecords } from "../../src/log/adopt.ts";
import { packBundle } from "../../src/log/bundle.ts";
import { encodeCommit, type Commit } from "../../src/log/commit.ts";
import { encodeEvent, type Event } from "../../src/log/event.ts";
import { Log } from "../../src/log/log.ts";
import { encodeRecord } from "../../src/log/record.ts";
import { openSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { createSqliteLog } from "../../src/store/sqlite-log.ts";
import { findingsIn } from "../support/ledger.ts";
import { memoryDir } from "../support/temp-dir.ts";
import { ACTORS, copyOf, createLog, lastChange, refusal, set, tx, write } from "./fixture.ts";

/** Commits on branches as another server may send them or a damaged log may hold them: none that is wrong passes. */
const root = memoryDir();
const [AA, BB, CC] = ACTORS;
const ann = { author: "ann" };

/** main: 1, 2, 6, 8; draft from 2: 3, 4, 5 (closed with 9 where it is asked for); old: 7, made from draft at 4. */
async function begun() {
  const made = createLog(root);
  const { log } = made;
  const one = set(copyOf(log, "notes/a", AA), { n: 1 });
  const two = set(one, { n: 2 });
  const there = set(A.clone(two, { actor: BB }), { draft: 1 });
  const more = set(there, { draft: 2 });
  const here = set(two, { n: 3 });
  await log.write(tx(write("notes/a", [lastChange(one)])));
  await log.write(tx(write("notes/a", [lastChange(two)])));
  await log.createBranch("draft", ann);
  await log.write(tx(write("notes/a", [lastChange(there)]), { branch: "draft" }));
  await log.write(tx(write("notes/a", [lastChange(more)]), { branch: "draft" }));
  await log.write(tx(write("notes/a", [lastChange(here)])));
  await log.createBranch("old", { ...ann, from: "draft", at: 4 });
  await log.write(tx(write("notes/b", [lastChange(set(copyOf(log, "notes/b", AA), { b: 1 }))])));
  return { ...made, one, two, there, more, here };
}

type Made = Awaited<ReturnType<typeof begun>>;

/** The next commit as it should be, and with something else in it. */
function forged(made: Made, alter: Partial<Commit>, blocks: readonly Uint8Array[]): Uint8Array {
  const { log } = made;
  const head = log.head();
  const branch = log.branch(alter.branch ?? "main");
  const parent = branch?.head.cid;
  const isNext = branch?.head.seq === head.seq;
  const commit = encodeCommit({
    version: 1,
    db: log.identity.uid,
    branch: "main",
    seq: head.seq + 1,
    parents: parent ? [parent] : [],
    ...(isNext ? {} : { line: head.cid as Uint8Array }),
    time: head.time,
    author: "ann",
    entries: [],
    events: [],
    ...alter,
  });
  return encodeRecord({ digest: blake3(commit), commit, blocks, clientTxId: "" });
}

const event = (made: Made, branch: string, said: Event, more: Partial<Commit> = {}): Uint8Array => {
  const block = encodeEvent(said);
  return forged(made, { branch, events: [cidOf(CODEC_RAW, block)], ...more }, [block]);
};
const create = (made: Made, name: string, from: string, seq: number, more: Partial<Commit> = {}) =>
  event(
    made,
    name,
    { type: "branch.create", name, from, seq },
    {
      parents: seq > 0 ? [made.log.commit(seq)?.cid as Uint8Array] : [],
      line: made.log.head().cid as Uint8Array,
      ...more,
    },
  );
/** A change of notes/a on a branch. */
const change = (
  made: Made,
  branch: string,
  doc: A.Doc<Record<string, unknown>>,
  base: A.Doc<Record<string, unknown>>,
  more: Partial<Commit> = {},
): Uint8Array => {
  const bytes = lastChange(doc);
  const entry = {
    doc: "notes/a",
    base: A.getHeads(base),
    changes: [cidOf(CODEC_RAW, bytes)],
    heads: A.getHeads(doc),
  };
  return forged(made, { branch, entries: [entry], ...more }, [bytes]);
};
const next = (doc: A.Doc<Record<string, unknown>>) => set(A.clone(doc, { actor: CC }), { next: 1 });

const SOUND: [string, (made: Made) => Uint8Array][] = [
  ["a write on a branch", (made) => change(made, "draft", next(made.more), made.more)],
  ["a write on main", (made) => change(made, "main", next(made.here), made.here)],
  ["a branch", (made) => create(made, "new", "old", 4)],
  ["a branch of nothing", (made) => create(made, "new", "main", 0)],
  ["an end", (made) => event(made, "draft", { type: "branch.delete" })],
  ["an event of another kind", (made) => event(made, "draft", { type: "branch.paint", name: "red" })],
];

const WRONG: [string, string[], (made: Made) => Uint8Array][] = [
  [
    "a write on a branch that is not there",
    ["branch"],
    (made) => change(made, "nothing", next(made.more), made.more),
  ],
  ["a branch that is there", ["branch"], (made) => create(made, "draft", "main", 2)],
  ["main made anew", ["branch"], (made) => create(made, "main", "main", 2)],
  [
    "a branch under another's name",
    ["branch"],
    (made) => create(made, "new", "main", 2, { branch: "other" }),
  ],
  ["a branch from one that is not there", ["branch"], (made) => create(made, "new", "nothing", 2)],
  ["a branch at a commit of another branch", ["branch"], (made) => create(made, "new", "main", 4)],
  ["a branch at a commit after its parent's fork", ["branch"], (made) => create(made, "new", "old", 5)],
  [
    "a branch at a commit to come",
    ["branch"],
    (made) => create(made, "new", "main", 9, { parents: [made.log.head().cid as Uint8Array] }),
  ],
  [
    "a branch whose parent is another commit",
    ["chain"],
    (made) => create(made, "new", "main", 2, { parents: [made.log.commit(1)?.cid as Uint8Array] }),
  ],
  ["a branch that names no parent", ["chain"], (made) => create(made, "new", "main", 2, { parents: [] })],
  [
    "a branch made and written in one",
    ["branch"],
    (made) => {
      const block = encodeEvent({ type: "branch.create", name: "new", from: "main", seq: 8 });
      const bytes = lastChange(next(made.here));
      const entry = {
        doc: "notes/a",
        base: A.getHeads(made.here),
        changes: [cidOf(CODEC_RAW, bytes)],
        heads: A.getHeads(next(made.here)),
      };
      return forged(
        made,
        {
          branch: "new",
          parents: [made.log.head().cid as Uint8Array],
          entries: [entry],
          events: [cidOf(CODEC_RAW, block)],
        },
        [bytes, block],
      );
    },
  ],
  ["an end of main", ["branch"], (made) => event(made, "main", { type: "branch.close" })],
  [
    "a commit that follows the db's last one and not its branch's",
    ["chain"],
    (made) =>
      change(made, "draft", next(made.more), made.more, { parents: [made.log.head().cid as Uint8Array] }),
  ],
  [
    "a commit that does not name the one before it in the db",
    ["chain"],
    (made) => {
      const { log } = made;
      const bytes = lastChange(next(made.more));
      const entry = {
        doc: "notes/a",
        base: A.getHeads(made.more),
        changes: [cidOf(CODEC_RAW, bytes)],
        heads: A.getHeads(next(made.more)),
      };
      const commit = encodeCommit({
        version: 1,
        db: log.identity.uid,
        branch: "draft",
        seq: 9,
        parents: [log.branch("draft")?.head.cid as Uint8Array],
        time: log.head().time,
        author: "ann",
        entries: [entry],
        events: [],
      });
      return encodeRecord({ digest: blake3(commit), commit, blocks: [bytes], clientTxId: "" });
    },
  ],
  [
    "a commit that names another as the one before it in the db",
    ["chain"],
    (made) =>
      change(made, "draft", next(made.more), made.more, { line: made.log.commit(6)?.cid as Uint8Array }),
  ],
  [
    "a commit on main that names its parent twice",
    ["chain"],
    (made) => change(made, "main", next(made.here), made.here, { line: made.log.head().cid as Uint8Array }),
  ],
  [
    "a change on what another branch has",
    ["base", "deps", "heads"],
    (made) => change(made, "old", next(made.here), made.here),
  ],
  [
    "a change on what came to the parent after the fork",
    ["base", "deps"],
    (made) => change(made, "old", next(made.more), made.more),
  ],
  [
    "an actor's number that another branch used",
    ["actor"],
    (made) => change(made, "old", set(made.there, { again: 1 }), made.there),
  ],
];

const kinds = (made: Pick<Made, "storage">): string[] => [
  ...new Set(findingsIn(made.storage).map(({ what }) => what)),
];

async function copyOfLog(made: Made): Promise<{ log: Log; storage: Made["storage"] }> {
  const folder = path.join(mkdtempSync(path.join(root, "copy-")), "db");
  const storage = createSqliteLog(folder, "copy", { reserve: 0, uid: made.log.identity.uid });
  const log = new Log(storage, openSqliteCatalog(folder));
  await log.receive(
    { seq: 0, cid: undefined },
    made.log.bodies(1, 99, Infinity).map(({ body }) => body),
  );
  return { log, storage };
}

describe("verify and whoever receives it let through", () => {
  test.each(SOUND)("%s", async (_, forge) => {
    const made = await begun();
    const body = forge(made);
    const copy = await copyOfLog(made);
    await copy.log.receive(copy.log.head(), [body]);
    expect(kinds(copy)).toEqual([]);
    await made.storage.append([{ seq: 9, body }]);
    expect(kinds(made)).toEqual([]);
    await copy.log.close();
  });
});

describe("verify names and whoever receives it refuses", () => {
  test.each(WRONG)("%s", async (_, expected, forge) => {
    const made = await begun();
    const body = forge(made);
    const copy = await copyOfLog(made);
    expect(await refusal(copy.log.receive(copy.log.head(), [body]) as never)).toMatchObject({
      code: "SYNC_INVALID",
    });
    expect(copy.log.head().seq).toBe(8);
    await copy.log.close();
    await made.storage.append([{ seq: 9, body }]);
    for (const kind of expected) expect(kinds(made)).toContain(kind);
    made.storage.close();
  });

  test("a write on a branch that is closed", async () => {
    const made = await begun();
    await made.log.closeBranch("draft", ann);
    const body = change(made, "draft", next(made.more), made.more);
    const copy = await copyOfLog(made);
    expect(await refusal(copy.log.receive(copy.log.head(), [body]) as never)).toMatchObject({
      code: "SYNC_INVALID",
    });
    await copy.log.close();
    await made.storage.append([{ seq: 10, body }]);
    expect(kinds(made)).toEqual(["branch"]);
  });
});

test("a copy that receives a db has its branches and answers alike, also from bundles", async () => {
  const made = await begun();
  await made.log.closeBranch("draft", ann);
  await made.log.compact(packBundle);
  const copy = await copyOfLog(made);
  expect(copy.log.branches()).toEqual(made.log.branches());
  for (const branch of ["main", "draft", "old"]) {
    expect(copy.log.history("notes/a", 99, 99, branch)).toEqual(made.log.history("notes/a", 99, 99, branch));
    expect(copy.log.stateAt("notes/a", 99, branch)).toEqual(made.log.stateAt("notes/a", 99, branch));
  }
  const late = write("notes/a", [lastChange(next(made.there))]);
  const receipt = await made.log.write(tx(late, { branch: "old" }));
  await copy.log.receive(
    copy.log.head(),
    made.log.bodies(receipt.seq, 1, Infinity).map(({ body }) => body),
  );
  expect(copy.log.head().cid).toEqual(made.log.head().cid);
  expect(kinds(copy)).toEqual([]);
});

test.each(["here", "there"])(
  "lines of which the one %s has commits of a branch are not merged",
  async (which) => {
    const made = await begun();
    const copy = await copyOfLog(made);
    const [branched, plain] = which === "there" ? [made, copy] : [copy, made];
    await branched.log.createBranch("own", ann);
    const doc = lastChange(set(copyOf(plain.log, "notes/c", CC), { c: 1 }));
    await plain.log.write(tx(write("notes/c", [doc])));
    const from = { seq: 8, cid: copy.log.commit(8)?.cid };
    const staged = await stageRecords(
      copy.log,
      copy.storage,
      from,
      made.log.bodies(9, 9, Infinity).map(({ body }) => body),
    );
    const before = copy.log.head();
    expect(await refusal(mergeLines(copy.log, copy.storage, staged, "ann") as never)).toMatchObject({
      code: "SYNC_BRANCHES",
    });
    expect(copy.log.head()).toEqual(before);
  },
);

test("lines that share branches and went on on main alone are merged", async () => {
  const made = await begun();
  const copy = await copyOfLog(made);
  for (const [{ log }, name] of [
    [made, "here"],
    [copy, "there"],
  ] as const)
    await log.write(
      tx(write(`notes/${name}`, [lastChange(set(copyOf(log, `notes/${name}`, CC), { c: 1 }))])),
    );
  const from = { seq: 8, cid: copy.log.commit(8)?.cid };
  const staged = await stageRecords(
    copy.log,
    copy.storage,
    from,
    made.log.bodies(9, 1, Infinity).map(({ body }) => body),
  );
  const { line } = await mergeLines(copy.log, copy.storage, staged, "ann");
  await copy.storage.adopt(line);
  expect(kinds(copy)).toEqual([]);
});
