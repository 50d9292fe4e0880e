import { mkdtempSync } from "node:fs";
import path from "node:path";
import * as A from "@automerge/automerge";
import { readChange } from "../../src/log/change.ts";
import { genesisOf } from "../../src/log/genesis.ts";
import { Log, type LogOptions, type Receipt } from "../../src/log/log.ts";
import type { DocWrite, Transaction } from "../../src/log/transaction.ts";
import type { CatalogTable, LogStorage } from "../../src/store/contract.ts";
import { openSqliteCatalog } from "../../src/store/sqlite-catalog.ts";
import { createSqliteLog, openSqliteLog } from "../../src/store/sqlite-log.ts";

export type Doc = A.Doc<Record<string, unknown>>;

export const ACTORS = ["aa", "bb", "cc", "dd", "ee"].map((byte) => byte.repeat(16)) as [
  string,
  string,
  string,
  string,
  string,
];

export interface OpenLog {
  readonly log: Log;
  readonly storage: LogStorage;
  readonly folder: string;
}

/** A log in a folder of its own under `root`. */
export function createLog(
  root: string,
  options: LogOptions = {},
  wrap: (storage: LogStorage) => LogStorage = (storage) => storage,
): OpenLog {
  const folder = path.join(mkdtempSync(path.join(root, "log-")), "db");
  const storage = wrap(createSqliteLog(folder, "notes"));
  return { folder, storage, log: new Log(storage, openSqliteCatalog(folder), options) };
}

export function openLog(folder: string, options: LogOptions = {}): OpenLog {
  const storage = openSqliteLog(folder, "notes");
  const table: CatalogTable = openSqliteCatalog(folder);
  return { folder, storage, log: new Log(storage, table, options) };
}

/** A copy of a named document as a client makes it: from the genesis that all copies share. */
export function copyOf(log: Log, doc: string, actor: string): Doc {
  const slash = doc.indexOf("/");
  const { bytes } = genesisOf(log.identity.uid, doc.slice(0, slash), doc.slice(slash + 1));
  return A.applyChanges(A.init<Record<string, unknown>>({ actor }), [bytes])[0];
}

/** A changed copy: the one given stays as it is, so that two can go on from it. */
export function set(doc: Doc, values: Record<string, unknown>): Doc {
  return A.change(A.clone(doc, { actor: A.getActorId(doc) }), { time: 0 }, (draft) => {
    Object.assign(draft, values);
  });
}

export function lastChange(doc: Doc): Uint8Array {
  const change = A.getLastLocalChange(doc);
  if (!change) throw new Error("the document has no change of its own");
  return change;
}

export function write(
  doc: string,
  changes: readonly Uint8Array[],
  more: Omit<DocWrite, "doc" | "changes"> = {},
): DocWrite {
  return { doc, changes: changes.map((bytes) => readChange(bytes)), ...more };
}

export function tx(writes: DocWrite | readonly DocWrite[], more: Partial<Transaction> = {}): Transaction {
  return { author: "ann", clientTxId: "", writes: [writes].flat() as DocWrite[], ...more };
}

/** A change taken apart, altered and put together again with a right checksum. */
export function forge(change: Uint8Array, alter: Record<string, unknown>): Uint8Array {
  const { hash: _, ...decoded } = A.decodeChange(change);
  return A.encodeChange({ ...decoded, ...alter } as Parameters<typeof A.encodeChange>[0]);
}

export interface Refusal {
  readonly code: string;
  readonly details: Record<string, unknown>;
}

/** What a write was refused with. */
export async function refusal(written: Promise<Receipt> | (() => unknown)): Promise<Refusal> {
  try {
    await (typeof written === "function" ? written() : written);
  } catch (error) {
    const { code, details } = error as Refusal;
    return { code, details };
  }
  return { code: "none", details: {} };
}

/** The document as the log has it. */
export function load(log: Log, doc: string): Doc {
  const changes = log.changes(doc, 0, log.head().seq);
  return A.applyChanges(copyOf(log, doc, "0f".repeat(16)), changes)[0];
}
