import type { Db } from "../db/db.ts";
import { SkaldError } from "../errors.ts";
import { toHex } from "../ids/hash.ts";
import { stageRecords, stagedTip } from "../log/adopt.ts";
import type { LogHead, Place } from "../log/log.ts";
import { decodePush, encodeEnd, encodeHead, encodeRecords } from "./frames.ts";

/**
 * What a server does for another copy of one of its dbs. A push only ever adds to its line: it goes on from its
 * head or is refused, so nobody who may push can take anything away. Where both copies have commits that the other
 * lacks, one of them stages the other's line and merges (`Engine.merge`), and then has only commits to add.
 */

/** Records and bytes of one page of a stream: read in one go, a few milliseconds. */
const PAGE_RECORDS = 512;
const PAGE_BYTES = 512 * 1024;
/** Places of an answer: a thousand million commits apart at the last. */
const PLACES = 32;

export interface Compared {
  readonly head: LogHead;
  readonly common: Place;
  readonly places: readonly Place[];
  /** The last commit of another line that is kept beside this one. */
  readonly staged: Place | undefined;
}

/** Where the db is, the newest of `have` that is on its line, and places of its own to ask another copy for. */
export async function compareLines(
  db: Db,
  have: readonly Place[],
  between?: { readonly low: number; readonly high: number },
): Promise<Compared> {
  const { log } = db;
  const common = await log.common(have);
  const staged = stagedTip(db.storage)?.tip;
  return { common, head: log.head(), places: log.places(PLACES, between), staged };
}

/**
 * The stream of every record after a commit up to the head as it is now. `use` runs work with the db open: it is
 * held for a page at a time. Throws SYNC_DIVERGED when the commit is not on this line.
 */
export async function* streamRecords(
  use: <T>(work: (db: Db) => T | Promise<T>) => Promise<T>,
  after: Place,
  upTo = Infinity,
): AsyncGenerator<Uint8Array> {
  const begun = await use(async (db) => {
    const common = after.seq === 0 ? after : await db.log.common([after]);
    if (common.seq !== after.seq) throw notHere(after, db.log.head());
    const { seq } = db.log.head();
    const head = upTo < seq ? { seq: upTo, cid: db.log.commit(upTo)?.cid } : db.log.head();
    return { head, epoch: db.log.epoch, uid: db.log.identity.uid };
  });
  const { head, epoch, uid } = begun;
  yield encodeHead({ uid, after: after.seq, commit: after.cid });
  for (let seq = after.seq; seq < head.seq;) {
    const from = seq + 1;
    const page = await use((db) => {
      // Another line was adopted: what was sent is not the beginning of this one.
      if (db.log.epoch !== epoch) throw notHere(after, db.log.head());
      return db.log.bodies(from, Math.min(PAGE_RECORDS, head.seq - seq), PAGE_BYTES);
    });
    seq += page.length;
    yield encodeRecords(page.map(({ body }) => body));
  }
  yield encodeEnd({ end: head.seq, commit: head.cid });
}

/**
 * Takes over what a push brings. Who may not erase can bring neither an erasure nor a change without its bytes; who may
 * not define, nothing of the schema.
 * Throws BAD_CBOR, SYNC_OTHER_DB, SYNC_DIVERGED, SYNC_INVALID, FORBIDDEN, STORAGE_FULL.
 */
export function takePush(
  db: Db,
  bytes: Uint8Array,
  may: { readonly erase: boolean; readonly define: boolean },
): Promise<LogHead> {
  const { head, bodies } = decodePush(bytes);
  checkUid(db, head.uid);
  const rights = { mayErase: may.erase, mayDefine: may.define, erased: head.erased ?? [] };
  return db.log.receive({ seq: head.after, cid: head.commit }, bodies, rights);
}

/** Keeps a page of another line beside the log. Throws BAD_CBOR, SYNC_OTHER_DB, SYNC_DIVERGED, SYNC_INVALID. */
export function takeStaged(db: Db, bytes: Uint8Array): Promise<Place> {
  const { head, bodies } = decodePush(bytes);
  checkUid(db, head.uid);
  return stageRecords(db.log, db.storage, { seq: head.after, cid: head.commit }, bodies);
}

function checkUid(db: Db, uid: Uint8Array): void {
  const own = db.log.identity.uid;
  if (Buffer.compare(own, uid) === 0) return;
  throw otherDb(db.id, toHex(own), toHex(uid));
}

export function otherDb(db: string, uid: string, other: string): SkaldError {
  return new SkaldError("SYNC_OTHER_DB", `The db ${db} is another one: ${uid}, not ${other}.`, {
    details: { db, uid, other_uid: other },
  });
}

function notHere(after: Place, head: LogHead): SkaldError {
  return new SkaldError("SYNC_DIVERGED", `Commit ${after.seq} of the other copy is not on this line.`, {
    details: { seq: head.seq },
  });
}
