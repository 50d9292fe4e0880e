import { cidToString } from "../ids/cid.ts";
import { isSkaldError } from "../errors.ts";
import { automergeIdOf, idPrefix } from "../log/automerge-ids.ts";
import { branchOf, docOf } from "../log/branches.ts";
import { headsOf, type DocState } from "../log/doc-state.ts";
import type { WalkedDoc } from "../log/walk.ts";
import type { SeqRange } from "../store/contract.ts";
import { compareSchema } from "./check-schema.ts";
import type { Checking, Progress } from "./checking.ts";

const SLICE = 200;
/** Of a document's newest commits so many are asked for backwards; forwards all of them. */
const NEWEST = 100;

/**
 * Compares what the catalog answers of documents with what the walk worked out: states, histories, bundles,
 * lists, counts. (Addresses and receipts are compared commit by commit, with the feed.) Both are at the same
 * commit within each slice, so writers may go on. Some 0.3 ms a document of 8 commits and 1 µs a commit that touched it.
 */
export function* checkCatalog(checking: Checking): Generator<Progress> {
  const { db, walk, catchUp } = checking;
  const catalog = db.log.answers;
  const report = (where: string): void => checking.report("catalog", where, "rebuild");
  catchUp();
  const begun = walk.docs.size;
  const of = 2 * begun;
  guarded(report, "its head", () => {
    if (catalog.head() !== walk.seq) report(`it is at commit ${catalog.head()}, the log at ${walk.seq}`);
    const [there, wanted] = [catalog.headCid(), walk.head];
    if (Buffer.compare(there ?? NONE, wanted ?? NONE) !== 0)
      report(`its head is ${there ? cidToString(there) : "none"}`);
    const named = catalog.bundles();
    const kept = checking.storage.ranges();
    if (!followBundles(named, kept)) report(`it has the bundles ${text(named)}, the log ${text(kept)}`);
  });

  let done = 0;
  for (const [name, doc] of walk.docs) {
    guarded(report, name, () => compareDoc(checking, name, doc, report));
    done += 1;
    if (done % SLICE !== 0) continue;
    yield { done: Math.min(done, begun), of };
    catchUp();
  }
  guarded(report, "its branches", () => compareBranches(checking, report));
  for (const [row, doc] of walk.rows) {
    guarded(report, row, () => compareDoc(checking, row, doc, report));
    guarded(report, row, () => compareOnBranch(checking, row, doc, report));
    done += 1;
    if (done % SLICE !== 0) continue;
    yield { done: begun, of };
    catchUp();
  }
  yield* compareLists(checking, report);
  guarded(report, "its counts", () => compareCounts(checking, report));
  guarded(report, "what it says was erased", () => compareErased(checking, report));
  guarded(report, "its schema", () => compareSchema(checking, report));
}

/** Every branch there ever was, and the commits of each. */
function compareBranches({ db, walk }: Checking, report: Where): void {
  const catalog = db.log.answers;
  const there = catalog.branches.ids();
  if (!sameNumbers(there, walk.branches.ids())) report(`it has the branches ${there.join()}`);
  for (const id of [0, ...walk.branches.ids()]) {
    const [wanted, given] = [walk.branches.get(id), catalog.branches.get(id)];
    if (!wanted) continue;
    for (const name of ["name", "parent", "fork", "head", "closed", "deleted"] as const)
      if (given?.[name] !== wanted[name])
        report(`branch ${id}: ${name} is ${String(given?.[name])} and should be ${wanted[name]}`);
    if (Buffer.compare(given?.headCid ?? NONE, wanted.headCid ?? NONE) !== 0)
      report(`branch ${id}: the address of its head`);
    const own = walk.commitsOn(id).filter((seq) => seq > catalog.bundledUpTo());
    if (!sameNumbers(catalog.commitsOn(id, walk.seq, own.length + 1), own.toReversed()))
      report(`branch ${id}: its commits`);
  }
}

/** What readers get of a document on a branch: its heads, the commits that led there, and all of its changes. */
function compareOnBranch(
  { db, walk }: Checking,
  row: string,
  { state, touches }: WalkedDoc,
  report: Where,
): void {
  const branch = walk.branches.get(branchOf(row));
  if (!branch || branch.deleted > 0) return;
  const doc = docOf(row);
  const point = db.log.stateAt(doc, walk.seq, branch.name);
  if (point?.seq !== state.last || point.heads.join() !== headsOf(state).join())
    report(`${doc} on ${branch.name}: where it is`);
  const newest = touches.slice(-NEWEST).reverse();
  if (!sameNumbers(db.log.history(doc, walk.seq, newest.length, branch.name), newest))
    report(`${doc} on ${branch.name}: its newest commits`);
  // Of one that is erased there are none to be read.
  if (state.erased !== undefined) return;
  const changes = db.log.changes(doc, 0, walk.seq, branch.name).length;
  if (changes !== state.changes - state.refused.size)
    report(`${doc} on ${branch.name}: it gives ${changes} changes`);
}

const NONE = new Uint8Array(0);
const text = (ranges: readonly SeqRange[]): string =>
  JSON.stringify(ranges.map(({ first, last }) => [first, last]));

/**
 * Whether the catalog's bundles are those of the log, or were: the log makes a bundle first, and one whose
 * noting broke off is noted by the next compaction. Until then it may be missing, or be there as it was
 * before it was made anew with more.
 */
function followBundles(named: readonly SeqRange[], kept: readonly SeqRange[]): boolean {
  return (
    named.length <= kept.length &&
    named.every(({ first, last }, i) => {
      const range = kept[i] as SeqRange;
      return range.first === first && (range.last === last || (i === named.length - 1 && last < range.last));
    })
  );
}

function compareDoc({ db, walk }: Checking, name: string, doc: WalkedDoc, report: Where): void {
  const catalog = db.log.answers;
  const state = catalog.doc(name);
  if (!state) return report(`${name} is not in it`);
  const wrong = difference(doc.state, state);
  if (wrong !== undefined) report(`${name}: ${wrong}`);
  const id = automergeIdOf(db.log.identity.uid, docOf(name));
  if (!catalog.named(idPrefix(id)).includes(name)) report(`${name}: it is not found by its Automerge id`);
  const bundled = catalog.bundledUpTo();
  const single = doc.touches.filter((seq) => seq > bundled);
  if (!sameNumbers(catalog.touchesAfter(name, 0, walk.seq), single))
    report(`${name}: the commits that touched it after ${bundled}`);
  const newest = single.slice(-NEWEST).reverse();
  if (!sameNumbers(catalog.touches(name, walk.seq, NEWEST), newest)) report(`${name}: its newest commits`);
  const middle = single[single.length >> 1];
  if (middle !== undefined && catalog.touches(name, middle, 1)[0] !== middle)
    report(`${name}: its commits at or before ${middle}`);
  const bundles = bundled > 0 ? catalog.bundles() : [];
  const holding = bundles
    .filter(({ first, last }) => touchedIn(doc.touches, first, last))
    .map(({ last }) => last);
  if (!sameNumbers(catalog.bundlesOf(name), holding.reverse())) report(`${name}: the bundles it is in`);
}

/** Whether an ascending list has a number from `first` to `last`. */
function touchedIn(touches: readonly number[], first: number, last: number): boolean {
  let low = 0;
  let high = touches.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((touches[middle] as number) < first) low = middle + 1;
    else high = middle;
  }
  return low < touches.length && (touches[low] as number) <= last;
}

/** Every page of the list: complete, in order, nothing else; the shorter lists agree with it. */
function* compareLists({ db, walk, catchUp }: Checking, report: Where): Generator<Progress> {
  const catalog = db.log.answers;
  const begun = [...walk.docs.keys()];
  const listed = new Set<string>();
  for (let after = ""; ;) {
    catchUp();
    const page = guarded(report, `its list after "${after}"`, () => catalog.list("", after, SLICE, true));
    if (!page || page.length === 0) break;
    let before = after;
    for (const row of page) {
      if (Buffer.compare(Buffer.from(row.name), Buffer.from(before)) <= 0)
        report(`its list has ${row.name} after ${before}`);
      before = row.name;
      const doc = walk.docs.get(row.name);
      const wrong = doc ? difference(doc.state, row) : "the log has no such document";
      if (wrong !== undefined) report(`${row.name} in its list: ${wrong}`);
      listed.add(row.name);
    }
    guarded(report, `its lists after "${after}"`, () => {
      const live = page.filter((row) => !row.deleted).map((row) => row.name);
      const given = catalog.list("", after, live.length, false).map((row) => row.name);
      if (given.join("\n") !== live.join("\n")) report(`its list without deleted ones, after "${after}"`);
      const collection = (page[0]?.name ?? "").replace(/\/.*$/s, "/");
      const run = page.filter((row) => row.name.startsWith(collection)).map((row) => row.name);
      const own = catalog.list(collection, after, run.length, true).map((row) => row.name);
      if (own.join("\n") !== run.join("\n")) report(`its list of ${collection} after "${after}"`);
    });
    // A list that does not go on would never end.
    if (Buffer.compare(Buffer.from(before), Buffer.from(after)) <= 0) break;
    after = before;
    yield { done: begun.length + Math.min(begun.length, listed.size), of: 2 * begun.length };
  }
  for (const name of begun) if (!listed.has(name)) report(`${name} is not in its list`);
}

function compareErased({ db, walk, catchUp }: Checking, report: Where): void {
  catchUp();
  const wanted = [...walk.docs.values()].filter(({ state }) => state.erased).map(({ state }) => state);
  const given = new Map(db.log.erasures().map(({ name, seq }) => [name, seq]));
  for (const { name, erased } of wanted)
    if (given.get(name) !== erased)
      report(`${name}: its list of what was erased has ${given.get(name)}, not ${erased}`);
  if (given.size > wanted.length)
    report(`its list of what was erased has ${given.size}, the log ${wanted.length}`);
}

function compareCounts({ db, walk, catchUp }: Checking, report: Where): void {
  catchUp();
  const catalog = db.log.answers;
  const since = Math.max(1, walk.seq - NEWEST);
  const wanted = { documents: 0, deleted: 0 };
  const recent: string[] = [];
  for (const [name, { state }] of walk.docs) {
    wanted[state.deleted ? "deleted" : "documents"] += 1;
    if (state.last >= since) recent.push(name);
  }
  const { documents, deleted } = catalog.counts();
  if (documents !== wanted.documents || deleted !== wanted.deleted) {
    report(
      `it counts ${documents} documents and ${deleted} deleted ones, the log ${wanted.documents} and ${wanted.deleted}`,
    );
  }
  const touched = catalog.touchedSince(since, recent.length + 1).sort();
  if (touched.join("\n") !== recent.sort().join("\n")) report(`the documents touched since commit ${since}`);
}

type Where = (where: string) => void;

/** The first thing in which a state is not as the walk has it. */
function difference(wanted: DocState, given: DocState): string | undefined {
  for (const name of [
    "first",
    "last",
    "deleted",
    "erased",
    "changes",
    "bytes",
    "maxOp",
    "refusedAt",
  ] as const) {
    if (wanted[name] !== given[name])
      return `${name} is ${String(given[name])} and should be ${String(wanted[name])}`;
  }
  if (headsOf(wanted).join() !== headsOf(given).join()) return `its heads are ${headsOf(given).join()}`;
  for (const [hash, maxOp] of wanted.heads) {
    if (given.heads.get(hash) !== maxOp) return `the largest operation of its head ${hash}`;
  }
  if (given.actors.size !== wanted.actors.size) return "its actors";
  for (const [actor, { seq, hash, principal }] of wanted.actors) {
    const there = given.actors.get(actor);
    if (there?.seq !== seq || there.hash !== hash || there.principal !== principal)
      return `its actor ${actor}`;
  }
  if (given.refused.size !== wanted.refused.size) return "the changes set aside";
  for (const [hash, actor] of wanted.refused) {
    if (given.refused.get(hash) !== actor) return `the change ${hash} that was set aside`;
  }
  return undefined;
}

function sameNumbers(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}

/** What says nothing of what is checked: the disk failed or is full, or somebody else comes first. */
const PASSING: ReadonlySet<string> = new Set(["STORAGE_FAILED", "STORAGE_FULL", "UNAVAILABLE", "WORK_BUSY"]);

/** Derived data may be damaged in any way: whatever it throws is a finding, unless it is not to blame. */
export function guarded<T>(report: Where, what: string, work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    reportFailure(report, what, error);
    return undefined;
  }
}

export function reportFailure(report: Where, what: string, error: unknown): void {
  if (isSkaldError(error) && PASSING.has(error.code)) throw error;
  report(`${what}: ${(error as Error).message}`);
}
