import { isSkaldError } from "../errors.ts";
import { readTrustedHeader } from "../log/change.ts";
import type { WalkedDoc } from "../log/walk.ts";
import type { DocumentRow } from "../store/sqlite-views.ts";
import { guarded } from "./check-catalog.ts";
import { checkRemoved } from "./check-erased.ts";
import { alike, gather, pointOf, type Piece, type Replay } from "./check-replay.ts";
import type { Checking, Progress } from "./checking.ts";

/** Documents, and bytes of changes, replayed in one go; a larger document goes alone. */
const BATCH_DOCS = 500;
const BATCH_BYTES = 16 * 1024 * 1024;
/** Replays under way at once: enough for every worker, and room for others. */
const AT_ONCE = 4;
const ORPHANS_PAGE = 200;

/**
 * Replays every document from its changes and compares its row in the projection, as far as that has
 * followed, and its saved form. Costs what a rebuild costs: half a millisecond of a worker for a small
 * document, and each bundle expanded once for every 16 MiB of changes.
 */
export async function* checkDocuments(checking: Checking): AsyncGenerator<Progress> {
  const { db, walk, catchUp, nextSlice } = checking;
  catchUp();
  const of = walk.docs.size;
  let done = 0;
  for (const batch of batches(walk.docs.values())) {
    await nextSlice();
    catchUp();
    const at = db.views.head();
    if (at > walk.seq)
      checking.report("projection", `it is at commit ${at}, the log at ${walk.seq}`, "rebuild");
    const seen = batch.map((doc) => look(checking, doc, at));
    const pieces = await gatherLiving(
      checking,
      seen.map(({ doc }) => doc),
    );
    for (let i = 0; i < seen.length; i += AT_ONCE) {
      const some = seen.slice(i, i + AT_ONCE);
      await Promise.all(
        some.map((one) => checkOne(checking, one, pieces.get(one.doc.state.name) as Piece[])),
      );
      done += some.length;
      yield { done: Math.min(done, of), of };
    }
  }
  for (let after = ""; ;) {
    await nextSlice();
    catchUp();
    const where = (text: string): void => checking.report("projection", text, "rebuild");
    const page = guarded(where, "its rows", () => db.views.page(after, ORPHANS_PAGE));
    if (!page || page.length === 0) break;
    for (const { name } of page) if (!walk.docs.has(name)) where(`${name}: the log has no such document`);
    const next = (page.at(-1) as DocumentRow).name;
    // Rows that do not go on would never end.
    if (Buffer.compare(Buffer.from(next), Buffer.from(after)) <= 0) {
      where(`its rows after "${after}" go on with ${next}`);
      break;
    }
    after = next;
  }
}

/** The pieces of documents, where one may be erased while they are gathered: then it is as one that was before. */
export async function gatherLiving(
  { db, records, nextSlice }: Checking,
  docs: readonly WalkedDoc[],
): Promise<Map<string, readonly Piece[]>> {
  for (;;) {
    const living = docs.filter(({ state }) => db.log.erasedAt(state.name) === undefined);
    const steps = gather(records, living);
    try {
      let step = steps.next();
      for (; !step.done; step = steps.next()) await nextSlice();
      return new Map([...docs.map(({ state }) => [state.name, []] as const), ...step.value]);
    } catch (error) {
      if (!isSkaldError(error) || error.code !== "ERASED") throw error;
      const name = error.details["doc"];
      // Damage otherwise: the log says nothing of it.
      if (living.some(({ state }) => state.name === name && db.log.erasedAt(state.name) === undefined))
        throw error;
    }
  }
}

/** A document as it is looked at: what is replayed later must be of the same moment. */
interface Looked {
  readonly doc: WalkedDoc;
  readonly row: DocumentRow | undefined;
  /** It could not be read, which was reported. */
  readonly broken: boolean;
  /** The projection's head. */
  readonly at: number;
  /** Everything up to here is in `doc`. */
  readonly upTo: number;
}

function look({ db, walk, report }: Checking, doc: WalkedDoc, at: number): Looked {
  const { name } = doc.state;
  let broken = false;
  const row = guarded(
    (where) => {
      broken = true;
      report("projection", where, "rebuild");
    },
    name,
    () => db.views.document(name),
  );
  return { doc: { state: { ...doc.state }, touches: [...doc.touches] }, row, broken, at, upTo: walk.seq };
}

async function checkOne(checking: Checking, looked: Looked, pieces: readonly Piece[]): Promise<void> {
  // One that was erased since it was looked at has no changes to replay, and is the next check's.
  if (looked.doc.state.erased !== undefined) return checkRemoved(checking, looked);
  if (checking.db.log.erasedAt(looked.doc.state.name) !== undefined) return;
  await checkRow(checking, looked, pieces);
  await checkSaved(checking, looked, pieces);
}

async function checkRow(
  { db, replay, report }: Checking,
  { doc, row, broken, at }: Looked,
  pieces: readonly Piece[],
): Promise<void> {
  if (broken) return;
  const { name, refused, refusedAt } = doc.state;
  const wrong = (what: string): void => report("projection", `${name}: ${what}`, "rebuild");
  const point = pointOf(pieces, at, refused);
  if (!point) {
    if (row) wrong(`it has a row of commit ${row.seq} before its first commit`);
    return;
  }
  if (!row) return wrong(`it has no row, and was touched by commit ${point.seq}`);
  if (row.seq !== point.seq) return wrong(`its row is of commit ${row.seq} and should be of ${point.seq}`);
  if (row.deleted !== point.deleted)
    return wrong(`its row says it is ${row.deleted ? "" : "not "}deleted in commit ${row.seq}`);
  if (point.deleted) {
    if (row.json !== undefined || row.problem !== undefined) wrong("it is deleted and has a value");
    return;
  }
  // What was set aside since then is in that row until the projection follows.
  if (refusedAt > at) return;
  const there = await replay.read([db.genesis(name).bytes, ...point.changes], point.heads);
  if ("problem" in there) {
    // One that took too long is no proof of anything.
    if (row.json !== undefined && there.problem === "DOC_UNREADABLE")
      wrong(`it has a value in commit ${row.seq}, and its changes do not load`);
  } else if (row.json === undefined) {
    // A thread that was too slow or ended then says nothing of the document either.
    if (row.problem !== "WORK_TIMEOUT" && row.problem !== "WORK_FAILED")
      wrong(`it has none but ${row.problem}, and its changes load`);
  } else if (row.json !== there.json) wrong(`its value is not that of its changes up to commit ${point.seq}`);
}

async function checkSaved(
  { db, replay, report }: Checking,
  { doc, upTo }: Looked,
  pieces: readonly Piece[],
): Promise<void> {
  const { name, refused, refusedAt } = doc.state;
  const wrong = (what: string): void => report("saved", `${name}: ${what}`, "rebuild");
  const saved = guarded(wrong, "its saved form", () => db.views.saved(name));
  // One from before changes were set aside is never used. What was set aside since it was looked at is not
  // in `doc` yet.
  if (!saved || saved.seq < refusedAt || (db.log.state(name)?.refusedAt ?? 0) !== refusedAt) return;
  if (saved.seq > upTo) {
    if (saved.seq > db.log.head().seq) wrong(`it has one of commit ${saved.seq}, which the log has not`);
    return;
  }
  const point = pointOf(pieces, saved.seq, refused);
  if (!point) return wrong(`it has one of commit ${saved.seq}, before its first commit`);
  const genesis = db.genesis(name);
  const there = await loaded(replay, saved.bytes);
  if (there === undefined) return;
  if (typeof there === "string") return wrong(`that of commit ${saved.seq} does not load: ${there}`);
  // The genesis is in it without being a change of the log.
  const wanted = new Set([genesis.hash, ...point.changes.map((bytes) => readTrustedHeader(bytes).hash)]);
  const missing = [...wanted].filter((hash) => hash !== genesis.hash && !there.hashes.has(hash));
  const extra = [...there.hashes].filter((hash) => !wanted.has(hash));
  if (missing.length > 0) wrong(`that of commit ${saved.seq} lacks ${missing[0]}`);
  if (extra.length > 0) wrong(`that of commit ${saved.seq} has ${extra[0]}, which is of no commit up to it`);
  const heads = there.heads.filter((hash) => hash !== genesis.hash || point.heads.includes(hash));
  if ([...heads].sort().join() !== [...point.heads].sort().join())
    wrong(`that of commit ${saved.seq} has the heads ${heads.join(", ")}`);
  if (missing.length > 0) return;
  const [here, replayed] = await Promise.all([
    replay.read([saved.bytes], point.heads),
    replay.read([genesis.bytes, ...point.changes], point.heads),
  ]);
  if ("json" in replayed && !alike(here, replayed))
    wrong(`that of commit ${saved.seq} does not read as its changes do`);
}

/** What is in a saved form, or why it does not load; undefined when it took too long to tell. */
async function loaded(replay: Replay, bytes: Uint8Array) {
  try {
    return await replay.split(bytes);
  } catch (error) {
    if (isSkaldError(error) && error.code === "WORK_TIMEOUT") return undefined;
    if (!isSkaldError(error) || !FAULTS_OF_BYTES.has(error.code)) throw error;
    return error.code;
  }
}

const FAULTS_OF_BYTES: ReadonlySet<string> = new Set([
  "IMPORT_INVALID",
  "CHANGE_MALFORMED",
  "DOC_UNREADABLE",
  "WORK_FAILED",
]);

export function* batches(docs: Iterable<WalkedDoc>): Generator<WalkedDoc[]> {
  let batch: WalkedDoc[] = [];
  let bytes = 0;
  for (const doc of docs) {
    if (batch.length > 0 && (batch.length >= BATCH_DOCS || bytes + doc.state.bytes > BATCH_BYTES)) {
      yield batch;
      [batch, bytes] = [[], 0];
    }
    batch.push(doc);
    bytes += doc.state.bytes;
  }
  if (batch.length > 0) yield batch;
}
