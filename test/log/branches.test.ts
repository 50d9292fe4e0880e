import * as A from "@automerge/automerge";
import { packBundle } from "../../src/log/bundle.ts";
import { decodeEvent } from "../../src/log/event.ts";
import { Log } from "../../src/log/log.ts";
import { dropSqliteCatalog, openSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { findingsIn } from "../support/ledger.ts";
import { memoryDir } from "../support/temp-dir.ts";
import {
  ACTORS,
  copyOf,
  createLog,
  lastChange,
  openLog,
  type OpenLog,
  refusal,
  set,
  tx,
  write,
} from "./fixture.ts";

const root = memoryDir();
const [AA, BB, CC, DD] = ACTORS;
const ann = { author: "ann" };

/** A log with two documents, one of them written twice. */
async function begun() {
  const made = createLog(root);
  const { log } = made;
  const one = set(copyOf(log, "notes/a", AA), { n: 1 });
  const two = set(one, { n: 2 });
  const other = set(copyOf(log, "notes/b", AA), { b: 1 });
  await log.write(tx(write("notes/a", [lastChange(one)])));
  await log.write(tx(write("notes/b", [lastChange(other)])));
  await log.write(tx(write("notes/a", [lastChange(two)])));
  return { ...made, one, two, other };
}

/** A copy of a document that somebody else goes on with. */
const as = (doc: A.Doc<Record<string, unknown>>, actor: string) => A.clone(doc, { actor });
const heads = (log: Log, doc: string, branch?: string) => log.stateAt(doc, log.head().seq, branch)?.heads;
const loaded = (log: Log, doc: string, branch: string, upTo = log.head().seq) =>
  A.applyChanges(copyOf(log, doc, "0f".repeat(16)), log.changes(doc, 0, upTo, branch))[0];

/** Everything that a log answers of its branches and documents. */
function answers(log: Log): unknown {
  const { seq } = log.head();
  return log.branches().map(({ name, ...branch }) => ({
    name,
    ...branch,
    commits: log.commitsOn(seq, 1000, name),
    docs: log.list("", "", 1000, true, name).map(({ name: doc, deleted, first, last }) => ({
      doc,
      deleted,
      first,
      last,
      history: log.history(doc, seq, 1000, name),
      points: Array.from({ length: seq + 1 }, (_, at) => log.stateAt(doc, at, name)),
      changes: log.changes(doc, 0, seq, name).map((bytes) => Buffer.from(bytes).toString("hex")),
      actors: [...(log.state(doc, name)?.actors ?? [])],
      maxOp: log.state(doc, name)?.maxOp,
    })),
  }));
}

/** The same log on a catalog that was made anew, alone and after its commits were put into bundles. */
async function sameAnew(made: OpenLog): Promise<Log> {
  const before = answers(made.log);
  expect(findingsIn(made.storage)).toEqual([]);
  await made.log.close();
  dropSqliteCatalog(made.folder);
  const anew = openLog(made.folder);
  expect(answers(anew.log)).toEqual(before);
  await anew.log.compact(packBundle);
  expect(answers(anew.log)).toEqual(before);
  expect(findingsIn(anew.storage)).toEqual([]);
  await anew.log.close();
  const again = openLog(made.folder);
  expect(answers(again.log)).toEqual(before);
  await again.log.close();
  dropSqliteCatalog(made.folder);
  const last = openLog(made.folder);
  expect(answers(last.log)).toEqual(before);
  return last.log;
}

describe("a branch", () => {
  test("begins with what its parent had at the fork point, and neither sees what the other writes after", async () => {
    const made = await begun();
    const { log, one, two } = made;
    await log.createBranch("draft", { ...ann });
    expect(log.branch("draft")).toMatchObject({
      id: 4,
      parent: "main",
      forkSeq: 3,
      head: { seq: 4 },
      state: "open",
    });
    expect(heads(log, "notes/a", "draft")).toEqual(A.getHeads(two));
    const there = set(as(two, BB), { draft: true });
    const here = set(two, { n: 3 });
    await log.write(tx(write("notes/a", [lastChange(there)]), { branch: "draft" }));
    await log.write(tx(write("notes/a", [lastChange(here)])));
    expect(heads(log, "notes/a", "draft")).toEqual(A.getHeads(there));
    expect(heads(log, "notes/a")).toEqual(A.getHeads(here));
    expect({ ...loaded(log, "notes/a", "draft") }).toEqual({ n: 2, draft: true });
    expect({ ...loaded(log, "notes/a", "main") }).toEqual({ n: 3 });
    expect({ ...loaded(log, "notes/a", "draft", 2) }).toEqual({ n: 1 });
    expect(log.stateAt("notes/a", 2, "draft")?.heads).toEqual(A.getHeads(one));
    expect(log.history("notes/a", 99, 99, "draft")).toEqual([5, 3, 1]);
    expect(log.history("notes/a", 99, 99)).toEqual([6, 3, 1]);
    expect(log.commitsOn(99, 99, "draft")).toEqual([5, 4, 3, 2, 1]);
    expect(log.commitsOn(99, 99)).toEqual([6, 3, 2, 1]);
    expect(log.counts()).toEqual({ documents: 2, deleted: 0 });
    expect(log.touchedSince(4, 9)).toEqual(["notes/a"]);
    const last = await sameAnew(made);
    await last.close();
  });

  test("is one commit with one event, whose parent is the commit at the fork point", async () => {
    const { log } = await begun();
    const { seq } = await log.createBranch("past", { ...ann, at: 2, message: "to try" });
    const stored = log.commit(seq);
    expect(stored?.commit).toMatchObject({ branch: "past", entries: [], message: "to try" });
    expect(stored?.commit.parents).toEqual([log.commit(2)?.cid]);
    expect(stored?.commit.line).toEqual(log.commit(3)?.cid);
    expect(decodeEvent(stored?.blocks[0] as Uint8Array)).toEqual({
      type: "branch.create",
      name: "past",
      from: "main",
      seq: 2,
    });
    const back = await log.write(
      tx(write("notes/c", [lastChange(set(copyOf(log, "notes/c", AA), { c: 1 }))])),
    );
    expect(log.commit(back.seq)?.commit.parents).toEqual([log.commit(3)?.cid]);
    expect(log.commit(back.seq)?.commit.line).toEqual(stored?.cid);
    await log.close();
  });

  test("of a past point has what was there, also of documents that were written, made and deleted since", async () => {
    const made = await begun();
    const { log, one, two, other } = made;
    await log.write(tx(write("notes/b", [], { deleted: true })));
    await log.write(tx(write("notes/c", [lastChange(set(copyOf(log, "notes/c", AA), { c: 1 }))])));
    await log.createBranch("past", { ...ann, at: 2 });
    expect(log.list("", "", 10, false, "past").map(({ name }) => name)).toEqual(["notes/a", "notes/b"]);
    expect(log.list("", "", 10, false).map(({ name }) => name)).toEqual(["notes/a", "notes/c"]);
    expect(log.state("notes/c", "past")).toBeUndefined();
    expect(log.state("notes/a", "past")?.actors.get(AA)?.seq).toBe(1);
    const there = set(as(one, BB), { past: 1 });
    await log.write(tx(write("notes/a", [lastChange(there)], { base: A.getHeads(one) }), { branch: "past" }));
    const wrong = write("notes/b", [lastChange(set(as(other, BB), { x: 1 }))], { base: A.getHeads(two) });
    expect(await refusal(log.write(tx(wrong, { branch: "past" })))).toMatchObject({
      code: "HEADS_CONFLICT",
      details: { current_heads: A.getHeads(other) },
    });
    expect({ ...loaded(log, "notes/a", "past") }).toEqual({ n: 1, past: 1 });
    await log.createBranch("nothing", { ...ann, at: 0 });
    expect(log.list("", "", 10, true, "nothing")).toEqual([]);
    expect(log.commit(log.head().seq)?.commit.parents).toEqual([]);
    const own = lastChange(set(copyOf(log, "notes/c", DD), { c: 2 }));
    await log.write(tx(write("notes/c", [own]), { branch: "nothing" }));
    expect({ ...loaded(log, "notes/c", "nothing") }).toEqual({ c: 2 });
    const last = await sameAnew(made);
    await last.close();
  });

  test("is made from any branch at any point of that branch's past, and from no other", async () => {
    const made = await begun();
    const { log, two } = made;
    await log.createBranch("draft", { ...ann });
    const a = set(as(two, BB), { draft: 1 });
    const b = set(a, { draft: 2 });
    await log.write(tx(write("notes/a", [lastChange(a)]), { branch: "draft" }));
    await log.write(tx(write("notes/a", [lastChange(b)]), { branch: "draft" }));
    await log.write(tx(write("notes/a", [lastChange(set(two, { n: 3 }))])));
    await log.createBranch("deep", { ...ann, from: "draft", at: 5 });
    await log.createBranch("early", { ...ann, from: "deep", at: 2 });
    expect(log.lineage("early").map(({ name }) => name)).toEqual(["early", "deep", "draft", "main"]);
    expect({ ...loaded(log, "notes/a", "deep") }).toEqual({ n: 2, draft: 1 });
    expect({ ...loaded(log, "notes/a", "early") }).toEqual({ n: 1 });
    const c = set(as(a, CC), { deep: 1 });
    await log.write(tx(write("notes/a", [lastChange(c)]), { branch: "deep" }));
    expect(log.history("notes/a", 99, 99, "deep")).toEqual([10, 5, 3, 1]);
    expect(await refusal(log.createBranch("x", { ...ann, at: 5 }))).toMatchObject({
      code: "POINT_OTHER_BRANCH",
    });
    expect(await refusal(log.createBranch("x", { ...ann, at: 99 }))).toMatchObject({
      code: "POINT_IN_FUTURE",
    });
    expect(await refusal(log.createBranch("x", { ...ann, from: "y" }))).toMatchObject({
      code: "BRANCH_NOT_FOUND",
    });
    expect(await refusal(log.createBranch("deep", { ...ann }))).toMatchObject({ code: "BRANCH_EXISTS" });
    expect(await refusal(log.createBranch("main", { ...ann }))).toMatchObject({ code: "BRANCH_EXISTS" });
    expect(await refusal(log.createBranch("a b", { ...ann }))).toMatchObject({ code: "NAME_INVALID" });
    expect(log.head().seq).toBe(10);
    expect([log.isOn(5, "deep"), log.isOn(6, "deep"), log.isOn(7, "deep"), log.isOn(3, "deep")]).toEqual([
      true,
      false,
      false,
      true,
    ]);
    expect([log.seqOn(9, "deep"), log.seqOn(7, "deep"), log.seqOn(9), log.seqOn(6)]).toEqual([8, 5, 7, 3]);
    const last = await sameAnew(made);
    await last.close();
  });

  test("that is closed takes nothing but its deletion, and a name that was deleted may be used again", async () => {
    const made = await begun();
    const { log, two } = made;
    await log.createBranch("draft", { ...ann });
    const a = set(as(two, BB), { first: 1 });
    await log.write(tx(write("notes/a", [lastChange(a)]), { branch: "draft" }));
    await log.createBranch("child", { ...ann, from: "draft" });
    await log.closeBranch("draft", ann);
    expect(log.branch("draft")?.state).toBe("closed");
    const late = write("notes/a", [lastChange(set(a, { late: 1 }))]);
    expect(await refusal(log.write(tx(late, { branch: "draft" })))).toMatchObject({ code: "BRANCH_CLOSED" });
    expect(await refusal(log.closeBranch("draft", ann))).toMatchObject({ code: "BRANCH_CLOSED" });
    expect({ ...loaded(log, "notes/a", "draft") }).toEqual({ n: 2, first: 1 });
    await log.deleteBranch("draft", ann);
    expect(log.branch("draft")).toBeUndefined();
    expect(await refusal(log.write(tx(late, { branch: "draft" })))).toMatchObject({
      code: "BRANCH_NOT_FOUND",
    });
    expect(await refusal(() => log.state("notes/a", "draft"))).toMatchObject({ code: "BRANCH_NOT_FOUND" });
    for (const end of [log.closeBranch("main", ann), log.deleteBranch("main", ann)])
      expect(await refusal(end)).toMatchObject({ code: "BAD_REQUEST" });
    const { seq } = await log.createBranch("draft", { ...ann, at: 1 });
    expect(log.branch("draft")).toMatchObject({ id: seq, forkSeq: 1, state: "open" });
    expect({ ...loaded(log, "notes/a", "draft") }).toEqual({ n: 1 });
    expect({ ...loaded(log, "notes/a", "child") }).toEqual({ n: 2, first: 1 });
    expect(log.commitsOn(99, 99, "draft")).toEqual([seq, 1]);
    const last = await sameAnew(made);
    await last.close();
  });

  test("answers a repeated client_tx_id with the first receipt, and refuses it for anything else", async () => {
    const { log, two } = await begun();
    const made = await log.createBranch("draft", { ...ann, clientTxId: "make" });
    expect(await log.createBranch("draft", { ...ann, clientTxId: "make" })).toMatchObject({
      seq: made.seq,
      duplicate: true,
    });
    const writes = write("notes/a", [lastChange(set(as(two, BB), { x: 1 }))]);
    const first = await log.write(tx(writes, { branch: "draft", clientTxId: "one" }));
    expect(await log.write(tx(writes, { branch: "draft", clientTxId: "one" }))).toMatchObject({
      seq: first.seq,
      duplicate: true,
    });
    for (const wrong of [
      log.write(tx(writes, { clientTxId: "one" })),
      log.write(tx(writes, { clientTxId: "make", branch: "draft" })),
      log.createBranch("other", { ...ann, clientTxId: "make" }),
      log.closeBranch("draft", { ...ann, clientTxId: "one" }),
    ])
      expect(await refusal(wrong)).toMatchObject({ code: "TX_ID_REUSED" });
    await log.close();
  });
});

describe("an actor of a document", () => {
  test("has one change under a number on all branches, and one owner", async () => {
    const made = await begun();
    const { log, two } = made;
    await log.createBranch("draft", { ...ann });
    await log.createBranch("second", { ...ann });
    const there = set(two, { on: "draft" });
    const here = set(two, { on: "main" });
    await log.write(tx(write("notes/a", [lastChange(there)]), { branch: "draft" }));
    for (const branch of ["main", "second"]) {
      const again = await refusal(log.write(tx(write("notes/a", [lastChange(here)]), { branch })));
      expect(again).toMatchObject({ code: "CHANGE_EQUIVOCATION", details: { actor: AA, seq: 3 } });
    }
    // The same change is welcome everywhere, whoever brings it, and stays its owner's.
    const brought = tx(write("notes/a", [lastChange(there)]), { author: "bea", branch: "second" });
    expect((await log.write(brought)).duplicate).toBe(false);
    expect(log.state("notes/a", "second")?.actors.get(AA)).toMatchObject({ seq: 3, principal: "ann" });
    const next = write("notes/a", [lastChange(set(there, { next: 1 }))]);
    expect(await refusal(log.write(tx(next, { author: "bea", branch: "second" })))).toMatchObject({
      code: "CHANGE_ACTOR",
    });
    await log.write(tx(next, { branch: "second" }));
    // An actor that one branch knows belongs to the same principal on one that does not know it.
    const fresh = set(copyOf(log, "notes/d", CC), { d: 1 });
    await log.write(tx(write("notes/d", [lastChange(fresh)]), { branch: "draft" }));
    const taken = write("notes/d", [lastChange(fresh), lastChange(set(fresh, { d: 2 }))]);
    expect(await refusal(log.write(tx(taken, { author: "bea" })))).toMatchObject({ code: "CHANGE_ACTOR" });
    const last = await sameAnew(made);
    await last.close();
  });

  test("cannot build on what another branch has", async () => {
    const { log, two } = await begun();
    await log.createBranch("draft", { ...ann });
    const there = set(as(two, BB), { on: "draft" });
    await log.write(tx(write("notes/a", [lastChange(there)]), { branch: "draft" }));
    const on = write("notes/a", [lastChange(set(as(there, CC), { more: 1 }))]);
    expect(await refusal(log.write(tx(on)))).toMatchObject({ code: "CHANGE_DEPS_MISSING" });
    const both = write("notes/a", [lastChange(there), lastChange(set(as(there, CC), { more: 1 }))]);
    await log.write(tx(both));
    expect({ ...loaded(log, "notes/a", "main") }).toEqual({ n: 2, on: "draft", more: 1 });
    await log.close();
  });
});

test("branches, forks and writes of one group are taken together, and one that is refused spoils none", async () => {
  const made = await begun();
  const { log, two } = made;
  const here = set(two, { n: 3 });
  const there = set(as(two, BB), { x: 1 });
  const results = await Promise.allSettled([
    log.createBranch("one", { ...ann }),
    log.write(tx(write("notes/a", [lastChange(here)]))),
    log.write(tx(write("notes/a", [lastChange(there)]), { branch: "one" })),
    log.createBranch("one", { ...ann }),
    log.createBranch("two", { ...ann, from: "one" }),
    log.closeBranch("one", ann),
    log.write(tx(write("notes/a", [lastChange(set(there, { x: 2 }))]), { branch: "one" })),
    log.write(tx(write("notes/a", [lastChange(set(there, { x: 2 }))]), { branch: "two" })),
  ]);
  expect(
    results.map((result) =>
      result.status === "rejected" ? (result.reason as Error & { code: string }).code : "",
    ),
  ).toEqual(["", "", "", "BRANCH_EXISTS", "", "", "BRANCH_CLOSED", ""]);
  expect({ ...loaded(log, "notes/a", "two") }).toEqual({ n: 2, x: 2 });
  expect({ ...loaded(log, "notes/a", "one") }).toEqual({ n: 2, x: 1 });
  const last = await sameAnew(made);
  await last.close();
});

test("a db without branches has the bytes it always had, and its catalog no row more", async () => {
  const { log, folder } = await begun();
  for (const { commit } of log.commits(1, 9)) {
    expect(commit.branch).toBe("main");
    expect(commit.line).toBeUndefined();
  }
  await log.close();
  const table = openSqliteCatalog(folder);
  expect(table.list("", "", 99, true).map(({ name }) => name)).toEqual(["notes/a", "notes/b"]);
  table.close();
});
