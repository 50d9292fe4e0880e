import { checkDb, checkLogNow, finished } from "../../src/db/check.ts";
import { Db } from "../../src/db/db.ts";
import { CODEC_DAG_CBOR, cidFromDigest, cidToString } from "../../src/ids/cid.ts";
import { decodeRecord } from "../../src/log/record.ts";
import { headersIn, type StoredCommit } from "../../src/log/stored-commit.ts";
import { verifyLog, type Finding } from "../../src/log/verify.ts";
import type { LogStorage } from "../../src/store/contract.ts";
import { openSqliteLog } from "../../src/store/sqlite-log.ts";

/** What the checker finds in a log, read from its first byte. */
export function findingsIn(storage: LogStorage): readonly LedgerFinding[] {
  return checkLogNow(storage).findings;
}

/** The address of every commit on disk: index 0 is commit 1. */
export function addressesIn(folder: string, dbId: string): string[] {
  const storage = openSqliteLog(folder, dbId, { readonly: true });
  try {
    return storage
      .page(1, 10_000_000)
      .map(({ seq, body }) => cidToString(cidFromDigest(CODEC_DAG_CBOR, decodeRecord(body, seq).digest)));
  } finally {
    storage.close();
  }
}

/** What only a ledger can tell, beside what the checker finds with a ledger's evidence. */
export const LEDGER_INVARIANTS = {
  whole: "a write whose outcome is unknown is in the log whole, as it was sent, or not at all",
  turnedAway: "nothing of a write that was refused is in the log",
} as const;

export type LedgerFinding = Finding<string>;

/** A write as it was tried. */
export interface SentWrite {
  readonly author: string;
  /** Names the write here, so every write needs its own. */
  readonly clientTxId: string;
  readonly docs: readonly string[];
  /** Hashes of its changes; left out when the server authors them. */
  readonly hashes?: readonly string[];
}

interface Entry {
  readonly write: SentWrite;
  /** Unknown until an answer comes, and for ever when none does. */
  outcome: "unknown" | "refused" | { readonly seq: number; readonly commit: string };
}

/** Codes after which nobody can say whether the write was kept. Everything else refuses. */
const UNKNOWN: ReadonlySet<string | undefined> = new Set([
  undefined,
  "STORAGE_FAILED",
  "UNREACHABLE",
  "INTERNAL",
]);

/**
 * What was tried and what was answered, kept outside of what is tested: `sent` before each write, then
 * `acknowledged` or `failed`; `compare` after the fault. `add` takes receipts alone, from somebody who does
 * not say what was sent.
 */
export class Ledger {
  readonly #entries = new Map<string, Entry>();
  readonly #commits = new Map<number, string>();
  readonly #hashes = new Set<string>();
  readonly #txIds = new Set<string>();

  sent(write: SentWrite): void {
    if (this.#entries.has(write.clientTxId)) throw new Error(`${write.clientTxId} was sent before`);
    this.#entries.set(write.clientTxId, { write, outcome: "unknown" });
    this.#txIds.add(write.clientTxId);
    for (const hash of write.hashes ?? []) this.#hashes.add(hash);
  }

  acknowledged(said: { readonly clientTxId: string; readonly seq: number; readonly commit: string }): void {
    const { seq, commit } = said;
    this.add([said]);
    this.#entry(said.clientTxId).outcome = { seq, commit };
  }

  /** Told why a write failed; without a code there was no answer. */
  failed(clientTxId: string, code: string | undefined): void {
    if (!UNKNOWN.has(code)) this.#entry(clientTxId).outcome = "refused";
  }

  add(said: readonly { readonly seq?: number; readonly commit?: string }[]): void {
    for (const { seq, commit } of said) {
      if (seq === undefined || commit === undefined) continue;
      const known = this.#commits.get(seq);
      if (known !== undefined && known !== commit) throw new Error(`commit ${seq} was acknowledged twice`);
      this.#commits.set(seq, commit);
    }
  }

  /** Receipts held. */
  get size(): number {
    return this.#commits.size;
  }

  /** The receipts as somebody outside would hold them. */
  receipts(): { seq: number; commit: string }[] {
    return [...this.#commits].map(([seq, commit]) => ({ seq, commit }));
  }

  /** Acknowledged commits that are not in the log as they were. */
  lost(addresses: readonly string[]): number[] {
    return [...this.#commits].filter(([seq, commit]) => addresses[seq - 1] !== commit).map(([seq]) => seq);
  }

  /**
   * Everything that is wrong with a log, or with an open db and what is derived in it, by itself and
   * compared with this ledger. "Invented" is only judged when writes were told with `sent`.
   */
  async compare(target: LogStorage | Db): Promise<readonly LedgerFinding[]> {
    const evidence = {
      receipts: this.receipts(),
      ...(this.#entries.size > 0 ? { sent: { hashes: this.#hashes, txIds: this.#txIds } } : {}),
    };
    if (target instanceof Db) {
      const { findings } = await finished(checkDb(target, evidence));
      return [...findings, ...this.#outcomes(target.storage)];
    }
    return [...checkLogNow(target, evidence).findings, ...this.#outcomes(target)];
  }

  /** Each write that was tried against the commits that hold something of it. */
  #outcomes(storage: LogStorage): LedgerFinding[] {
    if (this.#entries.size === 0) return [];
    const findings: LedgerFinding[] = [];
    const commitOf = new Map<string, StoredCommit[]>();
    const note = (key: string, stored: StoredCommit): void => {
      commitOf.set(key, [...(commitOf.get(key) ?? []), stored]);
    };
    const walk = verifyLog(storage, (stored) => {
      if (stored.clientTxId !== "") note(`tx ${stored.clientTxId}`, stored);
      for (const hash of hashesIn(stored)) note(`change ${hash}`, stored);
    });
    while (!walk.next().done);
    for (const { write, outcome } of this.#entries.values()) {
      const { clientTxId, hashes = [] } = write;
      const own = commitOf.get(`tx ${clientTxId}`) ?? [];
      const foreign = hashes.filter(
        (hash) => !this.#sentBy(hash, clientTxId) && commitOf.has(`change ${hash}`),
      );
      if (outcome === "refused") {
        if (own.length > 0 || foreign.length > 0)
          findings.push({ what: "turnedAway", where: `${clientTxId}: ${placesOf(own)}` });
        continue;
      }
      const there = hashes.filter((hash) => commitOf.has(`change ${hash}`));
      const [stored] = own;
      const torn =
        own.length === 0
          ? outcome === "unknown" && there.some((hash) => !this.#sentBy(hash, clientTxId))
          : stored !== undefined && !isWhole(stored, write);
      if (torn) findings.push({ what: "whole", where: `${clientTxId}: ${placesOf(own)}` });
    }
    return findings;
  }

  /** Whether another write that may be kept has the change too. */
  #sentBy(hash: string, butNot: string): boolean {
    for (const [id, { write, outcome }] of this.#entries) {
      if (id !== butNot && outcome !== "refused" && write.hashes?.includes(hash)) return true;
    }
    return false;
  }

  #entry(clientTxId: string): Entry {
    const entry = this.#entries.get(clientTxId);
    if (!entry) throw new Error(`${clientTxId} was answered and never sent`);
    return entry;
  }
}

/** Whether a commit is all of a write and nothing else. Changes that were in the log before are left out of it. */
function isWhole(stored: StoredCommit, { author, docs, hashes }: SentWrite): boolean {
  const { commit } = stored;
  const touched = commit.entries.map(({ doc }) => doc);
  if (commit.author !== author || touched.some((doc) => !docs.includes(doc))) return false;
  if (hashes === undefined) return touched.length > 0;
  const there = new Set(hashesIn(stored));
  return hashes.every((hash) => there.has(hash)) && there.size === new Set(hashes).size;
}

function hashesIn(stored: StoredCommit): string[] {
  return stored.commit.entries.flatMap((entry) => headersOrNone(stored, entry.doc));
}

/** A damaged commit is the checker's finding, not the ledger's. */
function headersOrNone(stored: StoredCommit, doc: string): string[] {
  try {
    return headersIn(stored, doc).map(({ hash }) => hash);
  } catch {
    return [];
  }
}

function placesOf(commits: readonly StoredCommit[]): string {
  return commits.length === 0
    ? "changes of it"
    : commits.map(({ commit }) => `commit ${commit.seq}`).join(", ");
}
