import type { Db } from "../db/db.ts";
import { parseTime, resolvePoint } from "../db/point.ts";
import { SkaldError } from "../errors.ts";
import { cidToString, looksLikeCid } from "../ids/cid.ts";
import { FIRST_EPOCH, decodeCursor, encodeCursor } from "../ids/cursor.ts";

/**
 * Places in a db's log as clients hold them. A cursor is opaque: which db, which life of it, and the seq up
 * to which its owner has seen everything. Every answer that names a point gives one, and each can be followed.
 */

/** A life of a db: from its start, or from the restore that began it, which kept commits up to `after`. */
export interface Life {
  readonly epoch: number;
  readonly after: number;
}

/** The lives of a db, oldest first; the last is the one it lives. */
export function livesOf(_db: Db): readonly Life[] {
  return FIRST_LIFE;
}

const FIRST_LIFE: readonly Life[] = [{ epoch: FIRST_EPOCH, after: 0 }];

export function epochOf(db: Db): number {
  return livesOf(db).at(-1)?.epoch ?? FIRST_EPOCH;
}

/** Commits up to this one are not kept any more: a feed can begin after it and no earlier. */
export function floorOf(_db: Db): number {
  return 0;
}

export function cursorAt(db: Db, seq: number): string {
  return encodeCursor(db.log.identity.uid, { epoch: epochOf(db), seq });
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

/** The seq a cursor names. Throws CURSOR_INVALID, CURSOR_FUTURE, CURSOR_TOO_OLD, EPOCH_CHANGED. */
export function seqOfCursor(db: Db, text: string): number {
  const { epoch, seq } = decodeCursor(db.log.identity.uid, text);
  if (epoch !== epochOf(db)) throw epochChanged(db, epoch, seq);
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
    return checkPlace(db, resolvePoint(db.log, since));
  }
  if (parseTime(since) !== undefined) return checkPlace(db, resolvePoint(db.log, since));
  return seqOfCursor(db, since);
}

/** Throws CURSOR_FUTURE, CURSOR_TOO_OLD. */
function checkPlace(db: Db, seq: number): number {
  const head = db.log.head().seq;
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

/** Both lives have the commits up to where the first one after that of the cursor began. */
function epochChanged(db: Db, epoch: number, seq: number): SkaldError {
  const next = livesOf(db).find((life) => life.epoch > epoch);
  const common = Math.min(seq, next?.after ?? 0, db.log.head().seq);
  const commit = common > 0 ? db.log.commit(common)?.cid : undefined;
  return new SkaldError(
    "EPOCH_CHANGED",
    next
      ? `The db was restored: the cursor is of its life ${epoch}, this is ${epochOf(db)}.`
      : `The cursor is of a life ${epoch} of the db that this one has not had; it is in its life ${epochOf(db)}.`,
    {
      details: {
        last_common_seq: common,
        last_common_commit: commit ? cidToString(commit) : null,
        cursor: cursorAt(db, common),
      },
    },
  );
}
