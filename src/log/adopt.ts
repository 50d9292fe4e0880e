import { SkaldError } from "../errors.ts";
import type { AdoptedLine, LogStorage, StoredRecord } from "../store/contract.ts";
import { nextTurn } from "../world.ts";
import { erasedBy, withoutChanges } from "./erased.ts";
import type { Log } from "./log.ts";
import { MAIN } from "./branches.ts";
import { lineOf } from "./commit.ts";
import { isMerge } from "./merged.ts";
import type { Place } from "./reader.ts";
import { openReceived, receivedInvalid } from "./received.ts";
import { bodyOf, openRecord, type StoredCommit } from "./stored-commit.ts";

/**
 * The staged line of another server in the place of this one's, with this one's commits in merges on top of it.
 * So nothing of either is lost, every address stays resolvable, and what the other server has is not touched:
 * it only has to add the merges.
 */

/** Commits and bytes of one merge: a record that anyone can take. */
const RUN_COMMITS = 1024;
const RUN_BYTES = 4 * 1024 * 1024;
const PAGE = 256;

/** The last staged commit. Throws DB_DAMAGED. */
export function stagedTip(storage: LogStorage): { readonly after: number; readonly tip: Place } | undefined {
  const staged = storage.staged();
  if (!staged) return undefined;
  const [last] = storage.stagedPage(staged.last, 1) as [StoredRecord];
  return { after: staged.first - 1, tip: { seq: staged.last, cid: openRecord(last.body, last.seq).cid } };
}

/**
 * Adds records to the staged line. They go on from its last one, or begin it anew after a commit of the log. What
 * can be told of them alone is checked; the rest before they are adopted. Throws SYNC_DIVERGED, SYNC_INVALID.
 */
export async function stageRecords(
  log: Log,
  storage: LogStorage,
  after: Place,
  bodies: readonly Uint8Array[],
): Promise<Place> {
  const staged = stagedTip(storage);
  const goesOn = staged !== undefined && isAt(staged.tip, after);
  if (!goesOn && !isAt(after.seq === 0 ? NOWHERE : await log.common([after]), after)) {
    throw new SkaldError(
      "SYNC_DIVERGED",
      `Commit ${after.seq} is neither here nor the last one that was sent.`,
      {
        details: { seq: log.head().seq },
      },
    );
  }
  let head = after;
  const records = bodies.map((body): StoredRecord => {
    const seq = head.seq + 1;
    const stored = openReceived(body, seq);
    const { cid, commit } = stored;
    if (Buffer.compare(commit.db, log.identity.uid) !== 0) throw receivedInvalid(seq, "it is of another db");
    const parent = lineOf(commit);
    if (head.cid ? !parent || Buffer.compare(parent, head.cid) !== 0 : parent !== undefined)
      throw receivedInvalid(seq, "it does not name the commit before it");
    head = { seq, cid };
    // What was erased here does not come back by waiting here.
    const cleared = withoutChanges(stored, { has: (doc) => log.erasedAt(doc) !== undefined });
    return { seq, body: cleared ? bodyOf(cleared) : body };
  });
  if (!goesOn) await storage.unstage();
  if (records.length > 0) await storage.stage(records);
  return head;
}

const NOWHERE: Place = { seq: 0, cid: undefined };

function isAt(place: Place, other: Place): boolean {
  if (place.seq !== other.seq) return false;
  return (
    place.seq === 0 ||
    (place.cid !== undefined && other.cid !== undefined && Buffer.compare(place.cid, other.cid) === 0)
  );
}

export interface MergedLine {
  readonly line: AdoptedLine;
  /** The last commit of both lines, and the two heads that there were. */
  readonly common: number;
  readonly here: Place;
  readonly there: Place;
  /** The head that there will be. */
  readonly head: Place;
}

/**
 * Checks the staged line as if it were written here, and makes the merges of this log's commits since. Nothing is
 * changed. The log must have no writer, `expected` be the last staged commit. Throws SYNC_DIVERGED, SYNC_INVALID,
 * SYNC_EQUIVOCATION, DOC_TOO_LARGE.
 */
export async function mergeLines(
  log: Log,
  storage: LogStorage,
  expected: Place,
  author: string,
): Promise<MergedLine> {
  const staged = stagedTip(storage);
  const here = log.head();
  if (!staged || !isAt(staged.tip, expected) || staged.after >= here.seq)
    throw new SkaldError("SYNC_DIVERGED", "There is no other line to merge with.", {
      details: { seq: here.seq },
    });
  const fork = staged.after;
  const group = log.groupAt(fork, (seq) => {
    const [record] = seq > fork ? storage.stagedPage(seq, 1) : [];
    return record?.seq === seq ? openRecord(record.body, seq) : log.commit(seq);
  });
  const isErased = (doc: string): boolean => log.erasedAt(doc) !== undefined;
  let erasedThere: ReadonlySet<string> | undefined;
  const explains = (doc: string): boolean =>
    isErased(doc) || (erasedThere ??= erasedIn(storage, staged.tip.seq)).has(doc);
  for (let seq = fork; seq < staged.tip.seq;) {
    const page = storage.stagedPage(seq + 1, PAGE);
    if (page[0]?.seq !== seq + 1) throw receivedInvalid(seq + 1, "it is missing");
    for (const record of page) {
      group.take(record.body, explains);
      if (group.stage.branches.get(0)?.head !== record.seq) throw branchesApart(record.seq, "its");
    }
    group.settle();
    seq += page.length;
    await nextTurn(log.world);
  }
  const theirs = new Map([...group.stage.docs].map(([doc, { state }]) => [doc, state.deleted]));
  // A document that both wrote is gone when both deleted it: a deletion must not take what it did not know of.
  const deleted = (doc: string, there: boolean): boolean => there && (theirs.get(doc) ?? true);
  for (let from = fork + 1; from <= here.seq;) {
    const run = runFrom(log, from);
    group.merge(run, author, deleted, isErased);
    from += run.length;
    await nextTurn(log.world);
  }
  const range = storage.ranges().find(({ first, last }) => first <= fork && last > fork);
  const before: StoredRecord[] = [];
  for (let seq = range?.first ?? fork + 1; seq <= fork; seq += 1)
    before.push({ seq, body: bodyOf(log.commit(seq) as StoredCommit) });
  return {
    line: {
      from: range?.first ?? fork + 1,
      before,
      behind: [...group.records],
      life: { epoch: log.epoch + 1, after: fork },
    },
    common: fork,
    here,
    there: staged.tip,
    head: group.head,
  };
}

/** A merge of two lines is one of `main`: what either did on branches since they parted would have no place in it. */
function branchesApart(seq: number, whose: string): SkaldError {
  return new SkaldError(
    "SYNC_BRANCHES",
    `Commit ${seq} of ${whose} own part is of another branch than main.`,
    {
      details: { seq },
    },
  );
}

/** The documents that the staged line erases. */
function erasedIn(storage: LogStorage, last: number): ReadonlySet<string> {
  const docs = new Set<string>();
  for (let seq = storage.staged()?.first ?? last + 1; seq <= last;) {
    const page = storage.stagedPage(seq, PAGE);
    if (page.length === 0) break;
    for (const record of page) for (const doc of erasedBy(openRecord(record.body, record.seq))) docs.add(doc);
    seq += page.length;
  }
  return docs;
}

/** As many commits as make one merge, at least one; a merge among them counts with all that it holds. */
function runFrom(log: Log, from: number): StoredCommit[] {
  const run: StoredCommit[] = [];
  let commits = 0;
  let bytes = 0;
  while (commits < RUN_COMMITS && bytes < RUN_BYTES) {
    const page = log.commits(from + run.length, Math.min(PAGE, RUN_COMMITS - commits));
    if (page.length === 0) break;
    for (const stored of page) {
      if (stored.commit.branch !== MAIN) throw branchesApart(stored.commit.seq, "this one's");
      const size = stored.bytes.length + stored.blocks.reduce((sum, block) => sum + block.length, 0);
      if (run.length > 0 && bytes + size > RUN_BYTES) return run;
      run.push(stored);
      commits += isMerge(stored.commit) ? stored.commit.events.length : 1;
      bytes += size;
    }
  }
  return run;
}
