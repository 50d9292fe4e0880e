import type { LiveDocument, OpenOptions } from "./live-document.ts";
import type { Receipt } from "./write-queue.ts";

/** A document as it was read, and the point that holds for. */
export interface DocRead<T> {
  readonly value: T;
  /** For `ifHeads` of a write; undefined when there are more than 64. */
  readonly heads: readonly string[] | undefined;
  readonly seq: number;
  readonly commit: string | undefined;
  /** A feed goes on from exactly here. */
  readonly cursor: string;
  /** The `automerge:` URL. */
  readonly url: string;
}

export interface ReadOptions {
  /** A seq, a commit's address or an RFC 3339 time; now when left out. */
  readonly at?: string | number;
  readonly signal?: AbortSignal;
}

export interface WriteOptions {
  /** The document must be at these heads (`[]`: must not be there), or the write is refused. */
  readonly ifHeads?: readonly string[];
  readonly message?: string;
  /** Its `client_tx_id`; made up when left out. Sent again with the same one, a write is not written again. */
  readonly txId?: string;
  /** Aborted while the write waits to be sent, it is given up. */
  readonly signal?: AbortSignal;
}

export interface ListOptions {
  readonly collection?: string;
  /** Start of the key; needs `collection`. */
  readonly prefix?: string;
  /** Give each document's value too. */
  readonly values?: boolean;
  readonly at?: string | number;
  /** Documents of a page. */
  readonly page?: number;
  readonly signal?: AbortSignal;
}

export interface Listed<T> {
  readonly doc: string;
  readonly collection: string;
  readonly key: string;
  readonly seq: number;
  readonly heads: readonly string[];
  readonly value?: T;
}

export interface HistoryEntry {
  readonly seq: number;
  readonly commit: string;
  readonly time: string;
  readonly author: string;
  readonly message?: string;
  readonly heads: readonly string[];
  readonly changes: number;
  readonly deleted: boolean;
}

/** One write of a transaction. */
export type TxWrite = { readonly doc: string; readonly ifHeads?: readonly string[] } & (
  | { readonly value: object }
  | { readonly patch: object }
  | { readonly delete: true }
  | { readonly changes: readonly Uint8Array[] }
);

export interface DbInfo {
  readonly db: string;
  readonly uid: string;
  readonly seq: number;
  readonly documents: number;
  readonly cursor: string;
}

/** What can be done with documents, by their names `collection/key`. */
export interface Documents {
  get<T extends object>(doc: string, options?: ReadOptions): Promise<T | undefined>;
  at<T extends object>(doc: string, point: string | number): Promise<T | undefined>;
  read<T extends object>(doc: string, options?: ReadOptions): Promise<DocRead<T> | undefined>;
  put(doc: string, value: object, options?: WriteOptions): Promise<Receipt>;
  patch(doc: string, patch: object, options?: WriteOptions): Promise<Receipt>;
  delete(doc: string, options?: WriteOptions): Promise<Receipt>;
  change<T extends object>(
    doc: string,
    fn: (draft: T) => void,
    options?: Omit<WriteOptions, "ifHeads">,
  ): Promise<Receipt | undefined>;
  open<T extends object>(doc: string, options?: OpenOptions): LiveDocument<T>;
  list<T extends object>(options?: ListOptions): AsyncGenerator<Listed<T>>;
  history(doc: string, options?: { signal?: AbortSignal }): AsyncGenerator<HistoryEntry>;
}
