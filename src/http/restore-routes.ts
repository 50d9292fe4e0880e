import * as z from "zod";
import { resolvePoint } from "../db/point.ts";
import { restorePoint } from "../db/restore.ts";
import { checkCount } from "../db/write.ts";
import { LIMITS } from "../limits.ts";
import { checkCollection } from "../ids/names.ts";
import { RestoreRequest } from "../protocol/wire.ts";
import { progressLines } from "./db-routes.ts";
import type { Answer, Call, Route } from "./route.ts";
import { allows } from "../auth/policy.ts";
import { SkaldError } from "../errors.ts";
import { dryRunQuery } from "./tx-routes.ts";

export const restoreRoutes: readonly Route[] = [
  {
    method: "POST",
    path: "/db/:db/restore",
    summary: "Bring documents back to how they were at a point",
    description:
      "By new commits on top, never by rewriting: each document gets the smallest change that does it, those made since are deleted, deleted ones come back. Lines of progress; the last has `ok`, the number of `commits` it took, and how many documents were `changed`, `returned` and `deleted`. Sent again it does what is left to do.",
    job: true,
    noted: "db.restore",
    tag: "documents",
    access: "doc.write",
    query: z.strictObject(dryRunQuery),
    body: { types: { "application/json": RestoreRequest } },
    answers: {
      200: { description: "Lines of progress, then the result.", types: { "application/x-ndjson": "raw" } },
    },
    handle: (call) => {
      const { at, ...request } = call.body.value as z.infer<typeof RestoreRequest>;
      return restoreTo(call, at, request);
    },
  },
];

/** Brings documents back to a point, as `POST …/restore` does. */
export async function restoreTo(
  call: Call,
  at: string,
  request: Omit<z.infer<typeof RestoreRequest>, "at">,
): Promise<Answer> {
  const { documents, collection, message } = request;
  const isBranch = request.as === "branch";
  if (isBranch !== (request.branch !== undefined) || (isBranch && (documents ?? collection) !== undefined))
    throw new SkaldError("BAD_REQUEST", '`as: "branch"` needs `branch`, and is of the whole db.');
  if (isBranch && !allows(call.principal, "branch.write", call.params["db"] as string))
    throw new SkaldError("FORBIDDEN", "A restore as a branch needs branch.write.");
  if (collection !== undefined) checkCollection(collection);
  checkCount("documents of a restore", documents?.length ?? 0, LIMITS.tx.writes.value);
  // A stream that has begun can refuse nothing any more.
  const seq = await call.db(async (db) => {
    await db.locate(at);
    for (const doc of documents ?? []) db.known(doc);
    return resolvePoint(db.log, at);
  });
  if (isBranch) return asBranch(call, request.branch as string, seq, message);
  return {
    status: 200,
    headers: { "content-type": "application/x-ndjson" },
    body: progressLines((onProgress) =>
      call.db((db) =>
        restorePoint(db, {
          author: call.principal.subject,
          at: seq,
          dryRun: call.query["dry_run"] === "true",
          signal: call.signal,
          onProgress,
          ...(documents === undefined ? {} : { documents }),
          ...(collection === undefined ? {} : { prefix: `${collection}/` }),
          ...(message === undefined ? {} : { message }),
        }),
      ),
    ),
  };
}

/** The point as a branch of its own: one commit, whatever the db holds. */
async function asBranch(call: Call, branch: string, at: number, message?: string): Promise<Answer> {
  const said = message === undefined ? {} : { message };
  const dryRun = call.query["dry_run"] === "true";
  const { seq } = await call.db(async (db) =>
    dryRun ? db.log.head() : db.log.createBranch(branch, { author: call.principal.subject, at, ...said }),
  );
  return {
    status: 200,
    headers: { "content-type": "application/x-ndjson" },
    body: `${JSON.stringify({ ok: true, at, seq, branch, commits: dryRun ? 0 : 1 })}\n`,
  };
}
