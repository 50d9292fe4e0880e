import { SkaldError, isSkaldError } from "../errors.ts";
import type { Documents, Edit, SourceCallback } from "../documents/documents.ts";
import { LIMITS } from "../limits.ts";
import { checkTxId, parseDocName } from "../ids/names.ts";
import { MAIN } from "../log/branches.ts";
import { readChange, type ChangeHeader } from "../log/change.ts";
import { AUTHORED_LIMITS } from "../log/guard.ts";
import { headsOf } from "../log/doc-state.ts";
import { genesisOf } from "../log/genesis.ts";
import type { Log, Receipt, Unchanged } from "../log/log.ts";
import type { DocWrite, Transaction } from "../log/transaction.ts";
import { actorOn, ownActors } from "./own-actor.ts";
import type { Proofs } from "./proofs.ts";

/**
 * The write: from what a caller asks to a durable receipt. Whatever needs Automerge or waiting
 * happens first, against the heads as they are; then the log checks that they still are and commits.
 * Heads that moved meanwhile: prepare again, unless the caller named what it builds on.
 */
export interface TxRequest {
  /** Name of who writes; becomes the commit's author. */
  readonly author: string;
  /** Makes repeating safe: a second request with the same id gets the first receipt. */
  readonly clientTxId?: string;
  readonly message?: string;
  readonly reads?: readonly { readonly doc: string; readonly heads: readonly string[] }[];
  readonly expectSeq?: number;
  /** Refuse with SQL_CONFLICT when what the writes were worked out from has changed. */
  readonly unchanged?: Unchanged;
  readonly writes: readonly TxWrite[];
  /** The branch that is written; `main` when absent. */
  readonly branch?: string;
  /** Answer as if written, keep nothing. */
  readonly dryRun?: boolean;
  /** Take changes of actors that belong to others, as an import by the db's owner does. */
  readonly anyActor?: boolean;
}

/** A write to one document. `base`: refuse with HEADS_CONFLICT unless the document is at these heads. */
export type TxWrite =
  | { readonly doc: string; readonly base?: readonly string[]; readonly changes: readonly WrittenChange[] }
  | { readonly doc: string; readonly base?: readonly string[]; readonly edit: Edit }
  | { readonly doc: string; readonly base?: readonly string[]; readonly delete: true };

/** The bytes of a change, or what the guard (`readChange`) made of them. */
export type WrittenChange = Uint8Array | ChangeHeader;

export interface WriteContext {
  readonly log: Log;
  readonly documents: Documents;
  readonly docRef: (doc: string, branch: string | undefined) => string;
  readonly source: (doc: string, branch: string | undefined) => SourceCallback;
  /** Told the JSON of a document whose authored change is durable. */
  readonly authored: (doc: string, branch: string | undefined, seq: number, json: string) => void;
  readonly proofs: Pick<Proofs, "prove" | "mended">;
  /** Documents being authored: the last of each one's queue. */
  readonly busy: Map<string, Promise<unknown>>;
}

/** Another writer has to win each time for one more try to be needed. */
const MAX_TRIES = 16;

export async function writeTransaction(context: WriteContext, request: TxRequest): Promise<Receipt> {
  check(request);
  const { branch, writes } = request;
  if (branch !== undefined && branch !== MAIN)
    await context.log.ready(
      branch,
      writes.map(({ doc }) => doc),
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
    const prepared = await Promise.all(request.writes.map((write) => prepare(context, request, write)));
    try {
      const receipt = await commit(
        context,
        request,
        prepared.map(({ write }) => write),
      );
      if (!request.dryRun && !receipt.duplicate) {
        for (const { write, json } of prepared) {
          if (json !== undefined) context.authored(write.doc, request.branch, receipt.seq, json);
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

interface Prepared {
  readonly write: DocWrite;
  readonly json?: string;
}

async function prepare(context: WriteContext, request: TxRequest, write: TxWrite): Promise<Prepared> {
  if (isChanges(write)) return { write: changesWrite(context, write, request.branch) };
  if (request.branch !== undefined && request.branch !== MAIN) return author(context, request, write);
  // What is authored on a bad change would have to be set aside with it.
  await context.proofs.prove(write.doc);
  return context.proofs.mended(write.doc, () => author(context, request, write));
}

async function author(
  context: WriteContext,
  request: TxRequest,
  write: Exclude<TxWrite, { readonly changes: unknown }>,
): Promise<Prepared> {
  const { doc } = write;
  const { log } = context;
  log.checkErased(doc);
  const { branch } = request;
  const state = log.state(doc, branch);
  const base = state ? headsOf(state) : [];
  const deleted = "delete" in write;
  if (write.base && !sameHeads(write.base, base, () => genesis(log, doc).hash)) {
    throw new SkaldError("HEADS_CONFLICT", `The document ${doc} is not at the heads this builds on.`, {
      details: { doc, current_heads: base },
    });
  }
  if (deleted && (!state || state.deleted)) {
    throw new SkaldError("DOC_NOT_FOUND", `There is no document ${doc}.`, { details: { doc } });
  }
  const edit: Edit = deleted ? { kind: "clear" } : write.edit;
  if (edit.kind === "json-patch" && (!state || state.deleted)) {
    throw new SkaldError("DOC_NOT_FOUND", `There is no document ${doc} to patch.`, { details: { doc } });
  }
  const first = base.length > 0 ? undefined : genesis(log, doc);
  const authored = await context.documents.author({
    docRef: context.docRef(doc, branch),
    heads: first ? [first.hash] : base,
    source: context.source(doc, branch),
    ...(first ? { eager: first.bytes } : {}),
    actor: ownActors(actorOn(log.identity.actor, log.branchId(branch)), state).at(-1) as string,
    time: Math.floor(log.world.now() / 1000),
    ...(request.message === undefined ? {} : { message: request.message }),
    edit,
  });
  let changes: ChangeHeader[] = authored.change ? [readAuthored(authored.change)] : [];
  // An empty document has no change of its own yet: its first one is the genesis that all copies share.
  if (changes.length === 0 && first) changes = [readChange(first.bytes)];
  return {
    write: { doc, changes, base, authored: true, ...(deleted ? { deleted } : {}) },
    ...(deleted ? {} : { json: authored.json }),
  };
}

/** The guard on a change that was made here: what it does not take is in the value, not in the bytes. */
function readAuthored(change: Uint8Array): ChangeHeader {
  try {
    return readChange(change, AUTHORED_LIMITS);
  } catch (error) {
    if (!isSkaldError(error) || error.code !== "CHANGE_MALFORMED") throw error;
    throw new SkaldError("VALUE_INVALID", `${error.message}.`, { cause: error });
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
  };
  return request.dryRun ? Promise.resolve(context.log.dryRun(tx)) : context.log.write(tx);
}

function changesWrite(
  { log }: Pick<WriteContext, "log">,
  write: TxWrite & { readonly changes: readonly WrittenChange[] },
  branch: string | undefined,
): DocWrite {
  const { doc } = write;
  const own = ownActors(actorOn(log.identity.actor, log.branchId(branch)), log.state(doc, branch));
  const changes = write.changes.map((change) => {
    const header = ArrayBuffer.isView(change) ? readChange(change) : change;
    // What this server wrote on another branch may be brought here; nobody else writes with its actors.
    if (own.includes(header.actor) || (isOwn(log, header.actor) && !log.hasOnAny(doc, header.hash))) {
      throw new SkaldError("CHANGE_ACTOR", "The actor of this change is the server's own.", {
        details: { doc, actor: header.actor, change: header.hash },
      });
    }
    return header;
  });
  return { doc, changes, ...(write.base === undefined ? {} : { base: write.base }) };
}

/** The actors of this server on the branches of a log, as far as they were worked out. */
const branchActors = new WeakMap<Log, { upTo: number; actors: Set<string> }>();

/** Whether an actor is this server's on whichever branch. */
function isOwn(log: Log, actor: string): boolean {
  if (!log.branched) return false;
  const ids = log.branchIds();
  let known = branchActors.get(log);
  if (!known) branchActors.set(log, (known = { upTo: -1, actors: new Set() }));
  for (const id of ids)
    if (id > known.upTo) known.actors.add(Buffer.from(actorOn(log.identity.actor, id)).toString("hex"));
  known.upTo = Math.max(...ids.slice(-1), known.upTo);
  return known.actors.has(actor);
}

function isChanges(write: TxWrite): write is TxWrite & { readonly changes: readonly WrittenChange[] } {
  return "changes" in write;
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

function sameHeads(
  wanted: readonly string[],
  current: readonly string[],
  genesisHash: () => string,
): boolean {
  if (wanted.length === current.length && wanted.every((head) => current.includes(head))) return true;
  return current.length === 0 && wanted.length === 1 && wanted[0] === genesisHash();
}

function genesis(log: Log, doc: string): { hash: string; bytes: Uint8Array } {
  const { collection, key } = parseDocName(doc);
  return genesisOf(log.identity.uid, collection, key);
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
