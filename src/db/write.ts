import { SkaldError, isSkaldError } from "../errors.ts";
import type { Edit } from "../documents/documents.ts";
import { LIMITS } from "../limits.ts";
import { checkTxId, parseDocName } from "../ids/names.ts";
import { MAIN } from "../log/branches.ts";
import type { Log, Receipt } from "../log/log.ts";
import type { DocWrite, Transaction } from "../log/transaction.ts";
import { changesWrite, isChanges, keepFirst, prepareAll } from "./prepare.ts";
import type { TxRequest, WriteContext } from "./tx-request.ts";

export type { TxRequest, TxWrite, WriteContext, WrittenChange } from "./tx-request.ts";

/**
 * The write: from what a caller asks to a durable receipt. Whatever needs Automerge or waiting
 * happens first, against the heads as they are; then the log checks that they still are and commits.
 * Heads that moved meanwhile: prepare again, unless the caller named what it builds on.
 */

/** Another writer has to win each time for one more try to be needed. */
const MAX_TRIES = 16;

/** `hasTurn`: others are held off for this one. */
/** Documents that are looked up together. */
const MANY = 8;

export async function writeTransaction(
  context: WriteContext,
  request: TxRequest,
  hasTurn = false,
): Promise<Receipt> {
  check(request);
  if (!hasTurn) while (context.hold.held) await context.hold.held;
  const { branch, writes } = request;
  if (branch !== undefined && branch !== MAIN)
    await context.log.ready(
      branch,
      writes.map(({ doc }) => doc),
    );
  if (writes.length >= MANY)
    context.log.warm(
      writes.map(({ doc }) => doc),
      branch,
    );
  if (writes.every(isChanges))
    return commit(
      context,
      request,
      writes.map((write) => changesWrite(context, write, branch)),
    );
  // Not by docRef: when changes are set aside meanwhile it is another one, and two would author the same number.
  const authoredDocs = writes
    .filter((write) => !isChanges(write))
    .map((write) => `${branch ?? MAIN} ${write.doc}`);
  return inTurn(context.busy, authoredDocs, () => writeAuthored(context, request));
}

/**
 * The first receipt of a request that was written before. What a repeat builds on may be long gone, so
 * this comes before anything is looked at that could refuse it.
 */
export function earlierReceipt(
  log: Log,
  {
    author,
    branch,
    clientTxId,
    writes,
  }: Pick<TxRequest, "author" | "branch" | "clientTxId"> & { writes: readonly { doc: string }[] },
): Receipt | undefined {
  if (clientTxId === undefined) return undefined;
  try {
    // No db is ever at this seq: only a repeat gets past it.
    return log.dryRun({
      author,
      clientTxId: checkTxId(clientTxId),
      expectSeq: -1,
      ...(branch === undefined ? {} : { branch }),
      writes: writes.map(({ doc }) => ({ doc, changes: [] })),
    });
  } catch (error) {
    if (isSkaldError(error) && error.code === "SEQ_CONFLICT") return undefined;
    throw error;
  }
}

async function writeAuthored(context: WriteContext, request: TxRequest): Promise<Receipt> {
  const earlier = earlierReceipt(context.log, request);
  if (earlier) return earlier;
  for (let tries = 1; ; tries += 1) {
    const prepared = await prepareAll(context, request);
    try {
      const receipt = await commit(
        context,
        request,
        prepared.map(({ write }) => write),
      );
      if (!request.dryRun && !receipt.duplicate) {
        for (const { write, json } of prepared) {
          if (json !== undefined) context.authored(write.doc, request.branch, receipt.seq, json);
          keepFirst(context, request, write);
        }
      }
      return receipt;
    } catch (error) {
      if (!isSkaldError(error) || error.code !== "HEADS_CONFLICT" || tries === MAX_TRIES) throw error;
      const moved = error.details["doc"];
      const named = request.writes.some((write) => write.doc === moved && write.base !== undefined);
      if (named || !prepared.some(({ write }) => write.doc === moved)) throw error;
    }
  }
}

function commit(context: WriteContext, request: TxRequest, writes: readonly DocWrite[]): Promise<Receipt> {
  const tx: Transaction = {
    author: request.author,
    clientTxId: request.clientTxId ?? "",
    writes,
    ...(request.message === undefined ? {} : { message: request.message }),
    ...(request.reads === undefined ? {} : { reads: request.reads }),
    ...(request.expectSeq === undefined ? {} : { expectSeq: request.expectSeq }),
    ...(request.unchanged === undefined ? {} : { unchanged: request.unchanged }),
    ...(request.anyActor === undefined ? {} : { anyActor: request.anyActor }),
    ...(request.branch === undefined ? {} : { branch: request.branch }),
    ...(request.own === undefined ? {} : { own: request.own }),
  };
  return request.dryRun ? Promise.resolve(context.log.dryRun(tx)) : context.log.write(tx);
}

/** The writes of a transaction that merges a branch: changes, made by whoever merged. Throws BAD_REQUEST for edits. */
export function mergeWrites(log: Log, request: TxRequest): DocWrite[] {
  check(request);
  return request.writes.map((write) => {
    if (isChanges(write)) return changesWrite({ log }, write, request.branch);
    throw new SkaldError("BAD_REQUEST", "What merges a branch writes changes, which build on both sides.", {
      hint: "Merge first (POST …/branches/<branch>/merge), then write values.",
    });
  });
}

/** Throws TOO_LARGE when there are more of them. */
export function checkCount(what: string, count: number, most: number): void {
  if (count <= most) return;
  throw new SkaldError("TOO_LARGE", `At most ${most} ${what}, not ${count}.`, { details: { max: most } });
}

function check(request: TxRequest): void {
  const { writes } = request;
  if (request.clientTxId !== undefined) checkTxId(request.clientTxId);
  if (writes.length === 0) throw new SkaldError("TX_EMPTY", "The transaction has no writes.");
  const { writes: mostWrites, reads, heads, messageCharacters } = LIMITS.tx;
  checkCount("writes of a transaction", writes.length, mostWrites.value);
  checkCount("reads of a transaction", request.reads?.length ?? 0, reads.value);
  if ((request.message?.length ?? 0) > messageCharacters.value) {
    throw new SkaldError("BAD_REQUEST", `A message has at most ${messageCharacters.value} characters.`);
  }
  for (const write of writes) {
    parseDocName(write.doc);
    if ("edit" in write) checkEdit(write.edit);
    checkCount("heads of a write", write.base?.length ?? 0, heads.value);
  }
  for (const read of request.reads ?? []) checkCount("heads of a read", read.heads.length, heads.value);
  if (writes.length > 1 && new Set(writes.map((write) => write.doc)).size < writes.length) {
    throw new SkaldError("BAD_REQUEST", "A transaction writes a document once.", {
      hint: "Put all changes of a document into one write.",
    });
  }
}

/** What a program without types may have got wrong must not reach the threads. */
function checkEdit(edit: Edit | undefined): void {
  const { kind, value, patch, heads } = (edit ?? {}) as Readonly<Record<string, unknown>>;
  if (kind === "clear") return;
  if (kind === "revert" && Array.isArray(heads) && heads.every((head) => typeof head === "string")) return;
  const text = kind === "put" ? value : patch;
  if ((kind === "put" || kind === "merge-patch" || kind === "json-patch") && typeof text === "string") return;
  throw new SkaldError(
    "BAD_REQUEST",
    "An edit is a put with a value, a merge-patch or json-patch with a patch, as JSON text, or a revert to heads.",
  );
}

/** Runs `work` after everything before it in the queues of `docs`: one author at a time per document. */
async function inTurn<T>(
  queues: Map<string, Promise<unknown>>,
  docs: readonly string[],
  work: () => Promise<T>,
): Promise<T> {
  const before = docs.map((doc) => queues.get(doc)).filter((turn) => turn !== undefined);
  const turn = (before.length > 0 ? Promise.allSettled(before) : Promise.resolve()).then(work);
  const settled = turn.catch(() => {});
  for (const doc of docs) queues.set(doc, settled);
  try {
    return await turn;
  } finally {
    for (const doc of docs) if (queues.get(doc) === settled) queues.delete(doc);
  }
}
