import type { Db } from "../db/db.ts";
import { parseTime, resolveSeq } from "../db/point.ts";
import { SkaldError } from "../errors.ts";
import { cidToString, looksLikeCid } from "../ids/cid.ts";
import { decodeCursor, encodeCursor } from "../ids/cursor.ts";

/**
 * Places in a db's log as clients hold them. A cursor is opaque: which db, which life of it, and the seq up
 * to which its owner has seen everything. Every answer that names a point gives one, and each can be followed.
 */

/** Commits up to this one are not kept any more: a feed can begin after it and no earlier. */
export function floorOf(_db: Db): number {
  return 0;
}

export function cursorAt(db: Db, seq: number): string {
  return encodeCursor(db.log.identity.uid, { epoch: db.log.epoch, seq });
}

/**
 * The cursors of one db, for many seqs in a row: their base64 is the same up to the last digits, so it is put
 * together from two parts of which one stays and the other is one of a thousand.
 */
export class Cursors {
  readonly #db: Db;
  /** Characters before the seq. */
  readonly #before: number;
  readonly #ends = new Map<string, string>();
  #stemOf = "";
  #stem = "";

  constructor(db: Db) {
    this.#db = db;
    this.#before = Buffer.from(cursorAt(db, 0), "base64url").length - 1;
  }

  at(seq: number): string {
    const digits = String(seq);
    // Base64 goes by three characters; the last group may have fewer.
    const last = (this.#before + digits.length) % 3 || 3;
    if (last >= digits.length) return cursorAt(this.#db, seq);
    const stemOf = digits.slice(0, -last);
    const end = digits.slice(-last);
    let text = this.#ends.get(end);
    if (text === undefined) {
      text = Buffer.from(end).toString("base64url");
      this.#ends.set(end, text);
    }
    if (stemOf !== this.#stemOf) {
      const whole = cursorAt(this.#db, seq);
      this.#stem = whole.slice(0, whole.length - text.length);
      this.#stemOf = stemOf;
    }
    return this.#stem + text;
  }
}

/**
 * The seq a cursor names. One of an earlier life of the db is good as far as the lives agree: what its owner
 * has seen is what is there. Throws CURSOR_INVALID, CURSOR_FUTURE, CURSOR_TOO_OLD, EPOCH_CHANGED.
 */
export function seqOfCursor(db: Db, text: string): number {
  const { epoch, seq } = decodeCursor(db.log.identity.uid, text);
  if (epoch !== db.log.epoch && seq > commonUpTo(db, epoch)) throw epochChanged(db, epoch, seq);
  return checkPlace(db, seq);
}

/**
 * The seq after which a feed begins: `since` is a cursor of whatever answer, a seq, a commit's address, an
 * RFC 3339 time (commits after it), `now`, or 0 when left out. Throws what `seqOfCursor` throws,
 * COMMIT_NOT_FOUND, CID_INVALID, POINT_IN_FUTURE.
 */
export async function resolveSince(db: Db, since: string | undefined): Promise<number> {
  if (since === undefined) return checkPlace(db, 0);
  if (since === "now") return db.log.head().seq;
  if (/^\d{1,15}$/.test(since)) return checkPlace(db, Number(since));
  if (looksLikeCid(since)) {
    await db.locate(since);
    return checkPlace(db, resolveSeq(db.log, since));
  }
  if (parseTime(since) !== undefined) return checkPlace(db, resolveSeq(db.log, since));
  return seqOfCursor(db, since);
}

/** Throws CURSOR_FUTURE when the place is after `head`, where a reader ends, and CURSOR_TOO_OLD. */
export function checkPlace(db: Db, seq: number, head = db.log.head().seq): number {
  if (seq > head)
    throw new SkaldError("CURSOR_FUTURE", `The db is at seq ${head} and has not got to ${seq}.`, {
      details: { seq: head, cursor: cursorAt(db, head) },
    });
  const floor = floorOf(db);
  if (seq < floor)
    throw new SkaldError("CURSOR_TOO_OLD", `Commits up to ${floor} are not kept; ${seq} is before that.`, {
      details: { oldest_seq: floor + 1, cursor: cursorAt(db, floor) },
    });
  return seq;
}

/** The last commit that a life of the db shares with all after it; -1 for a life that it has not had. */
function commonUpTo(db: Db, epoch: number): number {
  // Restores leave numbers out: one in between may be of a server that was restored from the same backup.
  if (!db.log.lives.some((life) => life.epoch === epoch)) return -1;
  return db.log.lives.find((life) => life.epoch > epoch)?.after ?? -1;
}

function epochChanged(db: Db, epoch: number, seq: number): SkaldError {
  const known = commonUpTo(db, epoch);
  const common = Math.max(0, Math.min(seq, known, db.log.head().seq));
  const commit = common > 0 ? db.log.commit(common)?.cid : undefined;
  const now = `The db is in its life ${db.log.epoch}`;
  return new SkaldError(
    "EPOCH_CHANGED",
    known < 0
      ? `${now}, and has not had the life ${epoch} that the cursor is of.`
      : `${now}: what the cursor's, ${epoch}, had after commit ${common} is not there any more.`,
    {
      details: {
        last_common_seq: common,
        last_common_commit: commit ? cidToString(commit) : null,
        cursor: cursorAt(db, common),
      },
    },
  );
}
