import type { Documents, Edit, SourceCallback } from "../documents/documents.ts";
import type { ChangeHeader } from "../log/change.ts";
import type { Log, Unchanged } from "../log/log.ts";
import type { Proofs } from "./proofs.ts";
import type { WriteHold } from "./write-hold.ts";

/** What a caller asks of a db to write, and what writing it needs. */
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
  /** The server itself writes, to a db of its own. */
  readonly own?: boolean;
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
  /** Small documents on `main` with nothing but a first change: it, by name, for who authors next. */
  readonly firsts: Map<string, { readonly hash: string; readonly bytes: Uint8Array }>;
  /** Documents being authored: the last of each one's queue. */
  readonly busy: Map<string, Promise<unknown>>;
  readonly hold: WriteHold;
}
