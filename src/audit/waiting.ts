import { rowSum } from "../store/row-sum.ts";
import { named, openSqlite, type Sqlite } from "../store/sqlite.ts";
import { WriteGate } from "../store/write-gate.ts";
import { documentOf, keyAt, type AuditDocument, type Named } from "./entry.ts";

/**
 * Entries that wait for their place in the audit log, in the service file: those of before there was the log, those
 * of a restore, which happens without a server, and those that the log could not take, when its disk was full.
 */
export class Waiting {
  readonly #file: string;
  readonly #sqlite: Sqlite;
  readonly #gate: WriteGate;

  /** Throws as `openSqlite` does. */
  constructor(file: string) {
    this.#file = file;
    this.#sqlite = openSqlite(file, { kind: "service", create: true });
    this.#gate = new WriteGate(this.#sqlite, file);
  }

  /** All of them, durable, or none. Throws STORAGE_FULL, STORAGE_FAILED. */
  keep(entries: readonly Named[]): void {
    const put = "INSERT INTO audit (time, principal, action, key, entry, sum) VALUES (?, ?, ?, ?, ?, ?)";
    this.#gate.run(() =>
      this.#sqlite
        .transaction(() => {
          for (const { key, document } of entries) {
            const text = JSON.stringify(document);
            this.#sqlite
              .prepare(put)
              .run(Date.parse(document.time), document.who, document.action, key, text, rowSum([key, text]));
          }
        })
        .immediate(),
    );
  }

  /** The first `limit` of them. */
  page(limit: number): (Named & { readonly id: number })[] {
    const rows = named(this.#file, () =>
      this.#sqlite.prepare("SELECT * FROM audit ORDER BY id LIMIT ?").all(limit),
    ) as WaitingRow[];
    return rows.map(entryOf);
  }

  /** Of those that the log has. */
  remove(ids: readonly number[]): void {
    this.#gate.run(() =>
      this.#sqlite
        .transaction(() => {
          const drop = this.#sqlite.prepare("DELETE FROM audit WHERE id = ?");
          for (const id of ids) drop.run(id);
        })
        .immediate(),
    );
  }

  get isOpen(): boolean {
    return this.#sqlite.open;
  }

  close(): void {
    if (this.#sqlite.open) this.#gate.close();
  }
}

interface WaitingRow {
  readonly id: number;
  readonly time: number;
  readonly principal: string;
  readonly action: string;
  readonly db: string | null;
  readonly detail: string | null;
  readonly key: string | null;
  readonly entry: string | null;
  readonly sum: number | null;
}

/** A damaged row goes into the log as what can be read of it, and says that it is damaged. */
function entryOf(row: WaitingRow): Named & { readonly id: number } {
  const { id, time, principal, action, db, detail, key, entry } = row;
  if (key !== null && entry !== null && row.sum === rowSum([key, entry]))
    return { id, key, document: JSON.parse(entry) as AuditDocument };
  const rotten = row.key !== null || row.entry !== null || row.sum !== null;
  const document = documentOf(
    {
      principal,
      action: rotten ? "audit.damaged" : action,
      ...(db === null ? {} : { db }),
      ...(rotten ? { detail: `${action} ${entry ?? ""}` } : detail === null ? {} : { detail }),
    },
    Number.isSafeInteger(time) && time >= 0 && time < LATEST ? time : 0,
  );
  // Ids are given again once their rows are gone.
  const sum = rowSum([id, time, principal, action, db, detail]).toString(16);
  return { id, key: `${keyAt(Date.parse(document.time))}-000000-row${id}-${sum}`, document };
}

/** The last moment that has an RFC 3339 time with four digits for the year. */
const LATEST = 253_402_300_799_999;
