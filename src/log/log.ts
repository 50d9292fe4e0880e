import { SkaldError } from "../errors.ts";
import { CODEC_DAG_CBOR, cidCodec, cidDigest, cidToString } from "../ids/cid.ts";
import { toHex } from "../ids/hash.ts";
import type { CatalogTable, DbIdentity, LogStorage } from "../store/contract.ts";
import { BUNDLE_COMMITS } from "./bundle.ts";
import { Catalog, Stage, prefixOf } from "./catalog.ts";
import { readTrustedHeader } from "./change.ts";
import type { Commit, CommitEntry } from "./commit.ts";
import { advance, headsOf, setAside, type DocState } from "./doc-state.ts";
import {
  Group,
  findHeaders,
  receiptOf,
  type Archive,
  type Added,
  type LogHead,
  type Receipt,
} from "./group.ts";
import { Records } from "./records.ts";
import { refusalOf, tipsOf } from "./refusals.ts";
import { addressesOf, changesIn, checkedBlock, headersIn, type StoredCommit } from "./stored-commit.ts";
import type { Transaction } from "./transaction.ts";

export type { LogHead, Receipt } from "./group.ts";
export type { StoredCommit } from "./stored-commit.ts";

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
export class Log {
  readonly identity: DbIdentity;
  readonly #storage: LogStorage;
  readonly #records: Records;
  readonly #catalog: Catalog;
  readonly #now: () => number;
  readonly #onError: (error: unknown) => void;
  readonly #listeners = new Set<(seq: number) => void>();
  /** Heads worked out by `#headsLeft`. */
  readonly #left = new Map<string, readonly string[]>();
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;
  #head: LogHead = { seq: 0, cid: undefined, time: 0 };
  #closed = false;
  /** Addresses that `locate` found in bundles. */
  readonly #located = new Map<string, number>();
  /** Milliseconds spent on expanding bundles for writers, less a tenth of the time since. */
  #archiveDebt = 0;
  #archiveAt = 0;

  constructor(storage: LogStorage, table: CatalogTable, options: LogOptions = {}) {
    this.identity = storage.identity;
    this.#storage = storage;
    this.#records = new Records(storage);
    this.#catalog = new Catalog(
      table,
      options.cachedDocs === undefined ? {} : { cachedDocs: options.cachedDocs },
    );
    this.#now = options.now ?? Date.now;
    this.#onError = options.onError ?? ((error) => process.emitWarning(error as Error));
    this.#recover();
  }

  head(): LogHead {
    return this.#head;
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
    if (this.#closed) return Promise.reject(new SkaldError("UNAVAILABLE", "The db is closing."));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ tx, resolve, reject });
      this.#running ??= this.#run();
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
  ): Promise<Receipt> {
    const message = `set aside ${refused.length} change${refused.length === 1 ? "" : "s"}: ${reason}`;
    const write = { doc, changes: [], base, refused: { hashes: refused, heads } };
    return this.write({ author: "skald", clientTxId: "", message, writes: [write] });
  }

  /** What `write` would answer, with nothing kept. Throws what would refuse it. */
  dryRun(tx: Transaction): Receipt {
    const group = this.#openGroup();
    return receiptOf(group.add(tx));
  }

  state(doc: string): DocState | undefined {
    return this.#catalog.doc(doc);
  }

  /**
   * The heads a document had after commit `seq`, and the last commit up to there that touched it. Changes
   * that were set aside, then or later, are left out: a point before that can be read all the same.
   */
  stateAt(doc: string, seq: number): DocPoint | undefined {
    const state = this.#catalog.doc(doc);
    if (!state) return undefined;
    if (state.last <= seq) return { seq: state.last, heads: headsOf(state), deleted: state.deleted };
    const [touched] = this.history(doc, seq, 1);
    if (touched === undefined) return undefined;
    const entry = this.entryOf(doc, touched);
    const heads = entry.heads.some((head) => state.refused.has(head))
      ? this.#headsLeft(doc, touched, state.refusedAt)
      : entry.heads;
    return { seq: touched, heads, deleted: entry.deleted === true };
  }

  /** The heads after commit `seq` without what was set aside since: the only ones no commit names. */
  #headsLeft(doc: string, seq: number, refusedAt: number): readonly string[] {
    const key = `${seq} ${refusedAt} ${doc}`;
    let heads = this.#left.get(key);
    if (!heads) {
      heads = tipsOf(this.changes(doc, 0, seq).map(readTrustedHeader));
      if (this.#left.size >= LEFT_MAX) this.#left.clear();
      this.#left.set(key, heads);
    }
    return heads;
  }

  /** What commit `seq` did to `doc`. */
  entryOf(doc: string, seq: number): CommitEntry {
    const entry = this.commit(seq)?.commit.entries.find((candidate) => candidate.doc === doc);
    if (!entry)
      throw new SkaldError("DB_DAMAGED", `Commit ${seq} does not hold ${doc}, as the catalog says.`);
    return entry;
  }

  commit(seq: number): StoredCommit | undefined {
    return this.#records.commit(seq);
  }

  /** Commits from `from` on, oldest first: at least one when there is any, at most `limit`. */
  commits(from: number, limit: number): StoredCommit[] {
    return this.#records.page(from, limit);
  }

  /**
   * The seq of the commit with this address, or undefined. Commits in bundles are found only after
   * `locate` has looked for them.
   */
  findCommit(cid: Uint8Array): number | undefined {
    const located = this.#located.get(cidToString(cid));
    if (located !== undefined) return located;
    const prefix = prefixOf(toHex(cidDigest(cid)));
    return this.#catalog.find(prefix).find((seq) => holds(this.commit(seq), cid));
  }

  /** The bytes behind an address: a commit's, a change's or an event's. Bundles as with `findCommit`. Throws DB_DAMAGED. */
  block(cid: Uint8Array): Uint8Array | undefined {
    const seq =
      this.#located.get(cidToString(cid)) ??
      this.#catalog
        .find(prefixOf(toHex(cidDigest(cid))))
        .find((candidate) => holds(this.commit(candidate), cid));
    const stored = seq === undefined ? undefined : this.commit(seq);
    if (!stored) return undefined;
    return cidCodec(cid) === CODEC_DAG_CBOR
      ? stored.bytes
      : checkedBlock(stored, placeOf(stored.commit, cid));
  }

  /**
   * Looks for an address in the bundles, newest first, when the catalog does not have it: about a tenth
   * of a second each, with room for others between them.
   */
  async locate(cid: Uint8Array): Promise<number | undefined> {
    const text = cidToString(cid);
    const found = this.#located.get(text) ?? this.findCommit(cid);
    if (found !== undefined || this.block(cid)) return found;
    for (const { last } of this.#catalog.bundles().reverse()) {
      const stored = this.#records.bundle(last).find((candidate) => holds(candidate, cid));
      if (stored) {
        if (this.#located.size >= LOCATED_MAX) this.#located.clear();
        this.#located.set(text, stored.commit.seq);
        return stored.commit.seq;
      }
      await nextTurn();
    }
    return undefined;
  }

  /** The seq of the commit that holds a change of `doc`, by the change's Automerge hash. */
  seqOfChange(doc: string, hash: string): number | undefined {
    const has = (stored: StoredCommit | undefined): boolean =>
      stored !== undefined && headersIn(stored, doc).some((header) => header.hash === hash);
    for (const seq of this.#catalog.find(prefixOf(hash))) if (has(this.commit(seq))) return seq;
    for (const commits of this.#archive(doc)) {
      const found = commits.find(has);
      if (found) return found.commit.seq;
    }
    return undefined;
  }

  /** The last commit at or before `time` (milliseconds), 0 for none. Times never fall, so halving finds it. */
  seqAt(time: number): number {
    let low = 0;
    let high = this.#head.seq;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      const stored = this.commit(middle);
      if (stored && stored.commit.time <= time) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Seqs of commits that touched `doc`, at or below `before`, newest first. */
  history(doc: string, before: number, limit: number): number[] {
    const seqs = this.#catalog.touches(doc, before, limit);
    for (const last of this.#catalog.bundlesOf(doc)) {
      if (seqs.length >= limit) break;
      const commits = this.#records.bundle(last);
      for (let i = commits.length - 1; i >= 0 && seqs.length < limit; i -= 1) {
        const { commit } = commits[i] as StoredCommit;
        if (commit.seq <= before && touches(commit, doc)) seqs.push(commit.seq);
      }
    }
    return seqs;
  }

  /** The changes of `doc` in commits (after, upTo], in the order they were applied, without those set aside. */
  changes(doc: string, after: number, upTo: number): Uint8Array[] {
    const changes: Uint8Array[] = [];
    for (const last of this.#catalog.bundlesOf(doc).reverse()) {
      if (last <= after) continue;
      for (const stored of this.#records.bundle(last)) {
        const { seq } = stored.commit;
        if (seq > after && seq <= upTo && touches(stored.commit, doc))
          changes.push(...changesIn(stored, doc));
      }
    }
    for (const seq of this.#catalog.touchesAfter(doc, after, upTo)) {
      const stored = this.commit(seq);
      if (stored) changes.push(...changesIn(stored, doc));
    }
    const refused = this.#catalog.doc(doc)?.refused;
    if (refused && refused.size > 0)
      return changes.filter((bytes) => !refused.has(readTrustedHeader(bytes).hash));
    return changes;
  }

  /** Documents in name order after `after`; `prefix` is of `collection/key`. */
  list(prefix: string, after: string, limit: number, withDeleted = false): DocState[] {
    return this.#catalog.list(prefix, after, limit, withDeleted);
  }

  /** Names of documents touched by commits from `from` on; stops at `limit`. */
  touchedSince(from: number, limit: number): string[] {
    return this.#catalog.touchedSince(from, limit);
  }

  counts(): { documents: number; deleted: number } {
    return this.#catalog.counts();
  }

  bytes(): number {
    return this.#storage.bytes();
  }

  /** Resolves when nothing is being written. */
  async settled(): Promise<void> {
    while (this.#running) await this.#running;
  }

  /**
   * Puts commits up to `upTo` into bundles, oldest first, with `pack` (packBundle, on a thread of the
   * caller's). Each bundle takes the place of its commits in one durable step, so a crash leaves some
   * commits bundled and the others as they were. Stops early when `signal` says so.
   */
  async compact(
    pack: PackBundle,
    options: CompactOptions = {},
  ): Promise<{ bundles: number; commits: number }> {
    const upTo = Math.min(options.upTo ?? this.#head.seq, this.#head.seq);
    const start = this.#nextBundleStart();
    let from = start;
    let bundles = 0;
    while (from <= upTo && !options.signal?.aborted) {
      const commits = this.#records.range(from, Math.min(upTo, from + BUNDLE_COMMITS - 1));
      const last = commits.at(-1)?.commit.seq;
      if (last === undefined) break;
      if (last > from) {
        const body = await pack(this.identity.uid, commits);
        await this.#storage.replace(from, last, body);
        this.#records.forget();
        this.#catalog.fold([{ first: from, last, docs: documentsOf(commits) }]);
        bundles += 1;
      }
      from = last + 1;
      options.onProgress?.(from - start, upTo - start + 1);
    }
    this.tidy();
    return { bundles, commits: from - start };
  }

  /** After the last full bundle: one that has room is made anew with what came since. */
  #nextBundleStart(): number {
    const last = this.#storage.ranges().at(-1);
    if (!last) return 1;
    return last.last - last.first + 1 < BUNDLE_COMMITS / 2 ? last.first : last.last + 1;
  }

  /** Writes what is only in memory of derived data, and moves the log's bytes to their final place. */
  tidy(): void {
    this.#catalog.flush();
    this.#storage.tidy();
  }

  /** Lets the writers under way finish, then lets go of the files. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.settled();
    try {
      this.tidy();
    } finally {
      this.#catalog.close();
      this.#storage.close();
    }
  }

  async #run(): Promise<void> {
    // Writers that arrive in the same turn of the event loop belong into one group.
    await nextTurn();
    while (this.#waiting.length > 0) {
      const group = this.#openGroup();
      const members: { waiting: Waiting; added: Added }[] = [];
      const refused: { waiting: Waiting; error: unknown; after: number }[] = [];
      let bytes = 0;
      let taken = 0;
      while (taken < this.#waiting.length && taken < GROUP_MAX && bytes < GROUP_BYTES) {
        const waiting = this.#waiting[taken++] as Waiting;
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
          if (added.duplicate && added.seq <= this.#head.seq) waiting.resolve(receiptOf(added));
          else waiting.reject(error);
        }
        // What was refused for something that now is not there was not refused for anything.
        for (const { waiting, after, error: own } of refused) waiting.reject(after > 0 ? error : own);
        continue;
      }
      if (group.records.length > 0) {
        this.#head = group.head;
        this.#catalog.absorb(group.stage, group.head.seq, group.head.cid);
      }
      for (const { waiting, added } of members) waiting.resolve(receiptOf(added));
      for (const { waiting, error } of refused) waiting.reject(error);
      if (group.records.length > 0) this.#afterAppend();
      await nextTurn();
    }
    this.#running = undefined;
  }

  /** What follows a durable append; its failures must not reach writers whose commits are safe. */
  #afterAppend(): void {
    const calls = [...this.#listeners].map((listener) => () => listener(this.#head.seq));
    // The catalog keeps what it could not write in memory and tries again with the next batch.
    calls.push(() => this.#catalog.pending() >= CATALOG_BATCH && this.#catalog.flush());
    for (const call of calls) {
      try {
        call();
      } catch (error) {
        this.#onError(error);
      }
    }
  }

  #openGroup(): Group {
    return new Group(
      this.identity,
      this.#catalog,
      this.#head,
      this.#now,
      (seq) => this.commit(seq),
      (doc) => this.#archiveForWriters(doc),
    );
  }

  /** The bundles with commits of a document, newest first. */
  *#archive(doc: string): Generator<readonly StoredCommit[]> {
    for (const last of this.#catalog.bundlesOf(doc)) yield this.#records.bundle(last);
  }

  /**
   * The same for writes that name a change so old, which is rare unless somebody makes it up: expanding
   * bundles takes at most a tenth of the writer's time, and who comes when that is used up is told to wait.
   */
  *#archiveForWriters(doc: string): Generator<readonly StoredCommit[]> {
    for (const last of this.#catalog.bundlesOf(doc)) {
      const started = performance.now();
      this.#archiveDebt = Math.max(0, this.#archiveDebt - (started - this.#archiveAt) / 10);
      this.#archiveAt = started;
      if (this.#archiveDebt > ARCHIVE_DEBT_MS) {
        throw new SkaldError(
          "WORK_BUSY",
          "The write names an old change, and too many such are being looked up.",
        );
      }
      const commits = this.#records.bundle(last);
      this.#archiveDebt += performance.now() - started;
      yield commits;
    }
  }

  /** Reads the log's tail into the catalog: what was appended after its last batch. */
  #recover(): void {
    const last = this.#storage.last();
    const at = this.#catalog.head();
    // A catalog of another life of the log, such as one that a restored backup found here.
    const known = at > 0 && at <= last ? this.commit(at) : undefined;
    if (at > 0 && !(known && Buffer.compare(known.cid, this.#catalog.headCid() ?? new Uint8Array(0)) === 0)) {
      throw new SkaldError("DERIVED_DAMAGED", `The catalog is at commit ${at} of another log.`, {
        details: { catalog: at, log: last },
      });
    }
    while (this.#catalog.head() < last) {
      const stage = new Stage(this.#catalog);
      const page = this.commits(this.#catalog.head() + 1, CATALOG_BATCH);
      for (const stored of page)
        stageStored(
          stored,
          stage,
          (seq) => this.commit(seq),
          (doc) => this.#archive(doc),
        );
      this.#catalog.absorb(stage, page.at(-1)?.commit.seq ?? last, page.at(-1)?.cid);
      if (this.#catalog.pending() >= CATALOG_BATCH) this.#catalog.flush();
    }
    this.#noteBundles();
    const head = last > 0 ? this.commit(last) : undefined;
    if (head) this.#head = { seq: last, cid: head.cid, time: head.commit.time };
  }

  /** Tells the catalog of bundles that it does not know: made before a crash, or before it was dropped. */
  #noteBundles(): void {
    const known = this.#catalog.bundledUpTo();
    const missing = this.#storage.ranges().filter(({ last }) => last > known);
    if (missing.length === 0) return;
    this.#catalog.fold(
      missing.map((range) => ({ ...range, docs: documentsOf(this.#records.bundle(range.last)) })),
    );
  }
}

export interface LogOptions {
  readonly now?: () => number;
  /** Documents whose state stays in memory. */
  readonly cachedDocs?: number;
  /** Told of failures that concern no writer: derived data that could not be written. */
  readonly onError?: (error: unknown) => void;
}

/** Makes the bundle of consecutive commits. */
export type PackBundle = (
  uid: Uint8Array,
  commits: readonly StoredCommit[],
) => Promise<Uint8Array> | Uint8Array;

export interface CompactOptions {
  /** Commits after this one stay as they are; the head when absent. */
  readonly upTo?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, of: number) => void;
}

export interface DocPoint {
  readonly seq: number;
  readonly heads: readonly string[];
  readonly deleted: boolean;
}

interface Waiting {
  readonly tx: Transaction;
  readonly resolve: (receipt: Receipt) => void;
  readonly reject: (error: unknown) => void;
}

const GROUP_MAX = 512;
const GROUP_BYTES = 8 * 1024 * 1024;
/** Commits between two batches of the catalog: large enough to share pages, small enough to stay below 20 ms. */
const CATALOG_BATCH = 1024;
/** A whole history of a million commits can be searched once before anybody has to wait. */
const ARCHIVE_DEBT_MS = 15_000;
const LOCATED_MAX = 1000;
const LEFT_MAX = 1000;

/** Puts a commit of the log on a stage: the same steps a live write takes after its checks. */
function stageStored(
  stored: StoredCommit,
  stage: Stage,
  read: (seq: number) => StoredCommit | undefined,
  archive: Archive,
): void {
  const { commit, cid, clientTxId } = stored;
  for (const entry of commit.entries) {
    const state = stage.touch(entry.doc, commit.seq);
    for (const header of headersIn(stored, entry.doc)) {
      advance(state, header, commit.author);
      stage.addresses.add(prefixOf(header.hash), commit.seq);
    }
    for (const address of entry.changes) stage.addresses.add(prefixOf(toHex(cidDigest(address))), commit.seq);
    state.deleted = entry.deleted === true;
    if (entry.refused) {
      const headers = findHeaders(entry.doc, [...entry.refused, ...entry.heads], stage, read, archive);
      setAside(state, refusalOf(entry.doc, entry.refused, entry.heads, headers), commit.seq);
    }
  }
  stage.addresses.add(prefixOf(toHex(cidDigest(cid))), commit.seq);
  if (clientTxId !== "") stage.addReceipt(commit.author, clientTxId, commit.seq);
}

/** Whether a commit has this address, or one of its blocks. */
function holds(stored: StoredCommit | undefined, cid: Uint8Array): boolean {
  if (!stored) return false;
  return cidCodec(cid) === CODEC_DAG_CBOR
    ? Buffer.compare(stored.cid, cid) === 0
    : placeOf(stored.commit, cid) >= 0;
}

function placeOf(commit: Commit, cid: Uint8Array): number {
  return addressesOf(commit).findIndex((address) => Buffer.compare(address, cid) === 0);
}

function touches(commit: Commit, doc: string): boolean {
  return commit.entries.some((entry) => entry.doc === doc);
}

function documentsOf(commits: readonly StoredCommit[]): string[] {
  return [...new Set(commits.flatMap(({ commit }) => commit.entries.map((entry) => entry.doc)))];
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
