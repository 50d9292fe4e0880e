import { cidToString } from "../ids/cid.ts";
import { blake3, toHex } from "../ids/hash.ts";
import { prefixOf } from "../log/address-map.ts";
import { erasedBy, isStub } from "../log/erased.ts";
import { isMerge, mergedIn } from "../log/merged.ts";
import { Records } from "../log/records.ts";
import { headersIn, type StoredCommit } from "../log/stored-commit.ts";
import type { LogStorage } from "../store/contract.ts";
import type { Report } from "./invariants.ts";

/** What somebody outside knows of a log; each commit is compared with it as the walk passes. */
export interface Evidence {
  /** Receipts as they were answered: the seq and the commit's address in base32. */
  readonly receipts?: Iterable<HeldReceipt>;
  /** Everything that was ever sent, acknowledged or not. */
  readonly sent?: Sent;
}

export interface HeldReceipt {
  readonly seq: number;
  readonly commit: string;
}

export interface Sent {
  /** Hashes of changes. */
  readonly hashes: ReadonlySet<string>;
  /** client_tx_ids; the server may have authored the changes of these. */
  readonly txIds: ReadonlySet<string>;
}

/**
 * Compares each commit of a log with what is known outside, and finds a pair of principal and client_tx_id
 * that has two commits. Memory: 40 bytes for each commit with a client_tx_id, and the evidence.
 */
export class EvidenceCheck {
  readonly #report: Report;
  readonly #records: Records;
  readonly #sent: Sent | undefined;
  /** Addresses by their seq that were not met yet. Two for one seq cannot both be. */
  readonly #held = new Map<number, Set<string>>();
  /** What was met under a seq of which another receipt is held. */
  readonly #instead = new Map<number, string>();
  /** The first commit of each pair, by the start of a hash over it. */
  readonly #pairs = new Map<number, number>();

  constructor(storage: LogStorage, { receipts = [], sent }: Evidence, report: Report) {
    this.#report = report;
    this.#records = new Records(storage);
    this.#sent = sent;
    for (const { seq, commit } of receipts) {
      const known = this.#held.get(seq);
      if (known) known.add(commit);
      else this.#held.set(seq, new Set([commit]));
    }
  }

  visit(stored: StoredCommit): void {
    this.#acknowledged(stored);
    this.#once(stored);
    if (this.#sent && !wasSent(stored, this.#sent)) {
      const { seq, author } = stored.commit;
      const id = stored.clientTxId === "" ? "no client_tx_id" : `client_tx_id ${stored.clientTxId}`;
      this.#report("invented", `commit ${seq} (${cidToString(stored.cid)}) by ${author}, ${id}`);
    }
  }

  /** After the last commit: receipts that no commit was met for. */
  end(): void {
    const left = [...this.#held].sort(([a], [b]) => a - b);
    for (const [seq, commits] of left) {
      const there = this.#instead.get(seq);
      for (const commit of commits) {
        const what =
          there === undefined
            ? `(${commit}) is not in the log`
            : `was acknowledged as ${commit} and is ${there}`;
        this.#report("acknowledged", `commit ${seq} ${what}`);
      }
    }
    this.#held.clear();
  }

  #acknowledged(stored: StoredCommit): void {
    this.#found(stored.commit.seq, stored.cid);
    // What was acknowledged on a line that was merged is there, and its seq is another's.
    for (const { commit, cid } of mergedIn(stored)) this.#found(commit.seq, cid);
  }

  #found(seq: number, cid: Uint8Array): void {
    const held = this.#held.get(seq);
    if (!held) return;
    const there = cidToString(cid);
    held.delete(there);
    if (held.size === 0) this.#held.delete(seq);
    else if (!this.#instead.has(seq)) this.#instead.set(seq, there);
  }

  #once({ commit: { seq, author }, clientTxId }: StoredCommit): void {
    if (clientTxId === "") return;
    const key = prefixOf(toHex(blake3(Buffer.from(`${author}\0${clientTxId}`))));
    const first = this.#pairs.get(key);
    if (first === undefined) {
      this.#pairs.set(key, seq);
      return;
    }
    // Two pairs may share the start of their hashes.
    const other = this.#records.commit(first);
    if (other?.clientTxId === clientTxId && other.commit.author === author)
      this.#report(
        "receipts",
        `commits ${first} and ${seq} both have ${author}'s client_tx_id ${clientTxId}`,
      );
  }
}

/** Whether somebody sent it. What the server sets aside by itself counts as sent, and of what was erased nobody can tell. */
function wasSent(stored: StoredCommit, { hashes, txIds }: Sent): boolean {
  if (stored.clientTxId === "" && (stored.blocks.some(isStub) || erasedBy(stored).size > 0)) return true;
  const merged = mergedIn(stored);
  if (merged.length > 0)
    return merged.every(
      (within) => isMerge(within.commit) || within.clientTxId === "" || txIds.has(within.clientTxId),
    );
  const { entries } = stored.commit;
  if (entries.length > 0 && entries.every((entry) => entry.refused !== undefined)) return true;
  if (stored.clientTxId !== "") return txIds.has(stored.clientTxId);
  const changes = entries.flatMap((entry) => headersIn(stored, entry.doc));
  return changes.length > 0 && changes.every(({ hash }) => hashes.has(hash));
}
