import { cidToString } from "../ids/cid.ts";
import type { StoredCommit } from "./stored-commit.ts";

export interface LogHead {
  readonly seq: number;
  /** Undefined before the first commit. */
  readonly cid: Uint8Array | undefined;
  readonly time: number;
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

/** A transaction as it stands in a group. */
export interface Added {
  readonly cid: Uint8Array;
  readonly seq: number;
  readonly time: number;
  readonly entries: readonly { readonly doc: string; readonly heads: readonly string[] }[];
  readonly duplicate: boolean;
  readonly bytes: number;
}

/** A merge of a branch as it stands in a group. */
export interface MergedBranch extends Added {
  /** The commits it was made of, oldest first; none when there was nothing to merge. */
  readonly commits: readonly StoredCommit[];
  /** Commit of the branch up to which it was merged. */
  readonly from: number;
  readonly fastForward: boolean;
}

export function receiptOf({ cid, seq, time, entries, duplicate }: Added): Receipt {
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
