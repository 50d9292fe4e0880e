import { SkaldError } from "../errors.ts";

/**
 * What the log needs of a storage engine, and nothing more. Nothing above this file may know which
 * engine is behind it; test/store/acceptance.ts holds every engine to it.
 *
 * - A storage holds the records of one db: opaque bytes under seq 1, 2, 3 … without gaps.
 * - `append` is all or nothing, in order, and durable when its promise resolves: a power cut after
 *   that loses nothing. Appends of one storage never overlap; the caller awaits each.
 * - What was appended reads back as it was, until `replace` puts other bytes of the same meaning
 *   (a bundle, an erased record) in the place of whole records. Reads are local and synchronous: an
 *   engine over a network keeps its records here too.
 * - A failed append leaves nothing behind, except after STORAGE_FAILED: then its outcome is unknown,
 *   every later call is refused, and only opening anew tells.
 */
export interface LogStorage {
  readonly identity: DbIdentity;

  /** The last seq, 0 for none. */
  last(): number;

  /** Throws STORAGE_FULL (nothing kept, may be tried again) or STORAGE_FAILED (stop). */
  append(records: readonly StoredRecord[]): Promise<void>;

  /** The bytes under `seq`, or undefined when there are none. */
  read(seq: number): Uint8Array | undefined;

  /** At most `limit` records from `from` on, in order. */
  page(from: number, limit: number): StoredRecord[];

  /**
   * Records from `from` on as one run of bytes, for who reads many: fewer when `maxBytes` are reached.
   * Undefined when that is not how these are best read; then `page` gives them. An engine may do without.
   */
  packed?(from: number, limit: number, maxBytes: number): PackedRecords | undefined;

  /**
   * Puts `body` in the place of records `from` to `to`: it reads back as one record under `to`, and
   * `read` of any seq in the range gives it. Atomic and durable like `append`.
   */
  replace(from: number, to: number, body: Uint8Array): Promise<void>;

  /** The ranges that `replace` has put one body in the place of, oldest first. */
  ranges(): SeqRange[];

  /** The lives of the db after the first one, oldest first. */
  lives(): readonly Life[];

  /** What was staged and not adopted yet: the line of another server, which is no part of the log. */
  staged(): SeqRange | undefined;

  /** At most `limit` staged records from `from` on, in order. */
  stagedPage(from: number, limit: number): StoredRecord[];

  /**
   * Adds records to the staged line, all or nothing and durable like `append`; the first ones may begin at
   * any seq up to the one after the last, further ones follow without a gap.
   */
  stage(records: readonly StoredRecord[]): Promise<void>;

  /** Drops what is staged. */
  unstage(): Promise<void>;

  /**
   * Puts another line in the place of every record from `from` on: `before`, then what is staged, then
   * `behind`, without a gap; and begins a life. All of it in one atomic and durable step.
   */
  adopt(line: AdoptedLine): Promise<void>;

  /**
   * Moves what is written into its final place and gives freed space back: then nothing is left anywhere of what
   * `replace` took away. False when somebody who reads keeps some of it from being moved. Throws STORAGE_FAILED.
   */
  tidy(): boolean;

  /** Bytes held on disk. */
  bytes(): number;

  /** Problems of the engine's own structure, in words; empty when sound. May take long. */
  inspect(): string[];

  close(): void;
}

/** The error for a log that does not have commit `known` as `who` knows it: acknowledged commits are missing. */
export function commitsMissing(last: number, known: number, who: string): SkaldError {
  const message =
    last < known
      ? `The log ends at commit ${last}, and ${who} knows of commit ${known}: what was acknowledged is missing.`
      : `The log is not the one that ${who} knows: its commit ${known} is another.`;
  return new SkaldError("DB_DAMAGED", message, {
    details: { log_seq: last, known_seq: known },
    hint: "Put the newest log.sqlite (and its -wal) back. If this older one is meant, `skald rebuild` takes it as it is.",
  });
}

export interface SeqRange {
  readonly first: number;
  readonly last: number;
}

/** The bodies of records of consecutive seqs, one after the other: the first ends at `ends[0]`. */
export interface PackedRecords {
  readonly bytes: Uint8Array;
  readonly ends: readonly number[];
}

/** A life of a db: from the adoption of another line that began it. The first one has epoch 1 and is not listed. */
export interface Life {
  readonly epoch: number;
  /** The last commit that it shares with the life before. */
  readonly after: number;
}

export interface AdoptedLine {
  readonly from: number;
  readonly before: readonly StoredRecord[];
  readonly behind: readonly StoredRecord[];
  readonly life: Life;
}

export interface StoredRecord {
  readonly seq: number;
  readonly body: Uint8Array;
  /** Given to `append`: the first seq that the body stands for, when it is one in the place of several. */
  readonly first?: number;
}

export interface DbIdentity {
  readonly dbId: string;
  /** 16 random bytes, fixed for the db's life. */
  readonly uid: Uint8Array;
  /** Actor of the changes this server authors: 16 bytes, one for each db on each server, so that two servers never count on the same one. */
  readonly actor: Uint8Array;
  /** Milliseconds since 1970. */
  readonly created: number;
}

/**
 * Where the catalog (the index over a log) keeps what it has worked out. It is derived: it may lag
 * behind the log, must never be ahead of it, and may be dropped at any time. Nothing in it needs an
 * fsync.
 */
export interface CatalogTable {
  /** The seq up to which everything is in. */
  head(): number;

  /** The address of the commit at the head. */
  headCid(): Uint8Array | undefined;

  /** The stored state of a document, with its row, or undefined. */
  doc(name: string): StoredDoc | undefined;

  /** Those of these documents that there are, in no order. */
  docs(names: readonly string[]): StoredDoc[];

  /** Names of the documents whose Automerge id may be the one that starts with these 52 bits. */
  named(automerge: number): string[];

  /** The seqs of commits that may hold what is addressed: `prefix` is shortened, so look and compare. */
  find(prefix: number): number[];

  /** The seq of a receipt. */
  receipt(principal: string, clientTxId: string): number | undefined;

  /** Commits that touched a document at or below `before`, newest first. */
  touches(doc: number, before: number, limit: number): number[];

  /** Commits that touched a document after `after`, oldest first. */
  touchesAfter(doc: number, after: number, upTo: number): number[];

  /** Documents after `after` in name order, with names that start with `prefix`. */
  list(prefix: string, after: string, limit: number, withDeleted: boolean): StoredDoc[];

  /** Names from U+0020 on of documents whose last commit is at or after `from`, at most `limit`. */
  touchedSince(from: number, limit: number): string[];

  /** Of documents with names from U+0020 on: what sorts before is no document of `main`. */
  counts(): { documents: number; deleted: number };

  /** Bundles that hold commits of a document, by their last seq, newest first. */
  bundlesOf(doc: number): number[];

  /** All bundles, oldest first. */
  bundles(): SeqRange[];

  /**
   * Notes bundles with the names of their documents, and drops what is kept of single commits up to the
   * last of them: touches and addresses. Bundles always stand before all single commits.
   */
  fold(bundles: readonly (SeqRange & { readonly docs: readonly string[] })[]): void;

  /** What events say of one kind, by name. */
  facts(kind: FactKind): Fact[];

  /** Makes facts of the kind `erasing` such of the kind `erased`, and drops addresses (pairs of prefix and seq), together. */
  settle(docs: readonly string[], addresses: readonly (readonly [prefix: number, seq: number])[]): void;

  /** Writes a batch and moves the head, together. May give the ids of its documents: then they need not be looked up. */
  write(batch: CatalogBatch): readonly number[] | void;

  close(): void;
}

/** `erasing`: documents whose changes may still be in the storage; `erased`: nothing of them is; `retention`: rules. */
export type FactKind = "erasing" | "erased" | "retention" | "schema" | "statement";

/** What the newest event on a name says. */
export interface Fact {
  readonly kind: FactKind;
  readonly name: string;
  /** Commit of that event. */
  readonly seq: number;
  readonly value: Uint8Array;
}

export interface StoredDoc {
  readonly id: number;
  readonly name: string;
  readonly state: Uint8Array;
  readonly first: number;
  readonly last: number;
  readonly deleted: boolean;
}

export interface CatalogBatch {
  readonly head: number;
  /** Address of the commit at the head. */
  readonly headCid?: Uint8Array | undefined;
  /** Every document touched, with `id` undefined for a new one; the touches are seqs. */
  readonly docs: readonly (Omit<StoredDoc, "id"> & {
    readonly id: number | undefined;
    /** First 52 bits of its Automerge id; only looked at for a new one. */
    readonly automerge: number;
    readonly touches: readonly number[];
  })[];
  /** Pairs of prefix and seq. */
  readonly addresses: readonly (readonly [prefix: number, seq: number])[];
  readonly receipts: readonly (readonly [principal: string, clientTxId: string, seq: number])[];
  readonly facts?: readonly Fact[];
}

/**
 * Where the durable subscriptions of a db are kept. Operational: it cannot be derived, and is not part of the
 * log. `write` is all or nothing and durable when it returns. Rows that are not as they were written, or of
 * which one is missing, are never served: opening throws SUBSCRIPTIONS_DAMAGED.
 */
export interface SubscriptionTable {
  /** All there are, by name. */
  readonly stored: ReadonlyMap<string, StoredSubscription>;

  /** Puts rows and removes others, together. Throws STORAGE_FULL (nothing kept), STORAGE_FAILED. */
  write(puts: readonly StoredSubscription[], removes: readonly string[]): void;

  close(): void;
}

export interface StoredSubscription {
  readonly name: string;
  /** JSON text. */
  readonly definition: string;
  readonly state: Uint8Array;
}
