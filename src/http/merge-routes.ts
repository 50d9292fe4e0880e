import * as z from "zod";
import type { Db } from "../db/db.ts";
import { MergeReceipt, MergeRequest } from "../protocol/wire.ts";
import { mayMerge, mergeAnswer } from "./merge-answer.ts";
import type { Answer, Call, Route } from "./route.ts";
import { dryRunQuery, idempotencyKey } from "./tx-routes.ts";

export const mergeRoutes: readonly Route[] = [
  {
    method: "POST",
    path: "/db/:db/branches/:branch/merge",
    summary: "Merge a branch into another",
    description:
      "What the other lacks comes in with one commit, as Automerge merges it; what both changed to different values is listed. A tried merge (`dry_run`) answers the same and keeps nothing. Merging twice changes nothing.",
    tag: "branches",
    access: "branch.write",
    query: z.strictObject(dryRunQuery),
    body: { types: { "application/json": MergeRequest } },
    answers: {
      200: { description: "Durable, or nothing to merge.", types: { "application/json": MergeReceipt } },
    },
    handle: (call) => call.db((db) => merge(call, db)),
  },
];

async function merge(call: Call, db: Db): Promise<Answer> {
  mayMerge(call, db.id);
  const { into, dry_run, close, message, client_tx_id } = call.body.value as z.infer<typeof MergeRequest>;
  const clientTxId = client_tx_id ?? idempotencyKey(call);
  const answer = await db.merge({
    author: call.principal.subject,
    from: call.params["branch"] as string,
    into,
    dryRun: dry_run === true || call.query["dry_run"] === "true",
    close: close === true,
    ...(message === undefined ? {} : { message }),
    ...(clientTxId === undefined ? {} : { clientTxId }),
  });
  return mergeAnswer(db, answer);
}
