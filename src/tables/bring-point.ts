import type { Db } from "../db/db.ts";
import { isSkaldError, SkaldError } from "../errors.ts";
import type { DocPoint, StoredCommit } from "../log/log.ts";
import type { TablesHead } from "../store/sqlite-tables.ts";
import { nextTurn, pause } from "../world.ts";
import { commitState } from "./bring.ts";
import type { DocumentState, Part } from "./steps.ts";

/** A branch, as it was after a commit of its past. */
export interface Point {
  readonly branch: string;
  readonly seq: number;
}

/** A part of a branch's past: commits of branch `id` up to `upTo`. The past of a point has such, the newest first. */
export type Past = readonly { readonly id: number; readonly upTo: number }[];

/** The last commit that two pasts share: each is one line of commits, and they part once. */
export function partedAt(a: Past, b: Past): number {
  let last = 0;
  for (const { id, upTo } of a) {
    const other = b.find((stretch) => stretch.id === id);
    if (other) last = Math.max(last, Math.min(upTo, other.upTo));
  }
  return last;
}

/** What a file holds that is to be brought elsewhere. */
export interface Held {
  readonly head: TablesHead;
  readonly past: Past;
}

/**
 * Feeds what brings a file from `from` (nothing, when it is new) to a point, and gives its head there. A document is
 * read when another commit touched it last there, or when changes of it were set aside since. `check` is called now and
 * then, and throws when the work has lost its sense.
 */
export async function bringToPoint(
  db: Db,
  from: Held | undefined,
  to: Point,
  feed: (part: Part) => Promise<void>,
  check: () => void,
): Promise<TablesHead> {
  const { log } = db;
  const past = log.pastOf(to.branch, to.seq);
  const parted = from ? partedAt(from.past, past) : 0;
  const schema = log.schemaSeq(to.branch, to.seq);
  if (from && from.head.seq > parted) await feed({ forget: [{ first: parted + 1, last: from.head.seq }] });
  if (schema !== (from?.head.schema ?? 0)) await feed({ schema: log.schemaAt(to.branch, to.seq) });
  await feedCommits(db, to, parted, feed, check);
  // What was erased just now another file may still have.
  const erasing = log.erasing().map(({ name }) => ({ name, seq: 0 }));
  if (from && erasing.length > 0) await feed({ documents: erasing });
  const names = from ? touchedSince(db, from.past, past, parted) : all(db, to);
  await feedDocuments(db, from, to, names, feed, check);
  return { branch: log.branchId(to.branch), seq: to.seq, schema };
}

async function feedCommits(
  { log }: Db,
  { branch, seq }: Point,
  after: number,
  feed: (part: Part) => Promise<void>,
  check: () => void,
): Promise<void> {
  for (let before = seq; before > after;) {
    const seqs = log.commitsOn(before, COMMITS, branch).filter((found) => found > after);
    const last = seqs.at(-1);
    if (last === undefined) return;
    await feed({ commits: seqs.map((found) => commitState(log.commit(found) as StoredCommit)) });
    before = last - 1;
    await nextTurn(log.world);
    check();
  }
}

/** Names of what either side wrote since they parted, each once; some more may be among them. */
function* touchedSince({ log }: Db, from: Past, to: Past, parted: number): Generator<string> {
  const names = new Set<string>();
  for (const { id, upTo } of [...from, ...to])
    if (upTo > parted) for (const name of log.touchedOn(id, parted, upTo)) names.add(name);
  yield* [...names].sort();
}

/** Every document that the branch has or had. */
function* all({ log }: Db, { branch }: Point): Generator<string> {
  for (let after = ""; ;) {
    const page = log.list("", after, NAMES, true, branch);
    for (const { name } of page) yield name;
    const last = page.at(-1);
    if (!last || page.length < NAMES) return;
    after = last.name;
  }
}

async function feedDocuments(
  db: Db,
  from: Held | undefined,
  to: Point,
  names: Iterable<string>,
  feed: (part: Part) => Promise<void>,
  check: () => void,
): Promise<void> {
  const { log } = db;
  let reading: Promise<DocumentState>[] = [];
  const flush = async (): Promise<void> => {
    const done = reading;
    reading = [];
    const documents = await allOf(done);
    check();
    if (documents.length > 0) await feed({ documents });
  };
  let slice = log.world.monotonic();
  for (const name of names) {
    const there = from && log.stateOfRow(name, from.head.branch, from.head.seq);
    const point = log.stateAt(name, to.seq, to.branch);
    const isDone = from ? isSame(there, point) && !isMended(db, name, to) : !point || point.deleted;
    if (isDone) continue;
    reading.push(stateOf(db, name, point, to, check));
    if (reading.length >= AT_ONCE) await flush();
    else if (log.world.monotonic() - slice > SLICE_MS) {
      await nextTurn(log.world);
      slice = log.world.monotonic();
    }
  }
  await flush();
}

/** All of them are done before it throws what one did: nothing goes on behind the back of who asked. */
async function allOf<T>(work: readonly Promise<T>[]): Promise<T[]> {
  const settled = await Promise.allSettled(work);
  return settled.map((one) => {
    if (one.status === "rejected") throw one.reason;
    return one.value;
  });
}

/** Whether a file has the document as it is to be. */
function isSame(a: DocPoint | undefined, b: DocPoint | undefined): boolean {
  if (!a || !b) return (a?.deleted ?? true) && (b?.deleted ?? true);
  return (
    a.seq === b.seq &&
    a.deleted === b.deleted &&
    a.heads.length === b.heads.length &&
    a.heads.every((head) => b.heads.includes(head))
  );
}

/** Whether changes of a document were set aside on either side: what a file has of it may be from before. */
function isMended({ log }: Db, name: string, { branch }: Point): boolean {
  const refused = (on: string | undefined): number => log.state(name, on)?.refused.size ?? 0;
  return refused(undefined) > 0 || refused(branch) > 0;
}

async function stateOf(
  db: Db,
  name: string,
  point: DocPoint | undefined,
  { branch, seq: at }: Point,
  check: () => void,
): Promise<DocumentState> {
  if (!point || point.deleted || db.log.erasedAt(name) !== undefined) return { name, seq: point?.seq ?? 0 };
  for (let tries = 1; ;) {
    try {
      const { json, seq } = await db.read(name, { at: String(at), branch });
      return { name, seq, json };
    } catch (error) {
      check();
      if (!isSkaldError(error)) throw error;
      if (GONE.has(error.code)) return { name, seq: point.seq };
      if (error.code === "WORK_BUSY") {
        await pause(db.log.world, BUSY_MS);
        continue;
      }
      if (!UNREADABLE.has(error.code)) throw error;
      // A thread may also end or stand still for no fault of what it was at.
      tries += 1;
      if (error.code !== "DOC_UNREADABLE" && tries === 2) continue;
      return { name, seq: point.seq, problem: error.code };
    }
  }
}

/** Throws what says that a build has lost its sense. */
export function abandoned(): SkaldError {
  return new SkaldError("UNAVAILABLE", "The db is closing.");
}

const GONE: ReadonlySet<string> = new Set(["DOC_NOT_FOUND", "ERASED"]);
/** As the documents projection has it: what the document itself is to blame for. */
const UNREADABLE: ReadonlySet<string> = new Set(["DOC_UNREADABLE", "WORK_TIMEOUT", "WORK_FAILED"]);
const COMMITS = 500;
const NAMES = 1000;
/** Documents that are read at once, and go to the thread together. */
const AT_ONCE = 64;
const SLICE_MS = 5;
const BUSY_MS = 20;
