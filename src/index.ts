import path from "node:path";
import type { Db } from "./db/db.ts";
import { Engine, type EngineOptions } from "./db/engine.ts";

export type { Action } from "./auth/actions.ts";
export type { CredentialProvider, Presented } from "./auth/credential-provider.ts";
export type { Identity } from "./auth/identity.ts";
export type { Principal, Scope } from "./auth/policy.ts";
export { readConfig, type Config } from "./config.ts";
export type { DocumentView, HistoryEntry, ReadOptions } from "./db/db.ts";
export { Db } from "./db/db.ts";
export { Engine, type EngineOptions, type HeldDb } from "./db/engine.ts";
export type { TxRequest, TxWrite } from "./db/write.ts";
export type { Edit } from "./documents/documents.ts";
export { SkaldError, isSkaldError, type ErrorCode } from "./errors.ts";
export type { LogHead, Receipt, StoredCommit } from "./log/log.ts";
export type { Verdict } from "./log/verify.ts";
export { startService, type Service, type ServiceOptions } from "./service.ts";

export interface OpenDbOptions extends Omit<EngineOptions, "dir"> {
  /** Make the db when it is not there. Default true. */
  readonly create?: boolean;
}

/** A db embedded in this process: the same engine and files as the server's, without HTTP. */
export interface EmbeddedDb extends AsyncDisposable {
  readonly db: Db;
  /** Lets writes under way finish and gives the directory back. */
  close(): Promise<void>;
}

/**
 * Opens the db `dbId` of the data directory `dir` for this process alone.
 * Throws DIR_IN_USE (a server or another program has the directory), DB_NOT_FOUND (with
 * `create: false`), NAME_INVALID, and what opening the files throws.
 */
export async function openDb(dir: string, dbId: string, options: OpenDbOptions = {}): Promise<EmbeddedDb> {
  const { create = true, ...rest } = options;
  const engine = new Engine({ ...rest, dir: path.resolve(dir) });
  try {
    if (create) await engine.create(dbId);
    const held = engine.hold(dbId);
    const close = async (): Promise<void> => {
      held?.release();
      await engine.close();
    };
    if (!held) throw new Error(`${dbId} is closing in an engine that was just opened`);
    return { db: held.db, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await engine.close();
    throw error;
  }
}
