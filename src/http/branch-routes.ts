import * as z from "zod";
import type { Db } from "../db/db.ts";
import { resolvePoint } from "../db/point.ts";
import { SkaldError } from "../errors.ts";
import { cidToString } from "../ids/cid.ts";
import { checkTxId } from "../ids/names.ts";
import { LIMITS } from "../limits.ts";
import { branchNotFound } from "../log/branch-steps.ts";
import type { BranchInfo as LogBranch } from "../log/log.ts";
import { BranchDetail, BranchInfo, BranchList, BranchRequest, HeadJson, Receipt } from "../protocol/wire.ts";
import { headAnswer } from "./head-routes.ts";
import { iso, nameCursor, nameOfCursor, nextLink, pageQuery, pointHeaders } from "./point.ts";
import { json, type Answer, type Call, type Route } from "./route.ts";
import { idempotencyKey, receiptJson } from "./tx-routes.ts";

const tag = "branches";
const path = "/db/:db/branches/:branch";

export const branchRoutes: readonly Route[] = [
  {
    method: "GET",
    path: "/db/:db/branches",
    summary: "List the branches, main first and then in the order they were made",
    tag,
    access: "doc.read",
    partial: true,
    query: z.strictObject(pageQuery),
    answers: { 200: { description: "A page.", types: { "application/json": BranchList } } },
    handle: (call) => call.db((db) => listBranches(call, db)),
  },
  {
    method: "POST",
    path: "/db/:db/branches",
    summary: "Make a branch of the whole db",
    description:
      "Nothing is copied: it costs one commit, however much the db holds. `from` is any branch at any point of its past; `main` as it is when left out.",
    tag,
    access: "branch.write",
    body: { types: { "application/json": BranchRequest } },
    answers: { 201: { description: "Durable.", types: { "application/json": BranchInfo } } },
    handle: (call) => call.db((db) => createBranch(call, db)),
  },
  {
    method: "GET",
    path,
    summary: "What a branch is and what it stands on",
    tag,
    access: "doc.read",
    partial: true,
    answers: { 200: { description: "The branch.", types: { "application/json": BranchDetail } } },
    handle: (call) =>
      call.db((db) => {
        const branch = find(call, db);
        return json(200, detail(db, branch), pointHeaders(db, branch.head.seq));
      }),
  },
  {
    method: "GET",
    path: `${path}/head`,
    summary: "Where a branch stands, signed by this server when it has a key",
    description: "As `GET …/head` is of `main`.",
    tag,
    access: "doc.read",
    answers: {
      200: { description: "The checkpoint.", types: { "text/plain": "raw", "application/json": HeadJson } },
      304: { description: "Still what If-None-Match names." },
    },
    handle: (call) => call.db((db) => headAnswer(call, db, db.checkpoint(call.params["branch"] as string))),
  },
  {
    method: "POST",
    path: `${path}/close`,
    summary: "Close a branch: it is read on and takes no more writes",
    noted: "branch.close",
    tag,
    access: "branch.write",
    answers: { 200: { description: "Durable.", types: { "application/json": Receipt } } },
    handle: (call) =>
      call.db(async (db) =>
        json(200, receiptJson(db, await db.log.closeBranch(call.params["branch"] as string, stepOf(call)))),
      ),
  },
  {
    method: "DELETE",
    path,
    summary: "Delete a branch: its name is free, its commits stay in the log",
    noted: "branch.delete",
    tag,
    access: "branch.write",
    answers: { 200: { description: "Durable.", types: { "application/json": Receipt } } },
    handle: (call) =>
      call.db(async (db) =>
        json(200, receiptJson(db, await db.log.deleteBranch(call.params["branch"] as string, stepOf(call)))),
      ),
  },
];

function stepOf(call: Call): { author: string; clientTxId?: string } {
  const clientTxId = idempotencyKey(call);
  return { author: call.principal.subject, ...(clientTxId === undefined ? {} : { clientTxId }) };
}

function find(call: Call, db: Db): LogBranch {
  const name = call.params["branch"] as string;
  const branch = db.log.branch(name);
  if (!branch) throw branchNotFound(name);
  return branch;
}

function listBranches(call: Call, db: Db): Answer {
  const { limit, cursor } = call.query as { limit: number; cursor?: string };
  const after = cursor === undefined ? -1 : Number(nameOfCursor("branches", cursor));
  const later = db.log.branches().filter(({ id }) => id > after);
  const page = later.slice(0, limit);
  const next = later.length > limit ? nameCursor("branches", String(page.at(-1)?.id)) : null;
  return json(
    200,
    { branches: page.map((branch) => info(db, branch)), cursor: next },
    {
      ...pointHeaders(db, db.log.head().seq),
      ...nextLink(`/api/v1/db/${call.params["db"]}/branches`, call.query, next),
    },
  );
}

async function createBranch(call: Call, db: Db): Promise<Answer> {
  const { name, from, message, client_tx_id } = call.body.value as z.infer<typeof BranchRequest>;
  const branch = from?.branch ?? "main";
  const at = from?.at === undefined ? undefined : String(from.at);
  const clientTxId = client_tx_id === undefined ? idempotencyKey(call) : checkTxId(client_tx_id);
  if ((message?.length ?? 0) > LIMITS.tx.messageCharacters.value)
    throw new SkaldError(
      "BAD_REQUEST",
      `A message has at most ${LIMITS.tx.messageCharacters.value} characters.`,
    );
  await db.locate(at);
  const seq = at === undefined ? undefined : resolvePoint(db.log, at, branch);
  const receipt = await db.log.createBranch(name, {
    author: call.principal.subject,
    from: branch,
    ...(seq === undefined ? {} : { at: seq }),
    ...(message === undefined ? {} : { message }),
    ...(clientTxId === undefined ? {} : { clientTxId }),
  });
  const made = db.log.branches().find(({ id }) => id === receipt.seq);
  // A repeat of one that was deleted since.
  if (!made) throw branchNotFound(name);
  return json(201, info(db, made), pointHeaders(db, receipt.seq));
}

function info(db: Db, branch: LogBranch): z.infer<typeof BranchInfo> {
  const { id, name, state, parent, forkSeq, head, merged } = branch;
  const made = id === 0 ? undefined : db.log.commit(id)?.commit;
  return {
    name,
    id,
    state: state === "open" ? "open" : "closed",
    from: parent === undefined ? null : { branch: parent, seq: forkSeq },
    head: { seq: head.seq, commit: head.cid ? cidToString(head.cid) : null },
    merged: merged.map((of) => ({ branch: of.name, id: of.id, up_to: of.upTo })),
    time: made ? iso(made.time) : null,
    author: made?.author ?? null,
    ...(made?.message === undefined ? {} : { message: made.message }),
  };
}

function detail(db: Db, branch: LogBranch): z.infer<typeof BranchDetail> {
  let upTo: number | null = null;
  const lineage = db.log.lineage(branch.name).map(({ name, id, forkSeq }) => {
    const here = { branch: name, id, up_to: upTo };
    upTo = upTo === null ? forkSeq : Math.min(upTo, forkSeq);
    return here;
  });
  return { ...info(db, branch), lineage };
}
