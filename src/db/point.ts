import { SkaldError } from "../errors.ts";
import { cidFromString, looksLikeCid } from "../ids/cid.ts";
import type { Log } from "../log/log.ts";

const RFC3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/;

/**
 * The seq that `at` names: a seq, a commit's address, or an RFC 3339 time, which means the last
 * commit at or before it. Undefined means the head. Throws POINT_INVALID, POINT_IN_FUTURE,
 * COMMIT_NOT_FOUND.
 */
export function resolvePoint(log: Log, at: string | undefined): number {
  const { seq } = log.head();
  if (at === undefined) return seq;
  if (/^\d{1,15}$/.test(at)) {
    if (Number(at) > seq) throw inFuture(at, seq);
    return Number(at);
  }
  if (looksLikeCid(at)) {
    const found = log.findCommit(cidFromString(at));
    if (found === undefined)
      throw new SkaldError("COMMIT_NOT_FOUND", `No commit of this db has the address ${at}.`);
    return found;
  }
  // A "+" that was not escaped in a URL arrives as a space.
  const time = RFC3339.test(at.replace(/ (\d\d:\d\d)$/, "+$1"))
    ? Date.parse(at.replace(/ (\d\d:\d\d)$/, "+$1"))
    : NaN;
  if (Number.isNaN(time))
    throw new SkaldError("POINT_INVALID", `"${at.slice(0, 80)}" names no point in time.`);
  if (time > Math.max(Date.now(), log.head().time)) throw inFuture(at, seq);
  return log.seqAt(time);
}

function inFuture(at: string, seq: number): SkaldError {
  return new SkaldError("POINT_IN_FUTURE", `The db is at seq ${seq}; ${at} has not happened yet.`, {
    details: { seq },
  });
}
