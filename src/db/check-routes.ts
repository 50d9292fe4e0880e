import { isSkaldError } from "../errors.ts";
import { cidToString } from "../ids/cid.ts";
import { readTrustedHeader } from "../log/change.ts";
import type { StoredCommit } from "../log/stored-commit.ts";
import type { WalkedDoc } from "../log/walk.ts";
import { guarded, reportFailure } from "./check-catalog.ts";
import { batches, gatherLiving } from "./check-documents.ts";
import {
  alike,
  outcome,
  pointOf,
  type Piece,
  type Read,
  type ReplayPoint,
  type Replayed,
} from "./check-replay.ts";
import type { Checking, Progress } from "./checking.ts";
import { savedForm } from "./source.ts";

/** Points of a document that are read: its first commit, its last, and some between. */
const POINTS = 5;
const NEWEST = 100;

/**
 * Reads a sample of documents at a sample of their commits in three ways, which must give the same text: by
 * single changes alone, by a saved form and the changes after it, and as readers get it. Also asks the log for
 * a document's commits, changes and addresses as readers do, bundles included. `sample` documents, spread
 * over all of them; each costs 3 loads for each of its points, and the bundles that it is in.
 */
export async function* checkRoutes(checking: Checking, sample: number): AsyncGenerator<Progress> {
  const { db, walk, catchUp, nextSlice } = checking;
  catchUp();
  const living = [...walk.docs.values()].filter(({ state }) => state.erased === undefined);
  const docs = spread(living, sample, checking.random());
  let done = 0;
  for (const batch of batches(docs)) {
    await nextSlice();
    catchUp();
    const looked = batch.map((doc) => ({ state: { ...doc.state }, touches: [...doc.touches] }));
    const pieces = await gatherLiving(checking, looked);
    for (const doc of looked) {
      await nextSlice();
      const isErased = (): boolean => db.log.erasedAt(doc.state.name) !== undefined;
      if (!isErased()) {
        await checkDocument(checking, doc, pieces.get(doc.state.name) as Piece[]).catch((error: unknown) => {
          // It was erased meanwhile.
          if (!isSkaldError(error) || error.code !== "ERASED" || !isErased()) throw error;
        });
      }
      done += 1;
      yield { done, of: docs.length };
    }
  }
}

async function checkDocument(checking: Checking, doc: WalkedDoc, pieces: readonly Piece[]): Promise<void> {
  const { db, report } = checking;
  const { name, refused } = doc.state;
  const inner = spread(doc.touches.slice(1, -1), POINTS - 2, checking.random());
  // A document is there since some commit touched it.
  const seqs = [...new Set([doc.touches[0] as number, ...inner, doc.touches.at(-1) as number])];
  for (const seq of seqs)
    await checkPoint(checking, doc, pieces, pointOf(pieces, seq, refused) as ReplayPoint);
  // Whatever was written or set aside meanwhile is the next check's.
  if (db.log.state(name)?.last !== doc.state.last) return;
  const wrong = (what: string): void => report("catalog", `${name}: ${what}`, "rebuild");
  guarded(wrong, "its history", () => compareHistory(checking, doc, pieces, wrong));
  for (const piece of [pieces[0] as Piece, pieces.at(-1) as Piece]) {
    const change = piece.changes[0];
    const { cid } = checking.records.commit(piece.seq) as StoredCommit;
    guarded(wrong, "a change", () => {
      if (change && db.log.seqOfChange(name, readTrustedHeader(change).hash) !== piece.seq)
        wrong(`a change of commit ${piece.seq} is not found by its hash`);
    });
    const address = cidToString(cid);
    try {
      if ((await db.log.locate(cid)) !== piece.seq)
        wrong(`commit ${piece.seq} is not found by its address ${address}`);
    } catch (error) {
      reportFailure(wrong, `commit ${piece.seq} by its address ${address}`, error);
    }
  }
}

function compareHistory(
  { db }: Checking,
  { state: { name, last }, touches }: WalkedDoc,
  pieces: readonly Piece[],
  wrong: (what: string) => void,
): void {
  if (db.log.history(name, last, NEWEST).join() !== touches.slice(-NEWEST).reverse().join())
    wrong("its history is not the commits that touched it");
  const given = db.log.changes(name, 0, last);
  const wanted = pieces.flatMap((piece) => piece.changes);
  if (
    given.length !== wanted.length ||
    given.some((bytes, i) => Buffer.compare(bytes, wanted[i] as Uint8Array))
  )
    wrong("its changes are not those of its commits");
}

async function checkPoint(
  checking: Checking,
  doc: WalkedDoc,
  pieces: readonly Piece[],
  point: ReplayPoint,
): Promise<void> {
  const { db, replay, report } = checking;
  const { name, refusedAt, last } = doc.state;
  const { seq, heads, changes } = point;
  const genesis = db.genesis(name).bytes;
  const single = await replay.read([genesis, ...changes], heads);
  const [saved, reader] = await Promise.all([
    "json" in single ? bySavedForm(checking, doc, pieces, point) : undefined,
    byReader(checking, name, String(seq)),
  ]);
  const newest = seq === last ? await byReader(checking, name, undefined) : undefined;
  // A change set aside leaves every point before it, too.
  if ((db.log.state(name)?.refusedAt ?? 0) !== refusedAt) return;
  const differ = (way: string): void =>
    report("routes", `${name} at commit ${seq}: ${way} does not give what its changes give`, "rebuild");
  if (saved && !alike(saved, single)) differ("its saved form");
  const wanted = point.deleted ? { gone: true as const } : single;
  if (!alike(reader, wanted)) differ("a reader");
  if (newest && db.log.state(name)?.last === last && !alike(newest, wanted))
    differ("a reader of the newest value");
}

/** From the saved form that is kept, else from one made now of the first half of the changes. */
async function bySavedForm(
  { db, replay, world }: Checking,
  doc: WalkedDoc,
  pieces: readonly Piece[],
  point: ReplayPoint,
): Promise<Replayed> {
  const { name, refused } = doc.state;
  const kept = savedForm(db.log, db.views, name);
  const rest = (after: number): Uint8Array[] =>
    pieces.filter(({ seq }) => seq > after && seq <= point.seq).flatMap(({ changes }) => changes);
  if (kept) return replay.read([kept.bytes, ...rest(kept.seq)], point.heads);
  const middle = pieces[pieces.findIndex(({ seq }) => seq === point.seq) >> 1] as Piece;
  const half = pointOf(pieces, middle.seq, refused) as ReplayPoint;
  const genesis = db.genesis(name).bytes;
  let bytes: Uint8Array | undefined;
  const saved = await outcome(world, async () => {
    bytes = await replay.save([genesis, ...half.changes], half.heads);
    return "";
  });
  return bytes ? replay.read([bytes, genesis, ...rest(half.seq)], point.heads) : saved;
}

async function byReader({ db, world }: Checking, name: string, at: string | undefined): Promise<Read> {
  try {
    return await outcome(world, async () => (await db.read(name, at === undefined ? {} : { at })).json);
  } catch (error) {
    if (!isSkaldError(error)) throw error;
    if (error.code === "DOC_NOT_FOUND") return { gone: true };
    // The log is sound, so it is what the catalog says of it that is not.
    if (error.code === "DERIVED_DAMAGED" || error.code === "DB_DAMAGED") return { problem: "DOC_UNREADABLE" };
    throw error;
  }
}

/** About `count` items at equal distances; `shift` from 0 to 1 moves them all. */
function spread<T>(items: readonly T[], count: number, shift: number): T[] {
  if (items.length <= count) return [...items];
  const step = items.length / count;
  return Array.from({ length: count }, (_, i) => items[Math.floor((i + shift) * step)] as T);
}
