import { SkaldError, isSkaldError } from "../errors.ts";
import type { Edit } from "../documents/documents.ts";
import { firstChange } from "../documents/first-change.ts";
import { parseDocName } from "../ids/names.ts";
import { MAIN } from "../log/branches.ts";
import { readChange, type ChangeHeader } from "../log/change.ts";
import { headsOf, type DocState } from "../log/doc-state.ts";
import { genesisOf } from "../log/genesis.ts";
import { AUTHORED_LIMITS } from "../log/guard.ts";
import type { Log } from "../log/log.ts";
import type { DocWrite } from "../log/transaction.ts";
import { severalAtOnce } from "../projections/several.ts";
import { nextTurn, type World } from "../world.ts";
import { actorOn, ownActors } from "./own-actor.ts";
import type { TxRequest, TxWrite, WriteContext, WrittenChange } from "./tx-request.ts";

/** Characters of a value up to which its first change is made between other requests. */
const AT_ONCE_CHARACTERS = 16 * 1024;
/** Between two turns for others. */
const SLICE_MS = 5;
/** Jobs that one transaction has waiting: a few messages to each thread. */
const AUTHORED_AT_ONCE = 256;

/** A write as changes on the heads as they are, with the JSON of the document when it was authored here. */
export interface Prepared {
  readonly write: DocWrite;
  readonly json?: string;
}

type AuthoredWrite = Exclude<TxWrite, { readonly changes: unknown }>;

/**
 * Makes changes of all writes, against the heads as they are. Throws what refuses one of them: the first that its
 * document's state refuses, else one that its value does.
 */
export async function prepareAll(context: WriteContext, request: TxRequest): Promise<readonly Prepared[]> {
  const { writes, branch } = request;
  const { world } = context.log;
  const slices = new Slices(world);
  const prepared: (Prepared | undefined)[] = writes.map(() => undefined);
  /** Values of documents that never were, by their places: these need no thread. */
  const firsts: [number, Genesis][] = [];
  for (const [i, write] of writes.entries()) {
    if (isChanges(write)) prepared[i] = { write: changesWrite(context, write, branch) };
    else {
      const { state, first } = lookAt(context, request, write);
      if (!state && first && isSmallPut(write)) firsts.push([i, first]);
    }
    if (slices.over()) await slices.next();
  }
  for (const [i, first] of firsts) {
    prepared[i] = prepareFirst(context, request, writes[i] as SmallPut, first);
    if (slices.over()) await slices.next();
  }
  if (!prepared.includes(undefined)) return prepared as Prepared[];
  // More than the threads may have waiting would refuse what is asked of them meanwhile.
  return severalAtOnce(
    writes,
    AUTHORED_AT_ONCE,
    async (write, i) => prepared[i] ?? prepare(context, request, write as AuthoredWrite),
  );
}

type SmallPut = AuthoredWrite & { readonly edit: Edit & { kind: "put" } };

function isSmallPut(write: AuthoredWrite): write is SmallPut {
  return "edit" in write && write.edit.kind === "put" && write.edit.value.length <= AT_ONCE_CHARACTERS;
}

function prepareFirst(
  context: WriteContext,
  request: TxRequest,
  { doc, edit: { value } }: SmallPut,
  first: Genesis,
): Prepared {
  const signature = signatureOf(context, request, undefined);
  const { change, json } = guarded(() => firstChange({ value, genesis: first.hash, ...signature }));
  const changes = [change ?? readChange(first.bytes)];
  return { write: { doc, changes, base: [], authored: true, genesis: first }, json };
}

async function prepare(context: WriteContext, request: TxRequest, write: AuthoredWrite): Promise<Prepared> {
  if (request.branch !== undefined && request.branch !== MAIN) return author(context, request, write);
  // What is authored on a bad change would have to be set aside with it.
  await context.proofs.prove(write.doc);
  return context.proofs.mended(write.doc, () => author(context, request, write));
}

type Genesis = ReturnType<typeof genesisOf>;

interface Standing {
  readonly state: DocState | undefined;
  readonly base: readonly string[];
  /** What a change has to build on when the document has none. */
  readonly first: Genesis | undefined;
}

/** Where the document stands. Throws what refuses the write there. */
function lookAt({ log }: WriteContext, { branch }: TxRequest, write: AuthoredWrite): Standing {
  const { doc } = write;
  log.checkErased(doc);
  const state = log.state(doc, branch);
  const base = state ? headsOf(state) : [];
  if (write.base && !sameHeads(write.base, base, () => genesis(log, doc).hash)) {
    throw new SkaldError("HEADS_CONFLICT", `The document ${doc} is not at the heads this builds on.`, {
      details: { doc, current_heads: base },
    });
  }
  const isThere = state !== undefined && !state.deleted;
  if (!isThere && "delete" in write)
    throw new SkaldError("DOC_NOT_FOUND", `There is no document ${doc}.`, { details: { doc } });
  if (!isThere && "edit" in write && write.edit.kind === "json-patch")
    throw new SkaldError("DOC_NOT_FOUND", `There is no document ${doc} to patch.`, { details: { doc } });
  return { state, base, first: base.length > 0 ? undefined : genesis(log, doc) };
}

/** Bytes and number of the first changes that are kept for the next author. */
const SMALL_FIRST = 4096;
const FIRSTS = 1000;

/** The thread has never seen a document that was written without it: its next author brings what it is along. */
export function keepFirst(
  { firsts, log }: WriteContext,
  { branch }: TxRequest,
  { doc, changes, genesis: of }: DocWrite,
): void {
  const [change] = changes;
  if (!of || !change || change.hash === of.hash || change.bytes.length > SMALL_FIRST) return;
  if ((branch ?? MAIN) !== MAIN || log.erasedAt(doc) !== undefined) return;
  if (firsts.size >= FIRSTS) firsts.clear();
  firsts.set(doc, { hash: change.hash, bytes: change.bytes });
}

function eagerOf(
  { firsts, log }: WriteContext,
  doc: string,
  branch: string | undefined,
  base: readonly string[],
  first: Genesis | undefined,
): { eager?: Uint8Array } {
  if (first) return { eager: first.bytes };
  const kept = (branch ?? MAIN) === MAIN ? firsts.get(doc) : undefined;
  if (!kept) return {};
  firsts.delete(doc);
  if (base.length !== 1 || base[0] !== kept.hash) return {};
  return { eager: Buffer.concat([genesis(log, doc).bytes, kept.bytes]) };
}

/** Who authors, when, and why. */
function signatureOf(
  { log }: WriteContext,
  { branch, message }: TxRequest,
  state: DocState | undefined,
): { actor: string; time: number; message?: string } {
  return {
    actor: ownActors(actorOn(log.identity.actor, log.branchId(branch)), state).at(-1) as string,
    time: Math.floor(log.world.now() / 1000),
    ...(message === undefined ? {} : { message }),
  };
}

async function author(context: WriteContext, request: TxRequest, write: AuthoredWrite): Promise<Prepared> {
  const { doc } = write;
  const { branch } = request;
  const { state, base, first } = lookAt(context, request, write);
  const deleted = "delete" in write;
  const authored = await context.documents.author({
    docRef: context.docRef(doc, branch),
    heads: first ? [first.hash] : [...base],
    source: context.source(doc, branch),
    ...eagerOf(context, write.doc, branch, base, first),
    ...signatureOf(context, request, state),
    edit: deleted ? { kind: "clear" } : write.edit,
  });
  const { change } = authored;
  let changes: ChangeHeader[] = change ? [guarded(() => readChange(change, AUTHORED_LIMITS))] : [];
  // An empty document has no change of its own yet: its first one is the genesis that all copies share.
  if (changes.length === 0 && first) changes = [readChange(first.bytes)];
  return {
    write: { doc, changes, base, authored: true, ...(deleted ? { deleted } : {}) },
    ...(deleted ? {} : { json: authored.json }),
  };
}

/** The guard on a change that was made here: what it does not take is in the value, not in the bytes. */
function guarded<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!isSkaldError(error) || error.code !== "CHANGE_MALFORMED") throw error;
    throw new SkaldError("VALUE_INVALID", `${error.message}.`, { cause: error });
  }
}

export function changesWrite(
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

export function isChanges(write: TxWrite): write is TxWrite & { readonly changes: readonly WrittenChange[] } {
  return "changes" in write;
}

function sameHeads(
  wanted: readonly string[],
  current: readonly string[],
  genesisHash: () => string,
): boolean {
  if (wanted.length === current.length && wanted.every((head) => current.includes(head))) return true;
  return current.length === 0 && wanted.length === 1 && wanted[0] === genesisHash();
}

function genesis(log: Log, doc: string): Genesis {
  const { collection, key } = parseDocName(doc);
  return genesisOf(log.identity.uid, collection, key);
}

/** Gives others a turn now and then: a transaction may have megabytes of values. */
class Slices {
  readonly #world: World;
  #since: number;
  #count = 0;

  constructor(world: World) {
    this.#world = world;
    this.#since = world.monotonic();
  }

  over(): boolean {
    this.#count += 1;
    return this.#count % 16 === 0 && this.#world.monotonic() - this.#since >= SLICE_MS;
  }

  async next(): Promise<void> {
    await nextTurn(this.#world);
    this.#since = this.#world.monotonic();
  }
}
