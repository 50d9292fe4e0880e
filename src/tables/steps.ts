import type { SchemaStatement } from "../log/log.ts";
import type { TablesHead, TablesOwner } from "../store/sqlite-tables.ts";
import type { Row } from "./rows.ts";

/** What is said to the thread that writes files of tables, and what it says. Plain data: it goes from thread to thread. */

/** A document at the point that a file is brought to. Without `json` and `problem` it is not there. */
export interface DocumentState {
  /** `collection/key`. */
  readonly name: string;
  /** The commit that last touched it. */
  readonly seq: number;
  readonly json?: string;
  /** The code of what keeps it from being read. */
  readonly problem?: string;
}

/** A commit of the branch or of what it stands on. */
export interface CommitState {
  readonly seq: number;
  readonly id: string;
  readonly branch: string;
  /** RFC 3339 with milliseconds, in UTC. */
  readonly time: string;
  readonly author: string;
  readonly message: string | null;
  readonly entries: readonly {
    readonly doc: string;
    readonly deleted: boolean;
    readonly changes: number;
  }[];
}

/** Commits `first` to `last`. */
export interface SeqSpan {
  readonly first: number;
  readonly last: number;
}

/** A part of what brings a file from one point to another. */
export interface Part {
  readonly documents?: readonly DocumentState[];
  /** Names of documents of which nothing is to be left anywhere in the file. */
  readonly erased?: readonly string[];
  readonly commits?: readonly CommitState[];
  /** All statements in force at the point, when they may be others than the file has. */
  readonly schema?: readonly SchemaStatement[];
  /** Commits that are not in the past of the point: they and what they changed go from the history. */
  readonly forget?: readonly SeqSpan[];
}

export interface RowChange {
  /** The document's key; of `documents` and `changes` its whole name, of `commits` the seq. */
  readonly key: string;
  readonly before?: Row;
  readonly after?: Row;
}

/** What a batch did to a file. */
export interface Applied {
  readonly seq: number;
  readonly schemaChanged: boolean;
  /**
   * By table, also `documents`, `commits`, `changes` and `schema_violations`: its rows that changed, when they were
   * asked for and are not too many.
   */
  readonly touched: ReadonlyMap<string, readonly RowChange[] | "all">;
}

/** What is known of a file that was opened. */
export interface OpenedTables {
  readonly head: TablesHead;
  /** Tells the file from those that had its name before. */
  readonly life: string;
}

export type Step =
  | { readonly kind: "open"; readonly owner: TablesOwner }
  | { readonly kind: "make"; readonly owner: TablesOwner; readonly life: string }
  | { readonly kind: "feed"; readonly part: Part }
  | { readonly kind: "begin"; readonly wanted: readonly string[] }
  | { readonly kind: "end"; readonly head: TablesHead }
  | { readonly kind: "abort" }
  | { readonly kind: "tidy" }
  | { readonly kind: "compare"; readonly other: string }
  /** Makes a file of its own of what the file holds now; the file itself may be open elsewhere. */
  | { readonly kind: "copy"; readonly to: string }
  | { readonly kind: "close" };

export interface StepResults {
  readonly open: OpenedTables;
  readonly make: undefined;
  readonly feed: undefined;
  readonly begin: undefined;
  readonly end: Applied;
  readonly abort: undefined;
  /** False when somebody who reads keeps some of what was removed from going. */
  readonly tidy: boolean;
  /** Names of the tables that are others in the other file. */
  readonly compare: readonly string[];
  readonly copy: undefined;
  readonly close: undefined;
}

export interface Request {
  readonly id: number;
  readonly file: string;
  readonly step: Step;
}

export type Answer =
  | { readonly id: number; readonly result: StepResults[keyof StepResults] }
  | { readonly id: number; readonly error: StepError };

/** An error as it goes from thread to thread. */
export interface StepError {
  readonly code?: string;
  readonly message: string;
  readonly hint?: string;
  readonly details?: Readonly<Record<string, unknown>>;
}
