import { SkaldError } from "../errors.ts";
import {
  CODEC_DAG_CBOR,
  CODEC_RAW,
  cidCodec,
  cidDigest,
  cidFromDigest,
  cidOf,
  cidToString,
} from "../ids/cid.ts";
import { blake3, toHex } from "../ids/hash.ts";
import type { CatalogTable, DbIdentity, LogStorage, StoredRecord } from "../store/contract.ts";
import { Catalog, Stage, prefixOf } from "./catalog.ts";
import { readTrustedHeader, type ChangeHeader } from "./change.ts";
import { decodeCommit, encodeCommit, type Commit, type CommitEntry } from "./commit.ts";
import { advance, headsOf, setAside, type DocState } from "./doc-state.ts";
import { decodeRecord, writeRecord } from "./record.ts";
import { refusalOf, tipsOf } from "./refusals.ts";
import { planTransaction, stageWrites, type FoundChange, type Transaction } from "./transaction.ts";

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

  constructor(storage: LogStorage, table: CatalogTable, options: LogOptions = {}) {
    this.identity = storage.identity;
    this.#storage = storage;
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
    const [touched] = this.#catalog.touches(doc, seq, 1);
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
    const body = this.#storage.read(seq);
    return body && openRecord(body, seq);
  }

  /** Commits from `from` on, at most `limit`, oldest first. */
  commits(from: number, limit: number): StoredCommit[] {
    return this.#storage.page(from, limit).map(({ seq, body }) => openRecord(body, seq));
  }

  /** The seq of the commit with this address, or undefined. */
  findCommit(cid: Uint8Array): number | undefined {
    const digest = cidDigest(cid);
    return this.#catalog.find(prefixOf(toHex(digest))).find((seq) => {
      const stored = this.commit(seq);
      return stored && Buffer.compare(stored.cid, cid) === 0;
    });
  }

  /** The bytes behind an address: a commit's, a change's or an event's. */
  block(cid: Uint8Array): Uint8Array | undefined {
    for (const seq of this.#catalog.find(prefixOf(toHex(cidDigest(cid))))) {
      const stored = this.commit(seq);
      if (!stored) continue;
      if (cidCodec(cid) === CODEC_DAG_CBOR) {
        if (Buffer.compare(stored.cid, cid) === 0) return stored.bytes;
        continue;
      }
      const at = addressesOf(stored.commit).findIndex((address) => Buffer.compare(address, cid) === 0);
      if (at >= 0) return checkedBlock(stored, at);
    }
    return undefined;
  }

  /** The seq of the commit that holds a change of `doc`, by the change's Automerge hash. */
  seqOfChange(doc: string, hash: string): number | undefined {
    return this.#catalog.find(prefixOf(hash)).find((seq) => {
      const stored = this.commit(seq);
      return stored && headersIn(stored, doc).some((header) => header.hash === hash);
    });
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
    return this.#catalog.touches(doc, before, limit);
  }

  /** The changes of `doc` in commits (after, upTo], in the order they were applied, without those set aside. */
  changes(doc: string, after: number, upTo: number): Uint8Array[] {
    const changes: Uint8Array[] = [];
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
        this.#catalog.absorb(group.stage, group.head.seq);
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
    return new Group(this.identity, this.#catalog, this.#head, this.#now, (seq) => this.commit(seq));
  }

  /** Reads the log's tail into the catalog: what was appended after its last batch. */
  #recover(): void {
    const last = this.#storage.last();
    const at = this.#catalog.head();
    // A catalog of another life of the log, such as one that a restored backup found here.
    const known = at > 0 && at <= last ? this.commit(at) : undefined;
    if (at > 0 && !(known && this.findCommit(known.cid) === at)) {
      throw new SkaldError("DERIVED_DAMAGED", `The catalog is at commit ${at} of another log.`, {
        details: { catalog: at, log: last },
      });
    }
    while (this.#catalog.head() < last) {
      const stage = new Stage(this.#catalog);
      const page = this.commits(this.#catalog.head() + 1, CATALOG_BATCH);
      for (const stored of page) stageStored(stored, stage, (seq) => this.commit(seq));
      this.#catalog.absorb(stage, page.at(-1)?.commit.seq ?? last);
      if (this.#catalog.pending() >= CATALOG_BATCH) this.#catalog.flush();
    }
    const head = last > 0 ? this.commit(last) : undefined;
    if (head) this.#head = { seq: last, cid: head.cid, time: head.commit.time };
  }
}

export interface LogOptions {
  readonly now?: () => number;
  /** Documents whose state stays in memory. */
  readonly cachedDocs?: number;
  /** Told of failures that concern no writer: derived data that could not be written. */
  readonly onError?: (error: unknown) => void;
}

export interface LogHead {
  readonly seq: number;
  /** Undefined before the first commit. */
  readonly cid: Uint8Array | undefined;
  readonly time: number;
}

export interface DocPoint {
  readonly seq: number;
  readonly heads: readonly string[];
  readonly deleted: boolean;
}

export interface StoredCommit {
  readonly cid: Uint8Array;
  readonly bytes: Uint8Array;
  readonly commit: Commit;
  /** In the order of `addressesOf(commit)`. */
  readonly blocks: readonly Uint8Array[];
  readonly clientTxId: string;
}

/** What a write is answered with. */
export interface Receipt {
  /** Address of the commit: 36 bytes, or none in a db without commits. */
  readonly cid: Uint8Array;
  /** The same in base32. */
  readonly commit: string;
  readonly seq: number;
  /** Milliseconds since 1970. */
  readonly time: number;
  /** The heads of each document written, after the commit. */
  readonly heads: Readonly<Record<string, readonly string[]>>;
  /** True when all of it was in the log before: `commit` is then the one that has it. */
  readonly duplicate: boolean;
}

interface Waiting {
  readonly tx: Transaction;
  readonly resolve: (receipt: Receipt) => void;
  readonly reject: (error: unknown) => void;
}

interface Added {
  readonly cid: Uint8Array;
  readonly seq: number;
  readonly time: number;
  readonly entries: readonly { readonly doc: string; readonly heads: readonly string[] }[];
  readonly duplicate: boolean;
  readonly bytes: number;
}

const GROUP_MAX = 512;
const GROUP_BYTES = 8 * 1024 * 1024;
/** Commits between two batches of the catalog: large enough to share pages, small enough to stay below 20 ms. */
const CATALOG_BATCH = 1024;
const LEFT_MAX = 1000;

/** Transactions that will share one append, each checked on top of the ones before. */
class Group {
  readonly records: StoredRecord[] = [];
  readonly stage: Stage;
  head: LogHead;
  readonly #identity: DbIdentity;
  readonly #now: () => number;
  readonly #stored: (seq: number) => StoredCommit | undefined;
  readonly #own = new Map<number, StoredCommit>();

  constructor(
    identity: DbIdentity,
    catalog: Catalog,
    head: LogHead,
    now: () => number,
    stored: (seq: number) => StoredCommit | undefined,
  ) {
    this.#identity = identity;
    this.stage = new Stage(catalog);
    this.head = head;
    this.#now = now;
    this.#stored = stored;
  }

  add(tx: Transaction): Added {
    if (tx.clientTxId !== "") {
      const seq = this.stage.receipt(tx.author, tx.clientTxId);
      if (seq !== undefined) return this.#repeat(tx, seq);
    }
    const planned = planTransaction(tx, this.stage, {
      uid: this.#identity.uid,
      seq: this.head.seq,
      findChange: (doc, hash, seqs) => this.#findChange(doc, hash, seqs),
      findByActor: (doc, actor, seq) => this.#findByActor(doc, actor, seq),
    });
    if (planned.length === 0) return this.#unchanged(tx);

    const seq = this.head.seq + 1;
    const commit: Commit = {
      version: 1,
      db: this.#identity.uid,
      branch: "main",
      seq,
      parents: this.head.cid ? [this.head.cid] : [],
      time: Math.max(this.#now(), this.head.time),
      author: tx.author,
      entries: stageWrites(planned, tx.author, seq, this.stage),
      events: [],
      ...(tx.message === undefined ? {} : { message: tx.message }),
    };
    const bytes = encodeCommit(commit);
    const digest = blake3(bytes);
    const cid = cidFromDigest(CODEC_DAG_CBOR, digest);
    const { body, blocks } = writeRecord({
      digest,
      commit: bytes,
      blocks: planned.flatMap((write) => write.fresh.map((change) => change.bytes)),
      clientTxId: tx.clientTxId,
    });
    this.stage.addresses.add(prefixOf(toHex(digest)), seq);
    if (tx.clientTxId !== "") this.stage.addReceipt(tx.author, tx.clientTxId, seq);
    this.records.push({ seq, body });
    this.#own.set(seq, { cid, bytes, commit, blocks, clientTxId: tx.clientTxId });
    this.head = { seq, cid, time: commit.time };
    return { cid, seq, time: commit.time, entries: commit.entries, duplicate: false, bytes: body.length };
  }

  #commit(seq: number): StoredCommit {
    const stored = this.#own.get(seq) ?? this.#stored(seq);
    if (!stored) throw new SkaldError("DB_DAMAGED", `Commit ${seq} is missing.`, { details: { seq } });
    return stored;
  }

  #repeat(tx: Transaction, seq: number): Added {
    const { commit, cid } = this.#commit(seq);
    const docs = new Set(tx.writes.map((write) => write.doc));
    if (!commit.entries.every((entry) => docs.has(entry.doc))) {
      throw new SkaldError(
        "TX_ID_REUSED",
        `The client_tx_id ${tx.clientTxId} was used for other documents.`,
        {
          details: { seq, commit: cidToString(cid) },
        },
      );
    }
    return { cid, seq, time: commit.time, entries: commit.entries, duplicate: true, bytes: 0 };
  }

  /** All of it is here already: the answer names the newest commit of the documents written. */
  #unchanged(tx: Transaction): Added {
    const states = tx.writes.map((write) => ({ doc: write.doc, state: this.stage.doc(write.doc) }));
    const seq = Math.max(0, ...states.map(({ state }) => state?.last ?? 0));
    const entries = states.map(({ doc, state }) => ({ doc, heads: state ? headsOf(state) : [] }));
    if (seq === 0) {
      const { seq: at, cid, time } = this.head;
      return { cid: cid ?? new Uint8Array(0), seq: at, time, entries, duplicate: true, bytes: 0 };
    }
    const { cid, commit } = this.#commit(seq);
    return { cid, seq, time: commit.time, entries, duplicate: true, bytes: 0 };
  }

  #findChange(doc: string, hash: string, seqs: readonly number[]): FoundChange | undefined {
    for (const seq of seqs) {
      const stored = this.#commit(seq);
      const header = headersIn(stored, doc).find((candidate) => candidate.hash === hash);
      if (!header) continue;
      const { heads } = stored.commit.entries.find((entry) => entry.doc === doc) as CommitEntry;
      return { header, seq, alone: heads.length === 1 && heads[0] === hash };
    }
    return undefined;
  }

  #findByActor(doc: string, actor: string, actorSeq: number): ChangeHeader | undefined {
    for (const stored of this.#own.values()) {
      const found = headersIn(stored, doc).find(
        (header) => header.actor === actor && header.seq === actorSeq,
      );
      if (found) return found;
    }
    const last = this.stage.doc(doc)?.last ?? 0;
    // Only ever asked to explain a refusal, so it looks at a bounded stretch of history.
    for (let seq = last; seq > 0 && seq > last - 1000; seq -= 1) {
      const found = headersIn(this.#commit(seq), doc).find(
        (header) => header.actor === actor && header.seq === actorSeq,
      );
      if (found) return found;
    }
    return undefined;
  }
}

function receiptOf({ cid, seq, time, entries, duplicate }: Added): Receipt {
  const heads: Record<string, readonly string[]> = {};
  for (const entry of entries) heads[entry.doc] = entry.heads;
  return {
    cid,
    // Base32 costs 2 µs, and who speaks binary never asks.
    get commit() {
      return cid.length > 0 ? cidToString(cid) : "";
    },
    seq,
    time,
    heads,
    duplicate,
  };
}

function openRecord(body: Uint8Array, seq: number): StoredCommit {
  const record = decodeRecord(body, seq);
  return {
    cid: cidFromDigest(CODEC_DAG_CBOR, record.digest),
    bytes: record.commit,
    commit: decodeCommit(record.commit),
    blocks: record.blocks,
    clientTxId: record.clientTxId,
  };
}

/** Addresses of a commit's blocks, in the order the record holds them. */
export function addressesOf(commit: Commit): Uint8Array[] {
  return [...commit.entries.flatMap((entry) => entry.changes), ...commit.events];
}

function checkedBlock(stored: StoredCommit, at: number): Uint8Array {
  const block = stored.blocks[at];
  const address = addressesOf(stored.commit)[at];
  if (!block || !address || Buffer.compare(cidOf(CODEC_RAW, block), address) !== 0) {
    throw new SkaldError("DB_DAMAGED", `A block of commit ${stored.commit.seq} does not match its address.`, {
      details: { seq: stored.commit.seq, block: address && cidToString(address) },
    });
  }
  return block;
}

/** The bytes of the changes a commit made to `doc`. */
function changesIn(stored: StoredCommit, doc: string): Uint8Array[] {
  let at = 0;
  for (const entry of stored.commit.entries) {
    if (entry.doc === doc) return entry.changes.map((_, i) => checkedBlock(stored, at + i));
    at += entry.changes.length;
  }
  return [];
}

function headersIn(stored: StoredCommit, doc: string): ChangeHeader[] {
  return changesIn(stored, doc).map(readTrustedHeader);
}

/** Puts a commit of the log on a stage: the same steps a live write takes after its checks. */
function stageStored(
  stored: StoredCommit,
  stage: Stage,
  read: (seq: number) => StoredCommit | undefined,
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
      const find = (hash: string): ChangeHeader | undefined => {
        for (const seq of stage.find(prefixOf(hash))) {
          const holder = read(seq);
          const header = holder && headersIn(holder, entry.doc).find((candidate) => candidate.hash === hash);
          if (header) return header;
        }
        return undefined;
      };
      setAside(state, refusalOf(entry.doc, entry.refused, entry.heads, find), commit.seq);
    }
  }
  stage.addresses.add(prefixOf(toHex(cidDigest(cid))), commit.seq);
  if (clientTxId !== "") stage.addReceipt(commit.author, clientTxId, commit.seq);
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
