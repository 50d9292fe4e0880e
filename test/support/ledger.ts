import { cidToString } from "../../src/ids/cid.ts";
import { verifyLog, type Finding } from "../../src/log/verify.ts";
import type { LogStorage } from "../../src/store/contract.ts";
import { openSqliteLog } from "../../src/store/sqlite-log.ts";
import { decodeRecord } from "../../src/log/record.ts";
import { cidFromDigest, CODEC_DAG_CBOR } from "../../src/ids/cid.ts";

/** What `verify` finds in a log, read from its first byte. */
export function findingsIn(storage: LogStorage): readonly Finding[] {
  const walk = verifyLog(storage);
  for (let step = walk.next(); ; step = walk.next()) if (step.done) return step.value.findings;
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

/** What was acknowledged by anyone: kept outside of what is tested. */
export class Ledger {
  readonly #commits = new Map<number, string>();

  add(said: readonly { readonly seq?: number; readonly commit?: string }[]): void {
    for (const { seq, commit } of said) {
      if (seq === undefined || commit === undefined) continue;
      const known = this.#commits.get(seq);
      if (known !== undefined && known !== commit) throw new Error(`commit ${seq} was acknowledged twice`);
      this.#commits.set(seq, commit);
    }
  }

  get size(): number {
    return this.#commits.size;
  }

  /** Acknowledged commits that are not in the log as they were. */
  lost(addresses: readonly string[]): number[] {
    return [...this.#commits].filter(([seq, commit]) => addresses[seq - 1] !== commit).map(([seq]) => seq);
  }
}
