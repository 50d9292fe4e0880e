import { allows } from "../auth/policy.ts";
import type { Db } from "../db/db.ts";
import type { ConflictSide, MergeAnswer, MergeConflict } from "../db/merge.ts";
import { SkaldError } from "../errors.ts";
import { cidToString } from "../ids/cid.ts";
import { cursorAt, iso } from "./point.ts";
import type { Answer, Call } from "./route.ts";

/** A merge writes whatever documents the branch wrote, and its answer shows them: that takes the whole db. */
export function mayMerge(call: Call, db: string): void {
  for (const action of ["branch.write", "doc.write", "doc.read"] as const) {
    if (allows(call.principal, action, db)) continue;
    throw new SkaldError("FORBIDDEN", `The token does not allow ${action} on all of ${db}.`, {
      details: { action, db },
    });
  }
}

/** The receipt of a merge; conflicts hold documents' JSON as it is. */
export function mergeAnswer(db: Db, answer: MergeAnswer): Answer {
  const { cid, seq, time, entries, duplicate, fastForward, documents, conflicts, more, unchecked } = answer;
  const heads: Record<string, readonly string[]> = {};
  for (const entry of entries) heads[entry.doc] = entry.heads;
  const receipt = JSON.stringify({
    commit: cidToString(cid),
    seq,
    time: iso(time),
    heads,
    duplicate,
    cursor: cursorAt(db, Math.min(seq, db.log.head().seq)),
    fast_forward: fastForward,
    documents,
    commits: answer.commits.length,
    more_conflicts: more,
    unchecked,
  });
  return {
    status: 200,
    headers: { "content-type": "application/json" },
    body: `${receipt.slice(0, -1)},"conflicts":[${conflicts.map(conflictText).join()}]}`,
  };
}

function conflictText({ doc, path, winner, into, from }: MergeConflict): string {
  const head = JSON.stringify({ doc, path, winner });
  return `${head.slice(0, -1)},"into":${sideText(into)},"from":${sideText(from)}}`;
}

function sideText({ json, author }: ConflictSide): string {
  const value = json === undefined ? "" : `"value":${json},`;
  return `{${value}"author":${JSON.stringify(author)}}`;
}
