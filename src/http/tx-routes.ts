import * as z from "zod";
import { allows } from "../auth/policy.ts";
import { checkCount, type TxRequest as TxAsked, type TxWrite } from "../db/write.ts";
import type { Db } from "../db/db.ts";
import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { checkTxId, parseDocName } from "../ids/names.ts";
import { headsOf } from "../log/doc-state.ts";
import type { Receipt as LogReceipt } from "../log/log.ts";
import { TxReceipt, TxRequest, type TxOutcome } from "../protocol/wire.ts";
import { jsonText } from "./body.ts";
import { mayMerge, mergeAnswer } from "./merge-answer.ts";
import { itemTexts, memberTexts } from "../protocol/json-source.ts";
import { cursorAt, iso } from "./point.ts";
import { json, type Call, type Route } from "./route.ts";

export const dryRunQuery = {
  dry_run: z
    .enum(["true", "false"])
    .optional()
    .meta({ description: "Answer as if written and keep nothing." }),
};

export const txRoute: Route = {
  method: "POST",
  path: "/db/:db/branches/:branch/tx",
  summary: "Write several documents in one commit",
  description:
    "All of it is written or nothing. A write with `base_heads` is refused when the document has moved on; without, it merges.",
  tag: "documents",
  access: "doc.write",
  partial: true,
  query: z.strictObject({
    ...dryRunQuery,
    outcomes: z
      .enum(["true", "false"])
      .optional()
      .meta({ description: "Answer also what became of each document." }),
  }),
  body: { types: { "application/json": TxRequest } },
  answers: {
    200: { description: "Durable.", types: { "application/json": TxReceipt } },
  },
  handle: async (call) => {
    const request = call.body.value as z.infer<typeof TxRequest>;
    const db = call.params["db"] as string;
    for (const write of request.writes) mayWrite(call, db, write.doc);
    for (const read of request.reads ?? []) {
      parseDocName(read.doc);
      if (!allows(call.principal, "doc.read", db, read.doc)) throw forbidden("doc.read", db, read.doc);
    }
    const clientTxId = request.client_tx_id ?? idempotencyKey(call);
    const [mergeOf] = request.merge_of ?? [];
    if (mergeOf) mayMerge(call, db);
    return call.db(async (open) => {
      const asked: TxAsked = {
        author: call.principal.subject,
        writes: writesOf(request, call.body.bytes),
        dryRun: call.query["dry_run"] === "true",
        anyActor: isOwner(call, db),
        branch: call.params["branch"] as string,
        ...(clientTxId === undefined ? {} : { clientTxId }),
        ...(request.message === undefined ? {} : { message: request.message }),
        ...(request.reads === undefined ? {} : { reads: request.reads }),
        ...(request.expect_seq === undefined ? {} : { expectSeq: request.expect_seq }),
      };
      if (mergeOf) return mergeAnswer(open, await open.mergeTx(asked, mergeOf.branch, mergeOf.heads[0]));
      const outcomes = call.query["outcomes"] === "true" ? await outcomesOf(open, asked) : undefined;
      const receipt = await open.tx(asked);
      const answer = receiptJson(open, receipt);
      return json(200, outcomes ? { ...answer, outcomes: outcomes(receipt) } : answer);
    });
  },
};

/**
 * What became of each document, by what it was when the request came; whoever writes the same one at the same time
 * may have been in between.
 */
async function outcomesOf(
  db: Db,
  { writes, branch }: TxAsked,
): Promise<(receipt: LogReceipt) => Record<string, Outcome>> {
  const docs = writes.map(({ doc }) => doc);
  await db.log.ready(branch, docs);
  const before = new Map(
    docs.map((doc) => {
      const state = db.log.state(doc, branch);
      return [doc, state && { deleted: state.deleted, heads: headsOf(state) }];
    }),
  );
  const deleted = new Set(writes.filter((write) => "delete" in write).map(({ doc }) => doc));
  return ({ heads, duplicate }) =>
    Object.fromEntries(
      [...before].map(([doc, was]): [string, Outcome] => {
        const now = heads[doc];
        if (duplicate || !now) return [doc, "unchanged"];
        if (deleted.has(doc)) return [doc, was && !was.deleted ? "deleted" : "unchanged"];
        // One that is put back empty has the heads that it had.
        if (!was || was.deleted) return [doc, "created"];
        return [doc, isSame(was.heads, now) ? "unchanged" : "changed"];
      }),
    );
}

type Outcome = z.infer<typeof TxOutcome>;

function isSame(a: readonly string[], b: readonly string[]): boolean {
  const known = new Set(a);
  return a.length === b.length && b.every((head) => known.has(head));
}

export function receiptJson(db: Db, receipt: LogReceipt): Record<string, unknown> {
  return {
    commit: receipt.commit,
    seq: receipt.seq,
    time: iso(receipt.time),
    heads: receipt.heads,
    duplicate: receipt.duplicate,
    cursor: cursorAt(db, receipt.seq),
  };
}

/** The `Idempotency-Key` header, which is another way to give a client_tx_id. */
export function idempotencyKey(call: Call): string | undefined {
  const key = call.header("idempotency-key");
  // The draft writes it as a quoted string; most clients send it bare.
  return key === undefined ? undefined : checkTxId(key.replace(/^"(.*)"$/, "$1"));
}

/** Whoever administers a db may bring in changes that others made. */
export function isOwner(call: Call, db: string): boolean {
  return allows(call.principal, "db.admin", db);
}

function mayWrite(call: Call, db: string, doc: string): void {
  if (!allows(call.principal, "doc.write", db, doc)) throw forbidden("doc.write", db, doc);
}

function forbidden(action: string, db: string, doc: string): SkaldError {
  return new SkaldError("FORBIDDEN", `The token does not allow ${action} on ${doc}.`, {
    details: { action, db, doc },
  });
}

type TxBody = z.infer<typeof TxRequest>;

function writesOf(request: TxBody, body: Buffer): TxWrite[] {
  let texts: string[] | undefined;
  return request.writes.map((write, i) => {
    const { doc, base_heads: base } = write;
    const target = { doc, ...(base === undefined ? {} : { base }) };
    if ("changes" in write) {
      checkCount("changes of a write", write.changes.length, LIMITS.tx.changes.value);
      return { ...target, changes: write.changes.map(fromBase64) };
    }
    if ("delete" in write) return { ...target, delete: true };
    texts ??= itemTexts(memberTexts(jsonText(body)).get("writes") ?? "[]");
    const text = (key: string): string => memberTexts(texts?.[i] ?? "{}").get(key) ?? "null";
    if ("value" in write) return { ...target, edit: { kind: "put", value: text("value") } };
    return { ...target, edit: { kind: "merge-patch", patch: text("patch") } };
  });
}

/** Buffer.from takes any text for base64 and drops what it does not like, so the length tells. */
function fromBase64(text: string): Uint8Array {
  const bytes = Buffer.from(text, "base64");
  const stripped = text.endsWith("==") ? text.length - 2 : text.endsWith("=") ? text.length - 1 : text.length;
  if (bytes.length === 0 || Math.ceil((bytes.length * 4) / 3) !== stripped) {
    throw new SkaldError("BAD_REQUEST", "A change is not base64.");
  }
  return bytes;
}
