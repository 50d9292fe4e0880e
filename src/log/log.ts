import { SkaldError } from "../errors.ts";
import { cidToString } from "../ids/cid.ts";
import type { Signer } from "../ids/ed25519.ts";
import type { CatalogTable, LogStorage } from "../store/contract.ts";
import { nextTurn, realWorld, type World } from "../world.ts";
import { WritersArchive, commitsOfRow } from "./archive.ts";
import type { BranchMerge } from "./branch-merge.ts";
import { BUNDLE_COMMITS, type PackBundle } from "./bundle.ts";
import { branchOf, docOf, MAIN, pastOf, rowOf } from "./branches.ts";
import { CatalogAt } from "./catalog-at.ts";
import { Catalog } from "./catalog.ts";
import { Stage } from "./stage.ts";
import { erasedBy, eventsIn } from "./erased.ts";
import { Group, type Received } from "./group.ts";
import { receiptOf, type Added, type LogHead, type MergedBranch, type Receipt } from "./receipt.ts";
import { LogReader, type Place } from "./reader.ts";
import { OpenedBundles } from "./opened-bundles.ts";
import { Records } from "./records.ts";
import { FoundDocs, type Below } from "./on-branches.ts";
import { isBatch, noteBundles, recover, rowsIn, rowsOf, type Touch } from "./recover.ts";
import { openReceived } from "./received.ts";
import { Removal, type Removed } from "./removal.ts";
import { schemaEventsIn } from "./schema-events.ts";
import { RETENTION_SET } from "./retention.ts";
import { stateOn } from "./row-states.ts";
import { SERVER, rotationTxId } from "./signature.ts";
import { changesIn, type StoredCommit } from "./stored-commit.ts";
import type { Transaction } from "./transaction.ts";
import { collectionsIn, RecentTouches, type Unchanged } from "./unchanged.ts";

export type { BranchMerge } from "./branch-merge.ts";
export type { PackBundle } from "./bundle.ts";
export type { LogHead, MergedBranch, Receipt } from "./receipt.ts";
export type { Unchanged } from "./unchanged.ts";
export type { BranchInfo, DocPoint, ListedDoc, Place } from "./reader.ts";
export type { StoredStatement } from "./schema-events.ts";
export type { SchemaStatement } from "./schema-steps.ts";
export type { StoredCommit } from "./stored-commit.ts";
export { CommitScan, HASH_STEP, type EntryScan, type RawCommit } from "./commit-scan.ts";

/**
 * The log of one db: the one writer, and everything that can be read without Automerge.
 *
 * Invariants:
 * - A receipt is given after the storage said durable, never before.
 * - Writers that are waiting share one append (group commit). A group is opened by its first writer
 *   and closed when the previous append is done: no timer. Each transaction is checked against what
 *   the ones before it in the group will have done; one that is refused leaves no trace and spoils
 *   none of the others.
 * - Between check and append nothing waits, so nothing can move in between.
 */
export class Log extends LogReader {
  readonly #storage: LogStorage;
  readonly #archive: WritersArchive;
  readonly #onError: (error: unknown) => void;
  readonly #own: boolean;
  readonly #signers: () => readonly Signer[];
  readonly #recent = new RecentTouches();
  readonly #listeners = new Set<(seq: number) => void>();
  #waiting: (Waiting | Receiving | Merging)[] = [];
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(storage: LogStorage, table: CatalogTable, options: LogOptions = {}) {
    const { cachedDocs, world = realWorld, signers = () => [] } = options;
    super(
      storage.identity,
      new Records(storage, options.opened ?? new OpenedBundles()),
      new Catalog(table, storage.identity.uid, cachedDocs),
      world,
      storage.lives(),
    );
    this.#storage = storage;
    this.#own = options.own ?? false;
    this.#signers = signers;
    this.#archive = new WritersArchive(this.records, this.catalog, world);
    this.#onError = options.onError ?? ((error) => process.emitWarning(error as Error));
    this.current = recover(storage, this.records, this.catalog);
  }

  /** The index as it answers, for whoever compares it with the log. */
  get answers(): CatalogAnswers {
    return this.catalog;
  }

  /** Called with the new head's seq after each durable group. Gives a function that stops it. */
  onCommit(listener: (seq: number) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Writes a transaction; resolves once it is durable. Rejects with what refused it, with
   * STORAGE_FULL (nothing kept) or with STORAGE_FAILED (outcome unknown until reopened).
   */
  write(tx: Transaction): Promise<Receipt> {
    const refusal = this.#refusal(tx);
    if (refusal) return Promise.reject(refusal);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ tx, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  /**
   * Takes over records or commits of another server's that follow `after`, which must be the head; resolves once they
   * are durable. All of them or none. Throws SYNC_DIVERGED, SYNC_INVALID, FORBIDDEN for what erases when the sender may
   * not, and what `write` throws.
   */
  receive(
    after: Place,
    bodies: readonly Received[],
    rights: ReceiveRights = { mayErase: true, mayDefine: true, erased: [] },
  ): Promise<LogHead> {
    const refusal = this.#refusal();
    if (refusal) return Promise.reject(refusal);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ after, bodies, rights, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  /**
   * Merges a branch into another; resolves once that is durable, all of it together. A dry run answers the same and
   * keeps nothing. Throws BRANCH_NOT_FOUND, BRANCH_CLOSED, and what `write` throws.
   */
  merge(merge: BranchMerge): Promise<MergedBranch> {
    const refusal = this.#refusal();
    if (refusal) return Promise.reject(refusal);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ merge, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  /** Why nothing is taken, or why this is not: a db of the server's own grows by new documents of the server's alone. */
  #refusal(tx?: Transaction): SkaldError | undefined {
    if (this.#closed) return new SkaldError("UNAVAILABLE", "The db is closing.");
    if (!this.#own || (tx && onlyAdds(tx, (doc) => this.state(doc) !== undefined))) return undefined;
    return new SkaldError("FORBIDDEN", `The db ${this.identity.dbId} is written by the server alone.`, {
      hint: "It can be read, searched, exported and verified.",
    });
  }

  /**
   * Sets changes of a document aside by a commit that says so: they stay in the log and count no more.
   * `refused` must have everything that builds on them, `heads` the tips of what is left. Throws
   * HEADS_CONFLICT when the document is not at `base` any more: work both out again.
   */
  setAside(
    doc: string,
    base: readonly string[],
    refused: readonly string[],
    heads: readonly string[],
    reason: string,
    branch?: string,
  ): Promise<Receipt> {
    const message = `set aside ${refused.length} change${refused.length === 1 ? "" : "s"}: ${reason}`;
    const write = { doc, changes: [], base, refused: { hashes: refused, heads } };
    const on = branch === undefined ? {} : { branch };
    return this.write({ author: "skald", clientTxId: "", message, writes: [write], ...on });
  }

  /**
   * Makes a branch: one commit, however much there is in the db. `at` is the seq of a commit in the past of `from`.
   * Throws BRANCH_EXISTS, BRANCH_NOT_FOUND, POINT_OTHER_BRANCH, POINT_IN_FUTURE, NAME_INVALID.
   */
  createBranch(
    name: string,
    { from = MAIN, at, ...tx }: { from?: string; at?: number } & StepTx,
  ): Promise<Receipt> {
    const step = { kind: "create" as const, from, ...(at === undefined ? {} : { at }) };
    return this.write({ clientTxId: "", ...tx, branch: name, step, writes: [] });
  }

  /** From now on the branch takes no writes. Throws BRANCH_NOT_FOUND, BRANCH_CLOSED. */
  closeBranch(name: string, tx: StepTx): Promise<Receipt> {
    return this.write({ clientTxId: "", ...tx, branch: name, step: { kind: "close" }, writes: [] });
  }

  /** From now on the name is free; what was made from the branch goes on as it is. Throws BRANCH_NOT_FOUND. */
  deleteBranch(name: string, tx: StepTx): Promise<Receipt> {
    return this.write({ clientTxId: "", ...tx, branch: name, step: { kind: "delete" }, writes: [] });
  }

  /** What `write` would answer, with nothing kept. Throws what would refuse it. */
  dryRun(tx: Transaction): Receipt {
    const group = this.#openGroup();
    return receiptOf(group.add(tx));
  }

  /** Throws SQL_CONFLICT when a commit on the branch changed what was read. */
  checkUnchanged(unchanged: Unchanged, branch: string = MAIN): void {
    this.#openGroup().checkUnchanged(unchanged, branch);
  }

  /** Who writes under a condition mostly does so again, and would have to read this commit for it. */
  #noteTouched({ events = [], branch = MAIN }: Transaction, { seq, entries }: Added): void {
    if (events.length > 0) return;
    this.#recent.put(seq, { branch, collections: collectionsIn(entries), schema: false });
  }

  bytes(): number {
    return this.#storage.bytes();
  }

  /** Who signs the next commit; undefined when none is signed. */
  signer(): Signer | undefined {
    return this.#signers().find(({ did }) => this.catalog.receipt(SERVER, rotationTxId(did)) === undefined);
  }

  /** Whether something is being written. */
  get writing(): boolean {
    return this.#running !== undefined;
  }

  /** Resolves when nothing is being written. */
  async settled(): Promise<void> {
    while (this.#running) await this.#running;
  }

  /**
   * Takes the changes of documents that were erased out of the storage. Gives what there was of them. One that
   * broke off is made good by calling it again; everything is looked at anew. Throws STORAGE_FULL, STORAGE_FAILED.
   */
  remove(docs: readonly string[], pack: PackBundle): Promise<Removed> {
    const refusal = this.#own ? this.#refusal() : undefined;
    if (refusal) return Promise.reject(refusal);
    const removal = new Removal({
      identity: this.identity,
      storage: this.#storage,
      records: this.records,
      catalog: this.catalog,
      world: this.world,
    });
    return this.#alone(() => removal.run(docs, pack));
  }

  /** Notes that nothing is left of documents that were erased: they are not looked at again. */
  settleErased(docs: readonly string[]): void {
    this.catalog.settle(docs, []);
  }

  #rewriting: Promise<unknown> = Promise.resolve();

  /** One at a time puts other bytes in the place of records: what one of them read another may have changed. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#rewriting.then(work);
    this.#rewriting = turn.catch(() => {});
    return turn;
  }

  /**
   * Puts commits up to `upTo` into bundles, oldest first, with `pack` (packBundle, on a thread of the
   * caller's). Each bundle takes the place of its commits in one durable step, so a crash leaves some
   * commits bundled and the others as they were. Stops early when `signal` says so.
   */
  compact(pack: PackBundle, options: CompactOptions = {}): Promise<{ bundles: number; commits: number }> {
    return this.#alone(() => this.#compact(pack, options));
  }

  async #compact(pack: PackBundle, options: CompactOptions): Promise<{ bundles: number; commits: number }> {
    const upTo = Math.min(options.upTo ?? this.current.seq, this.current.seq);
    // One that broke off between the storage's step and the catalog's is finished first.
    noteBundles(this.#storage, this.records, this.catalog);
    const start = this.#nextBundleStart(upTo);
    let from = start;
    let bundles = 0;
    while (from <= upTo && !options.signal?.aborted) {
      const commits = this.records.range(from, Math.min(upTo, from + BUNDLE_COMMITS - 1));
      const last = (commits.at(-1) as StoredCommit).commit.seq;
      if (last > from) {
        const body = await pack(this.identity.uid, commits);
        await this.#storage.replace(from, last, body);
        this.records.forget();
        this.catalog.fold([{ first: from, last, docs: rowsIn(this.catalog, commits) }]);
        bundles += 1;
      }
      from = last + 1;
      options.onProgress?.(from - start, upTo - start + 1);
    }
    this.tidy();
    return { bundles, commits: from - start };
  }

  /**
   * Puts commits that stand alone into bundles of at most `most`, oldest first up to `upTo`, and leaves what does not
   * fill one. No bundle is opened, nothing is decoded here, and others have their turn after each page. A crash
   * between two bundles leaves the rest alone. `docs` are the names that the bundles write.
   */
  bundleSingles(pack: PackRecords, options: BundleOptions): Promise<Bundled> {
    return this.#alone(() => this.#bundleSingles(pack, options));
  }

  async #bundleSingles(pack: PackRecords, { upTo, most, signal }: BundleOptions): Promise<Bundled> {
    noteBundles(this.#storage, this.records, this.catalog);
    const docs = new Set<string>();
    const done = { bundles: 0, commits: 0, docs };
    const end = Math.min(upTo, this.current.seq);
    for (let from = this.catalog.bundledUpTo() + 1; from < end && !signal?.aborted;) {
      const bodies: Uint8Array[] = [];
      let bytes = 0;
      while (bodies.length < most && bytes < BUNDLE_BYTES && from + bodies.length <= end) {
        const next = from + bodies.length;
        for (const { body } of this.#storage.page(
          next,
          Math.min(GATHERED, most - bodies.length, end - next + 1),
        )) {
          bodies.push(body);
          bytes += body.length;
        }
        await nextTurn(this.world);
      }
      if (bodies.length < 2 || (bodies.length < most && bytes < BUNDLE_BYTES)) break;
      const last = from + bodies.length - 1;
      const { body, touched } = await pack(this.identity.uid, from, bodies);
      if (signal?.aborted) break;
      await this.#storage.replace(from, last, body);
      this.records.forget();
      this.catalog.fold([{ first: from, last, docs: rowsOf(this.catalog, touched) }]);
      for (const touch of touched) for (const doc of touch.docs) docs.add(doc);
      done.bundles += 1;
      done.commits += bodies.length;
      from = last + 1;
      await nextTurn(this.world);
    }
    if (done.bundles > 0) this.tidy();
    return done;
  }

  /** After the last full bundle: one that has room is made anew with what came since, if anything did. */
  #nextBundleStart(upTo: number): number {
    const last = this.records.bundles().at(-1);
    if (!last) return 1;
    if (upTo <= last.last) return last.last + 1;
    return last.last - last.first + 1 < BUNDLE_COMMITS / 2 ? last.first : last.last + 1;
  }

  /**
   * Moves the log's bytes to their final place, and writes what is only in memory of derived data; that this
   * fails concerns no caller, for the log has it. False as `LogStorage.tidy` says it. Throws STORAGE_FULL,
   * STORAGE_FAILED.
   */
  tidy(): boolean {
    const whole = this.#storage.tidy();
    try {
      this.catalog.flush();
    } catch (error) {
      this.#onError(error);
    }
    return whole;
  }

  /** Lets the writers under way finish, then lets go of the files. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.settled();
    await this.#rewriting;
    try {
      this.tidy();
    } finally {
      try {
        this.catalog.close();
      } finally {
        this.#storage.close();
      }
    }
  }

  async #run(): Promise<void> {
    // Writers that arrive in the same turn of the event loop belong into one group.
    await nextTurn(this.world);
    while (this.#waiting.length > 0) {
      const [first] = this.#waiting;
      if (first && !("tx" in first)) {
        this.#waiting.shift();
        await ("bodies" in first ? this.#take(first) : this.#merge(first));
        continue;
      }
      const group = this.#openGroup();
      const members: { waiting: Waiting; added: Added }[] = [];
      const refused: { waiting: Waiting; error: unknown; after: number }[] = [];
      let bytes = 0;
      let taken = 0;
      while (taken < this.#waiting.length && taken < GROUP_MAX && bytes < GROUP_BYTES) {
        const waiting = this.#waiting[taken] as Waiting | Receiving | Merging;
        if (!("tx" in waiting)) break;
        taken += 1;
        try {
          const added = group.add(waiting.tx);
          bytes += added.bytes;
          members.push({ waiting, added });
        } catch (error) {
          refused.push({ waiting, error, after: group.records.length });
        }
      }
      this.#waiting = this.#waiting.slice(taken);
      try {
        if (group.records.length > 0) await this.#storage.append(group.records);
      } catch (error) {
        for (const { waiting, added } of members) {
          if (added.duplicate && added.seq <= this.current.seq) waiting.resolve(receiptOf(added));
          else waiting.reject(error);
        }
        // What was refused for something that now is not there was not refused for anything.
        for (const { waiting, after, error: own } of refused) waiting.reject(after > 0 ? error : own);
        continue;
      }
      if (group.records.length > 0) {
        this.current = group.head;
        const failure = this.catalog.absorb(group.stage, group.head.seq, group.head.cid);
        if (failure !== undefined) this.#onError(failure);
      }
      for (const { waiting, added } of members) {
        if (waiting.tx.unchanged && !added.duplicate) this.#noteTouched(waiting.tx, added);
        waiting.resolve(receiptOf(added));
      }
      for (const { waiting, error } of refused) waiting.reject(error);
      if (group.records.length > 0) this.#afterAppend();
      await nextTurn(this.world);
    }
    this.#running = undefined;
  }

  /** A group of its own, with room for others while it is checked: nobody else moves the head meanwhile. */
  async #take({ after, bodies, rights, resolve, reject }: Receiving): Promise<void> {
    const group = this.#openGroup();
    try {
      checkIsAt(after, this.current);
      let slice = this.world.monotonic();
      let erased: ReadonlySet<string> | undefined;
      const explains = (doc: string): boolean =>
        rights.mayErase &&
        (rights.erased === "any" || (erased ??= erasedIn(after, bodies, rights.erased)).has(doc));
      for (const body of bodies) {
        const taken = group.take(body, explains);
        if (!rights.mayErase && rulesOver(taken)) throw mayNotErase(taken.commit.seq);
        if (!rights.mayDefine && schemaEventsIn(taken).length > 0) throw mayNotDefine(taken.commit.seq);
        if (this.world.monotonic() - slice < SLICE_MS) continue;
        await nextTurn(this.world);
        slice = this.world.monotonic();
      }
      if (group.records.length > 0) await this.#storage.append(group.records);
    } catch (error) {
      reject(error);
      return;
    }
    this.#absorb(group, () => resolve(group.head));
    await nextTurn(this.world);
  }

  /** The same for a merge of branches, which may be of many documents. */
  async #merge({ merge, resolve, reject }: Merging): Promise<void> {
    const group = this.#openGroup();
    let merged: MergedBranch;
    try {
      const steps = group.mergeBranch(merge);
      let slice = this.world.monotonic();
      let step = steps.next();
      for (; !step.done; step = steps.next()) {
        if (this.world.monotonic() - slice < SLICE_MS) continue;
        await nextTurn(this.world);
        slice = this.world.monotonic();
      }
      merged = step.value;
      if (group.records.length > 0 && !merge.dryRun) await this.#storage.append(group.records);
    } catch (error) {
      reject(error);
      return;
    }
    if (merge.dryRun || group.records.length === 0) resolve(merged);
    else this.#absorb(group, () => resolve(merged));
    await nextTurn(this.world);
  }

  #absorb(group: Group, answer: () => void): void {
    this.current = group.head;
    const failure = this.catalog.absorb(group.stage, group.head.seq, group.head.cid);
    if (failure !== undefined) this.#onError(failure);
    answer();
    if (group.records.length > 0) this.#afterAppend();
  }

  /** What follows a durable append; its failures must not reach writers whose commits are safe. */
  #afterAppend(): void {
    const calls = [...this.#listeners].map((listener) => () => listener(this.current.seq));
    // The catalog keeps what it could not write in memory and tries again with the next batch.
    calls.push(() => isBatch(this.catalog) && this.catalog.flush());
    for (const call of calls) {
      try {
        call();
      } catch (error) {
        this.#onError(error);
      }
    }
  }

  /**
   * A group on top of commit `seq` instead of the head: another line, which is no part of this log. `stored` finds
   * commits of that line, those up to `seq` included.
   */
  groupAt(seq: number, stored: (seq: number) => StoredCommit | undefined): Group {
    const { catalog } = this;
    const now = this.source();
    const branches = catalog.branches.at(seq, (id) => {
      const head = this.lastOn(id, seq);
      return { seq: head, cid: head > 0 ? this.commit(head)?.cid : undefined };
    });
    const stateAt = (row: string, at: number) => {
      const state = stateOn(now, branchOf(row), docOf(row), at);
      // What the branch only found is no row of its own.
      return state?.name === row ? state : undefined;
    };
    const stage = new Stage(new CatalogAt(catalog, seq, branches, stateAt));
    const at = seq > 0 ? this.commit(seq) : undefined;
    return new Group({
      identity: this.identity,
      stage,
      head: at ? { seq, cid: at.cid, time: at.commit.time } : { seq: 0, cid: undefined, time: 0 },
      world: this.world,
      signers: this.#signers(),
      stored,
      below: {
        archive: (row) => upToOf(this.#archive.of(row), seq),
        commitsOn: (id, after, upTo) => this.commitsOf(id, after, Math.min(upTo, seq)),
        commitsOf: (row, upTo) => commitsOfRow(this.records, catalog, row, Math.min(upTo, seq)),
        found: new FoundDocs(),
        last: seq,
      },
      changes: (doc, id) => {
        // Also what this line has set aside since.
        const past = [...pastOf(branches, id, seq)].reverse();
        const changes = past.flatMap((stretch) =>
          [...commitsOfRow(this.records, catalog, rowOf(stretch.id, doc), stretch.upTo)].flatMap((commit) =>
            changesIn(commit, doc),
          ),
        );
        const added = (stage.docs.get(rowOf(id, doc))?.touches ?? []).flatMap((later) => {
          const commit = stored(later);
          return commit ? changesIn(commit, doc) : [];
        });
        return [...changes, ...added];
      },
    });
  }

  #below(): Below {
    return {
      archive: (row) => this.#archive.of(row),
      commitsOn: (id, after, upTo) => this.commitsOf(id, after, upTo),
      commitsOf: (row, upTo) => commitsOfRow(this.records, this.catalog, row, upTo),
      found: this.found,
      last: this.current.seq,
    };
  }

  #openGroup(): Group {
    return new Group({
      identity: this.identity,
      stage: new Stage(this.catalog),
      head: this.current,
      world: this.world,
      signers: this.#signers(),
      stored: (seq) => this.commit(seq),
      below: this.#below(),
      recent: this.#recent,
      changes: (doc, id) => this.changesOn(id, doc, 0, this.current.seq),
    });
  }
}

export type CatalogAnswers = Pick<
  Catalog,
  | "head"
  | "headCid"
  | "doc"
  | "find"
  | "named"
  | "receipt"
  | "touches"
  | "touchesAfter"
  | "list"
  | "touchedSince"
  | "counts"
  | "bundlesOf"
  | "bundles"
  | "bundledUpTo"
  | "branches"
  | "commitsOn"
>;

/** Who makes or ends a branch. */
export type StepTx = Pick<Transaction, "author"> &
  Partial<Pick<Transaction, "clientTxId" | "message" | "expectSeq">>;

/** Whether a transaction is the server's own and leaves everything as it is that is there. */
function onlyAdds({ own, step, branch, writes }: Transaction, isThere: (doc: string) => boolean): boolean {
  return (
    own === true &&
    step === undefined &&
    branch === undefined &&
    writes.every(({ doc, deleted, refused }) => deleted !== true && !refused && !isThere(doc))
  );
}

export interface LogOptions {
  /** Of a db of the server's own: it takes new documents of transactions that are marked `own`, and nothing else. */
  readonly own?: boolean;
  /** Where opened bundles are kept; those of several logs share its bound. */
  readonly opened?: OpenedBundles;
  readonly world?: World;
  /** Who signs commits, see `GroupParts`; asked for each group. */
  readonly signers?: () => readonly Signer[];
  /** Documents whose state stays in memory. */
  readonly cachedDocs?: number;
  /** Told of failures that concern no writer: derived data that could not be written. */
  readonly onError?: (error: unknown) => void;
}

/** Makes the bundle of records, the first of which is that of commit `from`, and says what they write. */
export type PackRecords = (
  uid: Uint8Array,
  from: number,
  bodies: readonly Uint8Array[],
) => Promise<{ readonly body: Uint8Array; readonly touched: readonly Touch[] }>;

interface BundleOptions {
  readonly upTo: number;
  readonly most: number;
  readonly signal?: AbortSignal;
}

interface Bundled {
  readonly bundles: number;
  readonly commits: number;
  readonly docs: ReadonlySet<string>;
}

export interface CompactOptions {
  /** Commits after this one stay as they are; the head when absent. */
  readonly upTo?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, of: number) => void;
}

interface Waiting {
  readonly tx: Transaction;
  readonly resolve: (receipt: Receipt) => void;
  readonly reject: (error: unknown) => void;
}

interface Merging {
  readonly merge: BranchMerge;
  readonly resolve: (merged: MergedBranch) => void;
  readonly reject: (error: unknown) => void;
}

/** What whoever sends records may do with them. */
export interface ReceiveRights {
  /** Erase documents. Who may not must send every change with its bytes. */
  readonly mayErase: boolean;
  /** Change the schema and the stored statements. */
  readonly mayDefine: boolean;
  /**
   * Documents that a later record erases: their changes may come without their bytes before it does. `any` is for who
   * looks at `owed` in the end.
   */
  readonly erased: readonly string[] | "any";
}

interface Receiving {
  readonly after: Place;
  readonly bodies: readonly Received[];
  readonly rights: ReceiveRights;
  readonly resolve: (head: LogHead) => void;
  readonly reject: (error: unknown) => void;
}

function* upToOf(
  bundles: Iterable<readonly StoredCommit[]>,
  seq: number,
): Generator<readonly StoredCommit[]> {
  for (const commits of bundles) yield commits.filter(({ commit }) => commit.seq <= seq);
}

/** The documents that records erase, and those of which the sender says that later ones do. */
function erasedIn(after: Place, bodies: readonly Received[], said: readonly string[]): ReadonlySet<string> {
  const docs = new Set(said);
  bodies.forEach((body, i) => {
    const stored = "cid" in body ? body : openReceived(body, after.seq + 1 + i);
    for (const doc of erasedBy(stored)) docs.add(doc);
  });
  return docs;
}

/** Whether a commit erases something, or says what is to be erased from now on. */
function rulesOver(stored: StoredCommit): boolean {
  return erasedBy(stored).size > 0 || eventsIn(stored).some(({ type }) => type === RETENTION_SET);
}

function mayNotErase(seq: number): SkaldError {
  return new SkaldError("FORBIDDEN", `Commit ${seq} erases documents, which needs db.admin.`, {
    details: { seq },
  });
}

function mayNotDefine(seq: number): SkaldError {
  return new SkaldError("FORBIDDEN", `Commit ${seq} changes the schema, which needs query.admin.`, {
    details: { seq },
  });
}

/** Throws SYNC_DIVERGED with where the log is. */
function checkIsAt(after: Place, { seq, cid }: LogHead): void {
  if (after.seq === seq && (seq === 0 || (after.cid && cid && Buffer.compare(after.cid, cid) === 0))) return;
  throw new SkaldError(
    "SYNC_DIVERGED",
    `The db is at commit ${seq}, and not where these records go on from.`,
    {
      details: { seq, commit: cid ? cidToString(cid) : null },
    },
  );
}

/** Between two turns for others. */
const SLICE_MS = 5;
const GROUP_MAX = 512;
/** Records read at once for a bundle: half a millisecond. */
const GATHERED = 128;
/** Records of one bundle, roughly. */
const BUNDLE_BYTES = 8 * 1024 * 1024;
const GROUP_BYTES = 8 * 1024 * 1024;
