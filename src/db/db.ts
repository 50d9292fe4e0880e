import { SkaldError } from "../errors.ts";
import type { Documents, SourceCallback } from "../documents/documents.ts";
import type { Conflict } from "../documents/jobs.ts";
import { signedCheckpoint, type Checkpoint } from "../ids/checkpoint.ts";
import { cidFromString, looksLikeCid } from "../ids/cid.ts";
import { toHex } from "../ids/hash.ts";
import { parseDocName } from "../ids/names.ts";
import { genesisOf } from "../log/genesis.ts";
import { branchNotFound } from "../log/branch-steps.ts";
import { MAIN } from "../log/branches.ts";
import { Log } from "../log/log.ts";
import type { CompactOptions, DocPoint, LogOptions, Receipt, StoredCommit } from "../log/log.ts";
import { DocumentsProjection } from "../projections/documents.ts";
import type { CatalogTable, LogStorage } from "../store/contract.ts";
import type { Views } from "../store/sqlite-views.ts";
import { Comparisons, type BranchPoint } from "./compare.ts";
import { compactLog, type Packer } from "./compaction.ts";
import { Erasures, type Erasure, type EraseRequest, type Erased } from "./erasing.ts";
import type { JsonCache } from "./json-cache.ts";
import { mergeBranches, type MergeAnswer, type MergeRequest } from "./merge.ts";
import { resolvePoint } from "./point.ts";
import { Proofs } from "./proofs.ts";
import { sourceOf } from "./source.ts";
import { TENDED_COMMITS, Tending, dueUpTo, isEnough, type TendingPolicy } from "./tending.ts";
import { WriteHold } from "./write-hold.ts";
import { earlierReceipt, mergeWrites, writeTransaction, type TxRequest, type WriteContext } from "./write.ts";

export interface DbParts {
  readonly storage: LogStorage;
  readonly catalog: CatalogTable;
  readonly views: Views;
  /** Shared by all dbs of a process. */
  readonly documents: Documents;
  readonly cache: JsonCache;
  readonly onError: (error: unknown) => void;
  readonly log?: LogOptions;
  /** Starts what packs bundles. */
  readonly packer: () => Packer;
  /** When old commits go into bundles by themselves; never without it. */
  readonly tending?: () => TendingPolicy;
  /** Removes the tables that SQL runs against: for when nobody has them open. */
  readonly dropTables?: () => void;
  /** Told of documents that were erased, before their bytes are removed; throws when it cannot keep that. */
  readonly onErased?: (erased: readonly Erasure[]) => void;
}

/** Gives false when something of the documents is left and has to be tried again. */
type Eraser = (docs: readonly string[]) => boolean | Promise<boolean>;
type Compacted = Awaited<ReturnType<typeof compactLog>>;

/** A document as it was at a point. */
export interface DocumentView {
  readonly doc: string;
  /** JSON text. */
  readonly json: string;
  /** Commit that last touched it. */
  readonly seq: number;
  readonly heads: readonly string[];
  /** Concurrent values, when asked for. */
  readonly conflicts?: readonly Conflict[];
}

export interface ReadOptions {
  /** A seq, a commit's address or an RFC 3339 time; the head otherwise. */
  readonly at?: string;
  /** `main` when absent. */
  readonly branch?: string;
}

export interface HistoryEntry {
  readonly seq: number;
  readonly commit: Uint8Array;
  readonly time: number;
  readonly author: string;
  readonly message: string | undefined;
  readonly heads: readonly string[];
  readonly changes: number;
  readonly deleted: boolean;
  /** Hashes of the changes it set aside. */
  readonly refused?: readonly string[];
}

/** One open db: its log, its projections, and documents as values. Made by `Engine`. */
export class Db {
  /** For checks, which read it past the log; nobody else writes or reads it. */
  readonly storage: LogStorage;
  readonly log: Log;
  readonly views: Views;
  readonly projection: DocumentsProjection;
  /** Which documents differ between two points. */
  readonly comparisons: Comparisons;
  /** The Automerge workers, shared by all dbs. */
  readonly documents: Documents;
  /** Of this copy in its present life: another copy of the db may be open here, and have other commits under its seqs. */
  readonly #name: string;
  readonly #cache: JsonCache;
  readonly #proofs: Proofs;
  readonly #packer: () => Packer;
  readonly #write: WriteContext;
  readonly #onError: (error: unknown) => void;
  readonly #closers: (() => void | Promise<void>)[] = [];
  readonly #erasers = new Set<Eraser>();
  readonly #erasures: Erasures;
  #compacting: Promise<Compacted> | undefined;
  readonly #policy: (() => TendingPolicy) | undefined;
  readonly #tending: Tending;
  readonly #closing = new AbortController();

  constructor(parts: DbParts) {
    this.storage = parts.storage;
    this.log = new Log(parts.storage, parts.catalog, { ...parts.log, onError: parts.onError });
    this.comparisons = new Comparisons(this.log);
    this.#name = `${toHex(this.log.identity.actor)}-${this.log.epoch}`;
    this.views = parts.views;
    this.documents = parts.documents;
    this.#cache = parts.cache;
    this.#packer = parts.packer;
    this.#onError = parts.onError;
    this.#proofs = new Proofs({
      log: this.log,
      views: this.views,
      documents: this.documents,
      docRef: (doc) => this.docRef(doc),
      onError: parts.onError,
    });
    this.projection = new DocumentsProjection(this.log, this.views, {
      known: (doc) => this.#known(doc),
      look: (doc) => this.#proofs.follow(doc),
      read: (doc, { seq, heads }) =>
        this.#proofs.mended(doc, () => this.#json(doc, this.log.stateAt(doc, seq) ?? { seq, heads })),
      onError: parts.onError,
    });
    this.#policy = parts.tending;
    this.#tending = new Tending(this.log, () => this.#tend(), parts.onError);
    this.log.onCommit(() => {
      this.projection.schedule();
      if (this.#policy) this.#tending.schedule();
    });
    this.#write = {
      log: this.log,
      documents: this.documents,
      docRef: (doc, branch) => this.docRef(doc, branch),
      source: (doc, branch) => sourceOf(this.log, this.views, doc, this.log.head().seq, branch),
      authored: (doc, branch, seq, json) => {
        this.#keep(doc, branch, seq, json);
        if (this.log.state(doc)?.first === seq) this.projection.noteFresh();
      },
      proofs: this.#proofs,
      busy: new Map(),
      firsts: new Map(),
      hold: new WriteHold(this.log.world),
    };
    this.projection.schedule();
    this.#erasures = new Erasures({
      log: this.log,
      views: this.views,
      projection: this.projection,
      packer: parts.packer,
      forget: (doc) => this.#forget(doc),
      note: parts.onErased ?? (() => {}),
      others: (docs) => this.#eraseElsewhere(docs, parts.dropTables),
      onError: parts.onError,
    });
  }

  get id(): string {
    return this.log.identity.dbId;
  }

  /** Names a document across dbs: for workers and caches. Setting changes aside starts a new life of it. */
  docRef(doc: string, branch?: string): string {
    const refused = this.log.state(doc, branch)?.refused.size ?? 0;
    const id = this.log.branchId(branch);
    return `${this.#name}${id > 0 ? `@${id}` : ""}${refused > 0 ? `.${refused}` : ""}/${doc}`;
  }

  /** Writes a transaction; resolves when it is durable. Throws what refuses it; then nothing was kept. */
  tx(request: TxRequest): Promise<Receipt> {
    return writeTransaction(this.#write, request);
  }

  /**
   * Has `work` write while other transactions do not begin, for at most `ms`: for one that kept losing to them. It
   * writes with the `tx` that it is given.
   */
  inTurn<T>(ms: number, work: (tx: Db["tx"]) => Promise<T>): Promise<T> {
    return this.#write.hold.during(ms, () => work((request) => writeTransaction(this.#write, request, true)));
  }

  /**
   * Ends documents for good and takes their bytes away. Resolves when nothing is left of them, or with `removed` false when
   * that has to wait: it is tried again until it is done. Throws what refuses the commit; then nothing was done.
   */
  erase(request: EraseRequest): Promise<Erased> {
    return this.#erasures.erase(request);
  }

  /** Resolves when nothing is left of what was erased, as far as that can be done now. */
  erased(): Promise<void> {
    return this.#erasures.settled();
  }

  /** The receipt of a write to `doc` that was made under this client_tx_id before. Throws TX_ID_REUSED. */
  earlier(author: string, clientTxId: string | undefined, doc: string, branch?: string): Receipt | undefined {
    return earlierReceipt(this.log, {
      author,
      writes: [{ doc }],
      ...(branch === undefined ? {} : { branch }),
      ...(clientTxId === undefined ? {} : { clientTxId }),
    });
  }

  /** A document's JSON. Throws DOC_NOT_FOUND, and what `resolvePoint` throws. */
  read(
    doc: string,
    options: ReadOptions & { paths?: string[]; conflicts?: boolean } = {},
  ): Promise<DocumentView> {
    return this.#mended(doc, options.branch, () => this.#view(doc, options));
  }

  /** What Automerge does not take is set aside on `main` alone. */
  #mended<T>(doc: string, branch: string | undefined, work: () => Promise<T>): Promise<T> {
    return this.log.branchId(branch) === 0 ? this.#proofs.mended(doc, work) : work();
  }

  /** Finds a commit that is named by its address, however old; before `at` is used as a point. */
  async locate(at: string | undefined): Promise<void> {
    if (at !== undefined && looksLikeCid(at)) await this.log.locate(cidFromString(at));
  }

  async #view(
    doc: string,
    options: ReadOptions & { paths?: string[]; conflicts?: boolean },
  ): Promise<DocumentView> {
    await this.locate(options.at);
    const point = this.point(doc, options.at, options.branch);
    const { paths, conflicts } = options;
    const branch = await this.#home(doc, point, options.branch);
    if (!paths && !conflicts)
      return { doc, json: await this.#json(doc, point, branch), seq: point.seq, heads: point.heads };
    const read = await this.documents.read({
      ...this.#at(doc, point, branch),
      ...(paths ? { paths } : {}),
      ...(conflicts ? { conflicts } : {}),
    });
    return {
      doc,
      json: read.json,
      seq: point.seq,
      heads: point.heads,
      ...(conflicts ? { conflicts: read.conflicts ?? [] } : {}),
    };
  }

  /** `Automerge.save` bytes of a document with its history up to the point; proved to load. */
  async save(
    doc: string,
    options: ReadOptions = {},
  ): Promise<{ bytes: Uint8Array; seq: number; heads: readonly string[] }> {
    await this.locate(options.at);
    if (this.log.branchId(options.branch) === 0) await this.#proofs.prove(doc);
    return this.#mended(doc, options.branch, async () => {
      const { seq, heads } = this.point(doc, options.at, options.branch);
      const branch = await this.#home(doc, { seq }, options.branch);
      return { bytes: await this.documents.save(this.#at(doc, { seq, heads }, branch)), seq, heads };
    });
  }

  /** RFC 6902 patch (JSON text) between two points; a document that is not there yet counts as {}. */
  async diff(
    doc: string,
    from: string | undefined,
    to: string | undefined,
    branch?: string,
  ): Promise<{ patch: string; from: number; to: number }> {
    parseDocName(doc);
    await this.locate(from);
    await this.locate(to);
    const a = resolvePoint(this.log, from, branch);
    const b = resolvePoint(this.log, to, branch);
    this.log.checkErased(doc);
    await this.log.ready(branch, [doc]);
    const { patch } = await this.#mended(doc, branch, () => {
      const before = this.log.stateAt(doc, a, branch);
      const after = this.log.stateAt(doc, b, branch);
      if (!before && !after) throw notFound(doc, false);
      return this.documents.diff({
        docRef: this.docRef(doc, branch),
        from: [...(before && !before.deleted ? before.heads : [])],
        to: [...(after && !after.deleted ? after.heads : [])],
        source: sourceOf(this.log, this.views, doc, Math.max(a, b), branch),
      });
    });
    return { patch, from: a, to: b };
  }

  /** The same (the patch alone) between points of any branches. */
  diffBetween(doc: string, from: BranchPoint, to: BranchPoint): Promise<string> {
    return this.#mended(doc, from.branch === to.branch ? from.branch : undefined, async () => {
      this.log.checkErased(doc);
      await this.log.ready(from.branch, [doc]);
      await this.log.ready(to.branch, [doc]);
      const [before, after] = [from, to].map(({ branch, seq }) => this.log.stateAt(doc, seq, branch));
      const { patch } = await this.documents.diff({
        ...this.#between(doc, from, to),
        from: [...(before && !before.deleted ? before.heads : [])],
        to: [...(after && !after.deleted ? after.heads : [])],
      });
      // A thread may hold what was erased meanwhile.
      this.log.checkErased(doc);
      return patch;
    });
  }

  #between(
    doc: string,
    from: BranchPoint,
    to: BranchPoint,
  ): { readonly docRef: string; readonly source: SourceCallback } {
    const own = ({ branch, seq }: BranchPoint) => ({
      docRef: this.docRef(doc, branch),
      source: sourceOf(this.log, this.views, doc, seq, branch),
    });
    if (from.branch === to.branch) return own(from.seq > to.seq ? from : to);
    const [a, b] = [own(from), own(to)];
    const source: SourceCallback = async () => {
      const parts = await Promise.all([a.source([]), b.source([])]);
      return { chunks: parts.flatMap(({ chunks }) => chunks) };
    };
    return { docRef: `${a.docRef} to ${b.docRef}`, source };
  }

  /** Writes changes together with what branch `from` has up to its commit `at` (an address; its head when absent). */
  async mergeTx(request: TxRequest, from: string, at?: string): Promise<MergeAnswer> {
    await this.locate(at);
    const { author, branch = MAIN, clientTxId, message, reads, expectSeq, anyActor, dryRun } = request;
    return this.merge({
      author,
      from,
      into: branch,
      writes: mergeWrites(this.log, request),
      ...(at === undefined ? {} : { at: resolvePoint(this.log, at, from) }),
      ...(clientTxId === undefined ? {} : { clientTxId }),
      ...(message === undefined ? {} : { message }),
      ...(reads === undefined ? {} : { reads }),
      ...(expectSeq === undefined ? {} : { expectSeq }),
      ...(anyActor === undefined ? {} : { anyActor }),
      ...(dryRun === undefined ? {} : { dryRun }),
    });
  }

  /** Merges a branch into another, and says what both sides changed. Throws what `Log.merge` throws. */
  merge(request: MergeRequest): Promise<MergeAnswer> {
    const docRef = (doc: string, branch: string): string => this.docRef(doc, branch);
    const { log, views, documents } = this;
    return mergeBranches({ log, views, documents, docRef }, request);
  }

  /**
   * Commits up to `before` that touched a document on a branch or in its past, newest first. Throws DOC_NOT_FOUND when
   * none up to commit `at`, the head when left out, did.
   */
  history(
    doc: string,
    before: number | undefined,
    limit: number,
    branch?: string,
    at?: number,
  ): HistoryEntry[] {
    parseDocName(doc);
    const last = at ?? this.log.head().seq;
    if (!this.log.stateAt(doc, last, branch)) throw notFound(doc, false);
    const upTo = before ?? last;
    return this.log.history(doc, upTo, limit, branch).map((seq) => {
      const entry = this.log.entryOf(doc, seq);
      const { cid, commit } = this.log.commit(seq) as StoredCommit;
      const { time, author, message } = commit;
      return {
        seq,
        commit: cid,
        time,
        author,
        message,
        heads: entry.heads,
        changes: entry.changes.length,
        deleted: entry.deleted === true,
        ...(entry.refused === undefined ? {} : { refused: entry.refused }),
      };
    });
  }

  /** Where a document stood. Throws DOC_NOT_FOUND when it was not there or was deleted, ERASED when it is that by now. */
  point(doc: string, at?: string, branch?: string): DocPoint {
    parseDocName(doc);
    const seq = resolvePoint(this.log, at, branch);
    this.log.checkErased(doc);
    const point = this.log.stateAt(doc, seq, branch);
    if (!point || point.deleted) throw notFound(doc, point?.deleted === true);
    return point;
  }

  /** Where a branch stands, signed by this server when it signs. Throws BRANCH_NOT_FOUND. */
  checkpoint(branch: string = MAIN): Checkpoint {
    const found = this.log.branch(branch);
    if (!found) throw branchNotFound(branch);
    const { seq, cid } = found.head;
    const at = { seq, commit: cid, time: this.log.commit(seq)?.commit.time };
    return signedCheckpoint({ uid: this.log.identity.uid, branch, ...at }, this.log.signer());
  }

  /** Throws DOC_NOT_FOUND for a document that there never was. */
  known(doc: string): void {
    parseDocName(doc);
    if (!this.log.state(doc)) throw notFound(doc, false);
  }

  /** The change that every copy of a document starts from, with its actor and Automerge hash. */
  genesis(doc: string): { actor: string; hash: string; bytes: Uint8Array } {
    const { collection, key } = parseDocName(doc);
    return genesisOf(this.log.identity.uid, collection, key);
  }

  /**
   * Keeps the saved form of a document when enough changes came since the last one, so that a cold
   * read loads one compact file and few changes. The saved form is read back before it counts.
   */
  keepSaved(doc: string): Promise<boolean> {
    return this.#proofs.keepSaved(doc);
  }

  /** Resolves when the documents that had come to rest are tried and saved. */
  resting(): Promise<void> {
    return this.#proofs.resting();
  }

  /**
   * Puts old commits into bundles and makes the saved forms that reads of those need, if there is enough of either
   * by now. Happens by itself; resolves when what is due is done.
   */
  tend(): Promise<void> {
    return this.#tending.run();
  }

  /** Gives true when there will be more to do though nobody writes. */
  async #tend(): Promise<boolean> {
    const policy = this.#policy?.();
    if (!policy || policy.commits === 0 || this.#compacting) return false;
    const upTo = dueUpTo(this.log, this.storage, policy);
    // There may be enough that only has to become older.
    if (upTo === undefined) return isEnough(this.log, this.storage, policy);
    const packer = this.#packer();
    const { packRecords } = packer;
    let docs: ReadonlySet<string> = new Set();
    const work = async (): Promise<Compacted> => {
      const before = this.log.bytes();
      try {
        if (!packRecords) return { bundles: 0, commits: 0, before, after: before };
        const most = Math.max(2, Math.min(TENDED_COMMITS, policy.commits));
        const done = await this.log.bundleSingles(packRecords, { upTo, most, signal: this.#closing.signal });
        docs = done.docs;
        return { bundles: done.bundles, commits: done.commits, before, after: this.log.bytes() };
      } finally {
        await packer.end();
      }
    };
    this.#compacting = work().finally(() => {
      this.#compacting = undefined;
    });
    await this.#compacting;
    for (const doc of docs) {
      if (this.#closing.signal.aborted) return false;
      // One that cannot be saved says so to whoever reads it.
      await this.#proofs.keepSaved(doc).catch(this.#onError);
    }
    return packRecords !== undefined && isEnough(this.log, this.storage, policy);
  }

  /** Puts commits into bundles: a hundredth of their space, every address still resolvable. One at a time. */
  compact(options: CompactOptions = {}): Promise<Compacted> {
    this.#compacting ??= compactLog(this.log, this.#packer, options).finally(() => {
      this.#compacting = undefined;
      try {
        this.views.tidy();
      } catch (error) {
        // What the log did stands.
        this.#onError(error);
      }
    });
    return this.#compacting;
  }

  /**
   * Has `work` run when the db closes, before its log does, and waits for it: for what stands on it and has files of its
   * own.
   */
  onClose(work: () => void | Promise<void>): void {
    this.#closers.push(work);
  }

  /**
   * Has `work` take erased documents out of files of its own, before an erasure answers; it is called again for the same
   * ones until it gives true. Gives what ends it.
   */
  onErase(work: Eraser): () => void {
    this.#erasers.add(work);
    return () => this.#erasers.delete(work);
  }

  /** False when something of the documents is left somewhere. */
  async #eraseElsewhere(docs: readonly string[], dropTables: (() => void) | undefined): Promise<boolean> {
    // Files that a process before this one left.
    if (this.#erasers.size === 0) dropTables?.();
    const done = await Promise.all([...this.#erasers].map(async (work) => work(docs)));
    return !done.includes(false);
  }

  async close(): Promise<void> {
    // All of them in this turn; those that take longer are waited for.
    const closing = this.#closers.map(async (work) => work());
    this.#closing.abort();
    for (const end of await Promise.allSettled(closing))
      if (end.status === "rejected") this.#onError(end.reason);
    await this.#tending.close();
    await this.#compacting?.catch(() => {});
    await this.#erasures.close();
    await this.projection.close();
    await this.#proofs.close();
    try {
      await this.log.close();
    } finally {
      this.views.close();
    }
  }

  #at(doc: string, point: { seq: number; heads: readonly string[] }, branch?: string) {
    return {
      docRef: this.docRef(doc, branch),
      heads: [...point.heads],
      source: sourceOf(this.log, this.views, doc, point.seq, branch),
    };
  }

  /**
   * Where a document on a branch is best read: on `main` when it stands there as `main` left it, since that is what
   * caches and saved forms are of.
   */
  async #home(doc: string, { seq }: { seq: number }, branch?: string): Promise<string | undefined> {
    if (this.log.branchId(branch) === 0) return undefined;
    await this.log.ready(branch, [doc]);
    const ofMain = this.log.commit(seq)?.commit.branch === MAIN;
    return ofMain && (this.log.state(doc, branch)?.refused.size ?? 0) === 0 ? undefined : branch;
  }

  /** Damage of the projection costs no answer: a worker reads the document from the log. */
  #projected(doc: string): ReturnType<Views["document"]> {
    try {
      return this.views.document(doc);
    } catch (error) {
      this.#onError(error);
      return undefined;
    }
  }

  async #json(
    doc: string,
    point: { seq: number; heads: readonly string[] },
    branch?: string,
  ): Promise<string> {
    const isHead = this.log.state(doc, branch)?.last === point.seq;
    const cached = isHead ? this.#cache.get(this.docRef(doc, branch), point.seq) : undefined;
    if (cached !== undefined) return cached;
    const row = branch === undefined ? this.#projected(doc) : undefined;
    if (row?.seq === point.seq && row.json !== undefined) return row.json;
    this.log.checkErased(doc);
    const { json } = await this.documents.read(this.#at(doc, point, branch));
    if (isHead) this.#keep(doc, branch, point.seq, json);
    return json;
  }

  /** What was authored here and is still remembered needs no look: see `Proofs`. */
  #known(doc: string): { seq: number; json: string } | undefined {
    const state = this.log.state(doc);
    if (!state || state.deleted || state.erased !== undefined || !this.#proofs.isCalm(state))
      return undefined;
    const json = this.#cache.get(this.docRef(doc), state.last);
    return json === undefined ? undefined : { seq: state.last, json };
  }

  #keep(doc: string, branch: string | undefined, seq: number, json: string): void {
    // What was read before it was erased must not be remembered after.
    if (this.log.erasedAt(doc) === undefined) this.#cache.put(this.docRef(doc, branch), seq, json);
  }

  /** Lets go of everything of a document that is only in memory. */
  async #forget(doc: string): Promise<void> {
    this.#cache.forget(this.#name, `/${doc}`);
    this.#write.firsts.delete(doc);
    await this.documents.forget(this.#name, `/${doc}`);
  }
}

function notFound(doc: string, deleted: boolean): SkaldError {
  return new SkaldError(
    "DOC_NOT_FOUND",
    `There is no document ${doc}${deleted ? " any more: it was deleted" : ""}.`,
    {
      details: { doc, deleted },
    },
  );
}
