import * as A from "@automerge/automerge";
import { packBundle } from "../../src/log/bundle.ts";
import { mergeEventIn } from "../../src/log/branch-events.ts";
import type { BranchMerge, Log, StoredCommit } from "../../src/log/log.ts";
import { bodyOf } from "../../src/log/stored-commit.ts";
import { dropSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { seeded, seedOf } from "../support/fault-process.ts";
import { findingsIn } from "../support/ledger.ts";
import { memoryDir } from "../support/temp-dir.ts";
import {
  ACTORS,
  copyOf,
  createLog,
  type Doc,
  lastChange,
  openLog,
  type OpenLog,
  refusal,
  set,
  tx,
  write,
} from "./fixture.ts";

const root = memoryDir();
const [AA, BB, CC] = ACTORS;
const as = (doc: Doc, actor: string): Doc => A.clone(doc, { actor });
const heads = (log: Log, doc: string, branch = "main") => log.stateAt(doc, log.head().seq, branch)?.heads;
const isDeleted = (log: Log, doc: string, branch = "main") =>
  log.stateAt(doc, log.head().seq, branch)?.deleted;
const loaded = (log: Log, doc: string, branch: string): Doc =>
  A.applyChanges(copyOf(log, doc, "0f".repeat(16)), log.changes(doc, 0, log.head().seq, branch))[0];
const merge = (log: Log, more: Partial<BranchMerge> = {}) =>
  log.merge({ author: "mia", clientTxId: "", from: "draft", into: "main", ...more });

const codeOf = async (asked: Promise<unknown>): Promise<string> => (await refusal(() => asked)).code;

/** `notes/a` on `main`, and a branch `draft` of it. */
async function begun() {
  const made = createLog(root);
  const { log } = made;
  const one = set(copyOf(log, "notes/a", AA), { n: 1 });
  await log.write(tx(write("notes/a", [lastChange(one)])));
  await log.createBranch("draft", { author: "ann" });
  return { ...made, one };
}

/** Everything that a log answers of its branches and documents. */
function answers(log: Log): unknown {
  const { seq } = log.head();
  return log.branches().map(({ name, ...branch }) => ({
    name,
    ...branch,
    commits: log.commitsOn(seq, 1000, name),
    docs: log.list("", "", 1000, true, name).map(({ name: doc, deleted }) => ({
      doc,
      deleted,
      history: log.history(doc, seq, 1000, name),
      heads: heads(log, doc, name),
      changes: log.changes(doc, 0, seq, name).map((bytes) => Buffer.from(bytes).toString("hex")),
      actors: [...(log.state(doc, name)?.actors ?? [])].sort(([a], [b]) => (a < b ? -1 : 1)),
    })),
  }));
}

/** The log is sound, and the same when it is derived anew, in bundles, and on another server that received it. */
async function sameAnew(made: OpenLog): Promise<void> {
  const before = answers(made.log);
  expect(findingsIn(made.storage)).toEqual([]);
  const copy = createLog(root);
  const bodies = made.log.commits(1, 10_000).map(bodyOf);
  await made.log.close();
  dropSqliteCatalog(made.folder);
  const anew = openLog(made.folder);
  expect(answers(anew.log)).toEqual(before);
  await anew.log.compact(packBundle);
  expect(answers(anew.log)).toEqual(before);
  expect(findingsIn(anew.storage)).toEqual([]);
  await anew.log.close();
  await copy.log.close();
  expect(bodies.length).toBeGreaterThan(0);
}

describe("a merge of a branch", () => {
  test("is one commit with two parents that has what the target lacks, and the principals of those who wrote it", async () => {
    const made = await begun();
    const { log, one } = made;
    const there = set(as(one, BB), { draft: true });
    const here = set(one, { main: true });
    await log.write(tx(write("notes/a", [lastChange(there)]), { branch: "draft", author: "bob" }));
    await log.write(tx(write("notes/a", [lastChange(here)])));
    const merged = await merge(log, { message: "in" });
    expect(merged).toMatchObject({ duplicate: false, fastForward: false, seq: 5, from: 3 });
    const { commit, cid, blocks } = log.commit(5) as StoredCommit;
    expect(Buffer.compare(merged.cid, cid)).toBe(0);
    expect(commit).toMatchObject({ branch: "main", author: "mia", message: "in" });
    expect(commit.parents).toEqual([4, 3].map((seq) => log.commit(seq)?.cid));
    expect(commit.line).toBeUndefined();
    expect(commit.entries).toMatchObject([
      {
        doc: "notes/a",
        base: A.getHeads(here),
        changes: [expect.anything()],
        heads: A.getHeads(A.merge(as(here, CC), there)).sort(),
      },
    ]);
    expect(Buffer.compare(blocks[0] as Uint8Array, lastChange(there))).toBe(0);
    expect(mergeEventIn(log.commit(5) as StoredCommit)).toEqual({
      type: "branch.merge",
      from: "draft",
      seq: 3,
    });
    expect({ ...loaded(log, "notes/a", "main") }).toEqual({ n: 1, main: true, draft: true });
    expect({ ...loaded(log, "notes/a", "draft") }).toEqual({ n: 1, draft: true });
    expect(log.state("notes/a")?.actors.get(BB)?.principal).toBe("bob");
    await sameAnew(made);
  });

  test("made again changes nothing and says so", async () => {
    const made = await begun();
    const { log, one } = made;
    await log.write(tx(write("notes/a", [lastChange(set(as(one, BB), { x: 1 }))]), { branch: "draft" }));
    const first = await merge(log, { clientTxId: "m1" });
    expect(await merge(log)).toMatchObject({ duplicate: true, seq: first.seq, commits: [], cid: first.cid });
    const again = await merge(log, { clientTxId: "m1" });
    expect(again).toMatchObject({ duplicate: true, seq: first.seq, from: 3 });
    expect(again.commits.map(({ commit }) => commit.seq)).toEqual([first.seq]);
    expect(await codeOf(merge(log, { clientTxId: "m1", into: "draft", from: "main" }))).toBe("TX_ID_REUSED");
    expect(log.head().seq).toBe(first.seq);
    await sameAnew(made);
  });

  test("is a fast-forward when nothing was written on the target since", async () => {
    const made = await begun();
    const { log, one } = made;
    const there = set(as(one, BB), { x: 1 });
    await log.write(tx(write("notes/a", [lastChange(there)]), { branch: "draft" }));
    expect(await merge(log)).toMatchObject({ fastForward: true, duplicate: false });
    expect(heads(log, "notes/a")).toEqual(A.getHeads(there));
    // The other way round, and then on.
    expect(await merge(log, { from: "main", into: "draft" })).toMatchObject({
      fastForward: true,
      duplicate: true,
    });
    const more = set(there, { x: 2 });
    await log.write(tx(write("notes/a", [lastChange(more)]), { branch: "draft" }));
    expect(await merge(log)).toMatchObject({ fastForward: true, duplicate: false });
    expect(log.commit(log.head().seq)?.commit.entries[0]?.changes).toHaveLength(1);
    await sameAnew(made);
  });

  test("can be tried without anything being kept", async () => {
    const { log, one } = await begun();
    await log.write(tx(write("notes/a", [lastChange(set(as(one, BB), { x: 1 }))]), { branch: "draft" }));
    const tried = await merge(log, { dryRun: true, close: true, clientTxId: "t" });
    expect(tried).toMatchObject({ duplicate: false, fastForward: true, seq: 4 });
    expect([log.head().seq, log.branch("draft")?.state]).toEqual([3, "open"]);
    expect(await merge(log, { clientTxId: "t" })).toMatchObject({ duplicate: false, seq: 4 });
    expect(tried.commits).toHaveLength(1);
    await log.close();
  });

  test("closes the branch in the same step when that is asked for", async () => {
    const made = await begun();
    const { log, one } = made;
    await log.write(tx(write("notes/a", [lastChange(set(as(one, BB), { x: 1 }))]), { branch: "draft" }));
    expect(await merge(log, { close: true })).toMatchObject({ seq: 4, duplicate: false });
    expect([log.head().seq, log.branch("draft")?.state]).toEqual([5, "closed"]);
    expect(await merge(log, { close: true })).toMatchObject({ seq: 4, duplicate: true });
    expect(log.head().seq).toBe(5);
    expect(await codeOf(merge(log, { from: "main", into: "draft" }))).toBe("BRANCH_CLOSED");
    await sameAnew(made);
  });

  test("is refused for branches that are not there, the same, or empty", async () => {
    const { log } = await begun();
    expect(await codeOf(merge(log, { from: "none" }))).toBe("BRANCH_NOT_FOUND");
    expect(await codeOf(merge(log, { into: "none" }))).toBe("BRANCH_NOT_FOUND");
    expect(await codeOf(merge(log, { into: "draft" }))).toBe("BAD_REQUEST");
    expect(await codeOf(merge(log, { at: 9 }))).toBe("POINT_OTHER_BRANCH");
    expect(await codeOf(merge(log, { from: "main", close: true, into: "draft" }))).toBe("BAD_REQUEST");
    await log.close();
    const empty = createLog(root).log;
    await empty.createBranch("draft", { author: "ann" });
    expect(await codeOf(merge(empty))).toBe("BAD_REQUEST");
    await empty.close();
  });

  test("takes what a branch had up to one of its commits", async () => {
    const made = await begun();
    const { log, one } = made;
    const two = set(as(one, BB), { x: 1 });
    const three = set(two, { x: 2 });
    await log.write(tx(write("notes/a", [lastChange(two)]), { branch: "draft" }));
    await log.write(tx(write("notes/a", [lastChange(three)]), { branch: "draft" }));
    expect(await merge(log, { at: 3 })).toMatchObject({ from: 3 });
    expect(heads(log, "notes/a")).toEqual(A.getHeads(two));
    expect(await merge(log, { at: 3 })).toMatchObject({ duplicate: true });
    expect(await merge(log)).toMatchObject({ from: 4, duplicate: false });
    expect(heads(log, "notes/a")).toEqual(A.getHeads(three));
    await sameAnew(made);
  });

  test("has changes of the caller's on top of what it brings", async () => {
    const made = await begun();
    const { log, one } = made;
    const there = set(as(one, BB), { n: 2 });
    const here = set(one, { n: 3 });
    await log.write(tx(write("notes/a", [lastChange(there)]), { branch: "draft", author: "bob" }));
    await log.write(tx(write("notes/a", [lastChange(here)])));
    const settled = set(A.merge(as(here, CC), there), { n: 4 });
    const writes = [write("notes/a", [lastChange(settled)], { base: A.getHeads(here) })];
    const stale = [write("notes/a", [lastChange(settled)], { base: A.getHeads(one) })];
    expect(await codeOf(merge(log, { writes: stale }))).toBe("HEADS_CONFLICT");
    expect(await codeOf(log.write(tx(writes)))).toBe("CHANGE_DEPS_MISSING");
    expect(await merge(log, { writes })).toMatchObject({ duplicate: false, seq: 5 });
    expect(log.commit(5)?.commit.entries).toMatchObject([
      { base: A.getHeads(here), changes: [expect.anything(), expect.anything()], heads: A.getHeads(settled) },
    ]);
    expect(log.history("notes/a", 99, 99)).toEqual([5, 4, 1]);
    expect(log.state("notes/a")?.actors.get(CC)?.principal).toBe("mia");
    // With nothing left to merge it is a write.
    const more = [write("notes/a", [lastChange(set(settled, { n: 5 }))])];
    expect(await merge(log, { writes: more })).toMatchObject({ duplicate: false, seq: 6 });
    expect(log.commit(6)?.commit.parents).toHaveLength(1);
    await sameAnew(made);
  });

  test("puts what is too much for one commit into several, in one step", async () => {
    const made = await begun();
    const { log, one } = made;
    let there = as(one, BB);
    for (let i = 0; i < 3; i += 1) {
      there = set(there, { [`k${i}`]: new Uint8Array(3_500_000).fill(i) });
      await log.write(tx(write("notes/a", [lastChange(there)]), { branch: "draft" }));
    }
    const merged = await merge(log, { clientTxId: "big" });
    expect(merged.commits.map(({ commit }) => [commit.seq, commit.parents[1]])).toEqual([
      [6, log.commit(4)?.cid],
      [7, log.commit(5)?.cid],
    ]);
    const again = await merge(log, { clientTxId: "big" });
    expect([again.duplicate, again.commits.length, again.seq]).toEqual([true, 2, 7]);
    expect(heads(log, "notes/a")).toEqual(A.getHeads(there));
    expect(findingsIn(made.storage)).toEqual([]);
    await log.close();
  });
});

describe("a document that one side deleted", () => {
  type Side = "untouched" | "changed" | "deleted" | "restored";
  /** On `draft`, on `main`, and whether it is deleted after the merge. */
  const cases: [Side, Side, boolean][] = [
    ["deleted", "untouched", true],
    ["deleted", "changed", false],
    ["deleted", "deleted", true],
    ["untouched", "deleted", true],
    ["changed", "deleted", false],
    ["restored", "deleted", false],
    ["changed", "untouched", false],
  ];
  test.each(cases)("%s on the branch and %s on the target: deleted is %s", async (there, here, deleted) => {
    const made = await begun();
    const { log, one } = made;
    const act = async (side: Side, branch: string, actor: string): Promise<void> => {
      const changed = write("notes/a", [lastChange(set(as(one, actor), { [actor]: 1 }))]);
      const emptied = A.change(as(one, actor), (draft) => void delete draft["n"]);
      if (side === "changed") await log.write(tx(changed, { branch }));
      if (side === "deleted" || side === "restored")
        await log.write(tx(write("notes/a", [lastChange(emptied)], { deleted: true }), { branch }));
      if (side === "restored") await log.write(tx(write("notes/a", []), { branch }));
    };
    await act(there, "draft", BB);
    await act(here, "main", CC);
    await merge(log);
    expect(isDeleted(log, "notes/a")).toBe(deleted);
    // Taken back by the other side, it is the same there, and nothing more happens.
    await merge(log, { from: "main", into: "draft" });
    expect(isDeleted(log, "notes/a", "draft")).toBe(isDeleted(log, "notes/a"));
    expect(await merge(log)).toMatchObject({ duplicate: true });
    await sameAnew(made);
  });

  test("stays deleted when the branch only took it over before that", async () => {
    const made = await begun();
    const { log, one } = made;
    const two = set(one, { n: 2 });
    await log.write(tx(write("notes/a", [lastChange(two)])));
    await merge(log, { from: "main", into: "draft" });
    const gone = A.change(two, (draft) => void delete draft["n"]);
    await log.write(tx(write("notes/a", [lastChange(gone)], { deleted: true })));
    await merge(log);
    expect(isDeleted(log, "notes/a")).toBe(true);
    await sameAnew(made);
  });
});

/** Runs, of some steps each. */
const RUNS = Number(process.env["SKALD_TEST_RUNS"] ?? 5);

test(
  "branches merged any way have what plain copies have that were merged the same way",
  async () => {
    const seed = seedOf();
    const random = seeded(seed);
    const below = (n: number): number => Math.floor(random() * n);
    const tally = { merges: 0, duplicates: 0, fastForwards: 0, branches: 0 };
    for (let run = 0; run < RUNS; run += 1) {
      const made = createLog(root);
      const { log } = made;
      const names = ["d/x", "d/y", "d/z"];
      /** Copies of documents by branch and name. */
      const copies = new Map<string, Map<string, Doc>>([["main", new Map()]]);
      let actors = 1;
      const actor = (): string => (++actors).toString(16).padStart(32, "0");
      const put = async (branch: string): Promise<void> => {
        const doc = names[below(names.length)] as string;
        const docs = copies.get(branch) as Map<string, Doc>;
        const copy = docs.get(doc) ?? copyOf(log, doc, actor());
        const next = set(A.clone(copy, { actor: actor() }), { [`k${below(4)}`]: (actors += 1) });
        await log.write(tx(write(doc, [lastChange(next)]), { branch }));
        docs.set(doc, next);
      };
      const where = (step: number, what: string): string =>
        `${what} at step ${step} of run ${run} of SKALD_TEST_SEED=${seed}`;
      await put("main");
      for (let step = 0; step < 30; step += 1) {
        const open = [...copies.keys()];
        const branch = open[below(open.length)] as string;
        const other = open[below(open.length)] as string;
        const kind = below(10);
        if (kind < 5) await put(branch);
        else if (kind < 6 && open.length < 5) {
          const name = `b${run}-${step}`;
          await log.createBranch(name, { author: "ann", from: branch });
          copies.set(name, new Map(copies.get(branch)));
          tally.branches += 1;
        } else if (branch !== other) {
          const merged = await merge(log, { from: branch, into: other });
          tally.merges += 1;
          tally.duplicates += merged.duplicate ? 1 : 0;
          tally.fastForwards += merged.fastForward ? 1 : 0;
          const [from, into] = [copies.get(branch), copies.get(other)] as [
            Map<string, Doc>,
            Map<string, Doc>,
          ];
          for (const [doc, copy] of from) {
            const own = into.get(doc);
            into.set(doc, own ? A.merge(A.clone(own), copy) : copy);
          }
        }
        for (const [name, docs] of copies) {
          for (const [doc, copy] of docs) {
            const own = loaded(log, doc, name);
            const [is, should] = [own, copy].map((held) =>
              JSON.stringify([
                Object.entries(held).sort(([a], [b]) => (a < b ? -1 : 1)),
                A.getHeads(held).sort(),
                A.getAllChanges(held).length,
              ]),
            );
            if (is !== should || heads(log, doc, name)?.join() !== A.getHeads(copy).sort().join())
              throw new Error(where(step, `${doc} on ${name} is ${is}, not ${should},`));
          }
        }
      }
      await sameAnew(made);
    }
    expect(tally.merges).toBeGreaterThan(RUNS * 2);
    if (process.env["SKALD_TEST_RUNS"]) process.stderr.write(`${RUNS} runs: ${JSON.stringify(tally)}\n`);
  },
  60_000 + RUNS * 3000,
);
