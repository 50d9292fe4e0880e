/**
 * What a caller asks of the document workers and what it gets back. The same records travel to the
 * threads (without the callbacks), so everything here is plain data or bytes.
 */

/** Automerge bytes to load in order: saved documents and single changes (chunk types 0, 1 and 2). */
export interface DocumentSource {
  chunks: Uint8Array[];
}

/**
 * Gives the chunks of a document that lead to the heads of the job. `haveHeads` are heads a worker
 * holds already ([] when it holds nothing): the answer may leave out every ancestor of these, or be
 * everything. Chunks may bring more than the heads asked for; the answer is for the heads all the same.
 * It is called on the main thread, once for a try, and again when the job is repeated on a new thread.
 */
export type SourceCallback = (haveHeads: string[]) => DocumentSource | Promise<DocumentSource>;

/** A document at a point: its opaque id, the heads (64 hex digits each, any order) and where its bytes are. */
export interface DocumentAt {
  /** Unique over all dbs and for one life of a document; jobs of one docRef run in order on one thread. */
  docRef: string;
  /** [] is the empty document before any change. */
  heads: string[];
  source: SourceCallback;
  /** Milliseconds of work on the thread after which it is ended; the pool's default otherwise. */
  deadlineMs?: number;
}

export interface ReadJob extends DocumentAt {
  /** JSON pointers; the answer's JSON is then an object {pointer: value} of those that exist. */
  paths?: string[];
  conflicts?: boolean;
}

/** A map key or list element with more than one concurrent value; the first is the one the JSON shows. */
export interface Conflict {
  /** JSON pointer */
  path: string;
  values: ConflictValue[];
}

export interface ConflictValue {
  /** JSON text */
  json: string;
  /** Automerge id of the operation that wrote it: `<counter>@<actor>`. */
  op: string;
  /** Hash of the change that has the operation. */
  change: string;
}

export interface ReadResult {
  /** JSON text; map keys in Unicode code point order, no spaces. */
  json: string;
  /** Present when the job asked for conflicts: in document order, those below a shown value only. */
  conflicts?: Conflict[];
}

/** The values travel as the JSON text that the client sent. */
export type Edit =
  | { kind: "put"; value: string }
  | { kind: "merge-patch"; patch: string }
  | { kind: "json-patch"; patch: string }
  | { kind: "clear" }
  /** What the document was at these heads, which must be in its history, with Automerge's types. */
  | { kind: "revert"; heads: string[] };

export interface AuthorJob extends DocumentAt {
  /** Actor id in hex, even number of digits. */
  actor: string;
  /** Seconds since 1970, kept in the change. */
  time: number;
  message?: string;
  edit: Edit;
  /**
   * Chunks to load if the thread has no copy at all, which saves asking `source`; it is asked when they do not
   * lead to the heads. For a document that is small or new.
   */
  eager?: Uint8Array;
}

export interface AuthorResult {
  /** Uncompressed (chunk type 1); undefined when the document already is what the edit wants. */
  change: Uint8Array | undefined;
  /** The heads after the change: its hash alone, or the job's heads when nothing changed. */
  heads: string[];
  /** The document at these heads, as ReadResult.json. */
  json: string;
}

export interface CheckJob extends DocumentAt {
  /** None checks the document alone. */
  changes: Uint8Array[];
  /** Whether the saved form is wanted, if all of it holds. */
  keep?: boolean;
}

export interface CheckResult {
  /** The first change that Automerge refuses, and why; index -1 for the document itself. Absent when all apply. */
  refused?: { index: number; reason: string };
  /** The document with the changes, as ReadResult.json, when all of it holds. */
  json?: string;
  /** `Automerge.save` bytes of it, which were loaded back; when `keep` asks for them. */
  saved?: Uint8Array;
}

export interface DiffJob extends Omit<DocumentAt, "heads"> {
  from: string[];
  to: string[];
}

export interface DiffResult {
  /** JSON text of an RFC 6902 patch with `add`, `remove` and `replace` only. */
  patch: string;
}

/** What two sides of a merge both changed; `heads` are those of both. */
export interface DivergeJob extends DocumentAt {
  /** Heads of the side that is merged into. */
  into: string[];
  /** Heads of the side that is merged. */
  from: string[];
}

export interface DivergeResult {
  divergences: Divergence[];
}

/** A place that both sides changed to different values. */
export interface Divergence {
  /** JSON pointer, in the merged document; of what is gone from it, where it was. */
  path: string;
  /** Whose value the merged document shows. */
  winner: "into" | "from";
  into: DivergentSide;
  from: DivergentSide;
}

export interface DivergentSide {
  /** JSON text; absent when this side has nothing there. */
  json?: string;
  /** Hash of the side's last change to it. */
  change: string;
}

export interface SplitJob {
  bytes: Uint8Array;
  deadlineMs?: number;
}

export interface SplitResult {
  /** Uncompressed single changes, every change after those it depends on. */
  changes: Uint8Array[];
  heads: string[];
}

export interface DocumentsStats {
  /** Threads alive now. */
  workers: number;
  /** Threads ended for a deadline, an abort or their memory, and replaced, since the start. */
  restarts: number;
  /** Jobs waiting or running. */
  queued: number;
  /** Batches of jobs sent to threads since the start. */
  messages: number;
  cachedDocuments: number;
  /** Estimate; see specs/04-documents.md. */
  cachedBytes: number;
}
