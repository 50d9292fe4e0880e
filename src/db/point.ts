import { SkaldError } from "../errors.ts";
import { CODEC_DAG_CBOR, cidCodec, cidFromString, looksLikeCid } from "../ids/cid.ts";
import { otherBranch } from "../log/branch-steps.ts";
import { MAIN } from "../log/branches.ts";
import type { Log } from "../log/log.ts";

const RFC3339 = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/;

/** Milliseconds since 1970 of an RFC 3339 time, or undefined. `Date.parse` alone takes 31 February and 24:00. */
export function parseTime(text: string): number | undefined {
  // A "+" that was not escaped in a URL arrives as a space.
  const [, date, clock, fraction = "", zone = ""] = RFC3339.exec(text.replace(/ (\d\d:\d\d)$/, "+$1")) ?? [];
  const plain = Date.parse(`${date}T${clock}Z`);
  if (Number.isNaN(plain) || new Date(plain).toISOString() !== `${date}T${clock}.000Z`) return undefined;
  const time = Date.parse(`${date}T${clock}${fraction}${zone.toUpperCase()}`);
  return Number.isNaN(time) ? undefined : time;
}

/** Whether a text has the form of a point, and so is no name. */
export function looksLikePoint(text: string): boolean {
  return /^\d{1,15}$/.test(text) || looksLikeCid(text) || parseTime(text) !== undefined;
}

/**
 * The seq that `at` names: a seq, a commit's address, or an RFC 3339 time, which means the last
 * commit at or before it. Undefined means the branch's head. On a db with branches a seq and an address have to be of the
 * branch or of what it stands on, and a time means the last commit of those. Throws POINT_INVALID, POINT_IN_FUTURE,
 * POINT_OTHER_BRANCH, COMMIT_NOT_FOUND, BRANCH_NOT_FOUND.
 */
export function resolvePoint(log: Log, at: string | undefined, branch?: string): number {
  const seq = resolveSeq(log, at);
  if (!log.branched) {
    log.branchId(branch);
    return seq;
  }
  if (at === undefined || parseTime(at) !== undefined) return log.seqOn(seq, branch);
  if (!log.isOn(seq, branch)) throw otherBranch(at, branch ?? MAIN);
  return seq;
}

/** The same whatever branch the commit is of: a place in the db's one line of commits. */
export function resolveSeq(log: Log, at: string | undefined): number {
  const { seq } = log.head();
  if (at === undefined) return seq;
  if (/^\d{1,15}$/.test(at)) {
    if (Number(at) > seq) throw inFuture(at, seq);
    return Number(at);
  }
  if (looksLikeCid(at)) {
    const cid = cidFromString(at);
    // A change has an address too, and the log would find the commit that holds it.
    const found = cidCodec(cid) === CODEC_DAG_CBOR ? log.findCommit(cid) : undefined;
    if (found === undefined)
      throw new SkaldError("COMMIT_NOT_FOUND", `No commit of this db has the address ${at}.`);
    // What a merge holds was never a state of this db: only the merge is a point of it.
    if (Buffer.compare(log.commit(found)?.cid ?? cid, cid) !== 0)
      throw new SkaldError(
        "POINT_OTHER_BRANCH",
        `Commit ${at} is of another line, which came in with commit ${found}.`,
        { details: { seq: found } },
      );
    return found;
  }
  const time = parseTime(at);
  if (time === undefined)
    throw new SkaldError("POINT_INVALID", `"${at.slice(0, 80)}" names no point in time.`);
  if (time > Math.max(log.world.now(), log.head().time)) throw inFuture(at, seq);
  return log.seqAt(time);
}

/** Throws POINT_IN_FUTURE when `seq` is later than where a reader wants to stop. */
export function checkNotAfter(upTo: number, seq: number): number {
  if (seq > upTo) throw inFuture(String(seq), upTo);
  return seq;
}

function inFuture(at: string, seq: number): SkaldError {
  return new SkaldError("POINT_IN_FUTURE", `The db is at seq ${seq}; ${at} has not happened yet.`, {
    details: { seq },
  });
}
