import { existsSync } from "node:fs";
import path from "node:path";
import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { Documents, type DocumentsOptions } from "../documents/documents.ts";
import { AUDIT_DB, checkDbId, dbFolder, isReservedName } from "../ids/names.ts";
import { mergeLines, type MergedLine } from "../log/adopt.ts";
import { Log, type Place } from "../log/log.ts";
import { OpenedBundles } from "../log/opened-bundles.ts";
import { commitsMissing, type LogStorage } from "../store/contract.ts";
import { checkSpace } from "../store/space.ts";
import { lockDirectory, type DirectoryLock } from "../store/dir-lock.ts";
import { makeFolder, removeFolder } from "../store/folder.ts";
import { checkRestored } from "../store/restoring.ts";
import { dropSqliteCatalog } from "../store/sqlite-catalog.ts";
import { DEFAULT_RESERVE, forgetClosed } from "../store/sqlite-log.ts";
import { named } from "../store/sqlite.ts";
import { DbTable, type DbRow, type ErasureRow } from "../store/sqlite-registry.ts";
import type { SnapshotRow } from "../store/sqlite-snapshots.ts";
import { dropTables } from "../store/sqlite-tables.ts";
import { dropViews } from "../store/sqlite-views.ts";
import { realWorld, type World } from "../world.ts";
import { type Packer, startPacker } from "./compaction.ts";
import { endErased } from "./erasing.ts";
import { DEFAULT_TENDING, type TendingPolicy } from "./tending.ts";
import { Db } from "./db.ts";
import { isDerivedDamage } from "./derived-damage.ts";
import { sqliteFiles, type DbFiles } from "./files.ts";
import { JsonCache } from "./json-cache.ts";
import type { TxWrite } from "./tx-request.ts";
import { Signing, type Rotated, type SignWhen } from "./signing.ts";

export interface EngineOptions {
  /** Data directory; made when missing. */
  readonly dir: string;
  /** Dbs open at once; further ones close the least recently used idle one. Default 64. */
  readonly openDbs?: number;
  /** Dbs in use at once, beyond which another is refused with UNAVAILABLE. Default: see LIMITS. */
  readonly dbsInUse?: number;
  /** Bytes of documents' JSON kept in memory over all dbs. Default 16 MiB. */
  readonly cacheBytes?: number;
  /** Bytes of disk that must stay free; see `SqliteLogOptions`. */
  readonly reserve?: number;
  readonly documents?: DocumentsOptions;
  readonly world?: World;
  readonly files?: DbFiles;
  /** Whether commits are signed. Default "auto": when the directory has a key. */
  readonly sign?: SignWhen;
  /** Starts what packs bundles; by default a thread. */
  readonly packer?: () => Packer;
  /** Told of failures that concern no caller. */
  readonly onError?: (error: unknown) => void;
}

/**
 * All dbs of a data directory, and the one process that may write them. An idle db costs a row in a
 * table: it is opened on first use and closed when others need its place.
 */
export class Engine {
  readonly dir: string;
  readonly lock: DirectoryLock;
  readonly documents: Documents;
  readonly world: World;
  /** The keys that commits are signed with. */
  readonly signing: Signing;
  readonly #files: DbFiles;
  readonly #table: DbTable;
  readonly #cache: JsonCache;
  readonly #opened = new OpenedBundles();
  readonly #options: EngineOptions;
  readonly #onError: (error: unknown) => void;
  /** Least recently used first. */
  readonly #open = new Map<string, OpenDb>();
  /** Nothing is opened any more. */
  #ending = false;
  /** Dbs being closed: whoever wants one of them waits for this first. */
  readonly #closing = new Map<string, Promise<void>>();
  readonly #deleting = new Set<string>();
  /** Dbs that are being made and filled, and what tells those who fill them to stop. */
  readonly #filled = new Set<string>();
  readonly #fillings = new Map<AbortController, Promise<void>>();
  readonly #removed = new Set<(dbId: string) => void>();

  /** Takes the directory. Throws DIR_IN_USE, and what `openSqlite` throws. */
  constructor(options: EngineOptions) {
    this.dir = options.dir;
    this.#options = options;
    this.world = options.world ?? realWorld;
    this.#files = options.files ?? sqliteFiles;
    this.#onError = options.onError ?? ((error) => process.emitWarning(error as Error));
    checkRestored(options.dir);
    this.lock = lockDirectory(options.dir);
    let table: DbTable | undefined;
    try {
      const dbs = path.join(options.dir, "dbs");
      named(dbs, () => makeFolder(dbs));
      this.#table = table = new DbTable(options.dir);
      this.signing = new Signing(options.dir, this.world, options.sign ?? "auto");
      this.#finish();
    } catch (error) {
      table?.close();
      this.lock.release();
      throw error;
    }
    this.#cache = new JsonCache(options.cacheBytes ?? 16 * 1024 * 1024);
    this.documents = new Documents({ world: this.world, ...options.documents });
  }

  /**
   * Makes a db. Gives false when it is there already. Throws NAME_INVALID, STORAGE_FULL, STORAGE_FAILED,
   * DB_EXISTS when its folder is there but nobody registered it, UNAVAILABLE while it is being deleted.
   * `uid` makes it the copy of a db that another server has. Names that start with `_` are NAME_INVALID.
   */
  async create(dbId: string, uid?: Uint8Array): Promise<boolean> {
    if (isReservedName(checkDbId(dbId)) && !this.has(dbId)) throw reserved(dbId);
    return this.#make(dbId, uid);
  }

  /** Writes documents, named by their keys, to a db of the server's own, which is made when it is missing. */
  async writeOwn(dbId: typeof AUDIT_DB, writes: readonly TxWrite[]): Promise<void> {
    if (!this.has(dbId)) await this.#make(dbId, undefined);
    await this.use(dbId, (db) => db.tx({ author: OWN_AUTHOR, writes, own: true }));
  }

  /**
   * Makes a db with what `fill` writes to its log; nobody sees it before that is done and durable. A crash, or a
   * failure of `fill`, leaves nothing of it. Throws DB_EXISTS, what `create` throws, and what `fill` throws; `signal`
   * tells it that the engine closes.
   */
  async createFilled(
    dbId: string,
    uid: Uint8Array | undefined,
    fill: (log: Log, signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    if (isReservedName(checkDbId(dbId))) throw reserved(dbId);
    const ending = new AbortController();
    const filling = this.#make(dbId, uid, async (log) => {
      await fill(log, ending.signal);
      // An older copy of a db that was here may have what was erased of it since.
      await endErased(
        log,
        this.#table.erasures(log.identity.uid).map(({ doc }) => doc),
      );
    });
    // Whoever asks for the same one meanwhile is refused before this is reached.
    const watched = filling.then(
      () => {},
      () => {},
    );
    this.#fillings.set(ending, watched);
    try {
      if (!(await filling)) throw new SkaldError("DB_EXISTS", `There is a db ${dbId} already.`);
    } finally {
      this.#fillings.delete(ending);
    }
  }

  async #make(
    dbId: string,
    uid: Uint8Array | undefined,
    fill?: (log: Log) => Promise<void>,
  ): Promise<boolean> {
    checkDbId(dbId);
    while (this.#closing.has(dbId)) await this.#closing.get(dbId);
    if (this.#ending) throw new SkaldError("UNAVAILABLE", "The server is closing.");
    const known = this.#table.get(dbId);
    if (known?.state === "ready") return false;
    if (this.#deleting.has(dbId)) throw new SkaldError("UNAVAILABLE", `The db ${dbId} is being deleted.`);
    if (this.#filled.has(dbId)) throw new SkaldError("UNAVAILABLE", `The db ${dbId} is being imported.`);
    // Left half done by a disk that failed or was full.
    if (known) this.#remove(known);
    const row: DbRow = { dbId, folder: dbFolder(dbId), created: this.world.now(), state: "creating" };
    // What fails below removes the folder, so it must not be one that somebody put here.
    if (existsSync(this.#folder(row))) {
      throw new SkaldError("DB_EXISTS", `There is a folder ${row.folder} of no registered db.`, {
        hint: "It may be what is left of a db; move it away, or put service.sqlite back that knows it.",
      });
    }
    if (fill) this.#filled.add(dbId);
    try {
      this.#table.put(row);
      await this.#write(row, uid, fill);
    } finally {
      this.#filled.delete(dbId);
    }
    return true;
  }

  async #write(row: DbRow, uid: Uint8Array | undefined, fill?: (log: Log) => Promise<void>): Promise<void> {
    try {
      const options = { ...this.#storageOptions(), ...(uid ? { uid } : {}) };
      const storage = this.#files.createLog(this.#folder(row), row.dbId, options);
      if (fill) await this.#fill(row, storage, fill);
      else storage.close();
      this.#table.put({ ...row, state: "ready" });
    } catch (error) {
      // Once the list failed it may say "ready" when it is opened anew: then the folder must be there.
      if (!this.#table.failed) this.#tryRemove(row);
      throw error;
    }
  }

  async #fill(row: DbRow, storage: LogStorage, fill: (log: Log) => Promise<void>): Promise<void> {
    const opened: { close(): void }[] = [storage];
    let log: Log;
    try {
      const catalog = this.#files.openCatalog(this.#folder(row));
      opened.push(catalog);
      log = new Log(storage, catalog, { world: this.world, onError: this.#onError });
    } catch (error) {
      for (const file of opened) file.close();
      throw error;
    }
    try {
      await fill(log);
    } catch (error) {
      // What it failed with says more than what its closing does.
      await log.close().catch(() => {});
      throw error;
    }
    await log.close();
  }

  /**
   * Deletes a db and every file of it. Throws DB_NOT_FOUND, STORAGE_FULL, STORAGE_FAILED. One that broke off
   * half way leaves a db that is not found any more; deleting or making it again finishes that first.
   */
  async delete(dbId: string): Promise<void> {
    checkNotOwn(dbId);
    const known = this.#deleting.has(dbId) ? undefined : this.#table.get(checkDbId(dbId));
    const row = known?.state === "deleting" ? known : this.#row(dbId);
    this.#deleting.add(dbId);
    try {
      if (row.state === "ready") this.#table.put({ ...row, state: "deleting" });
      await this.#shut(dbId, () => this.#remove(row)).catch((error: unknown) => {
        if (this.#table.get(dbId)) throw error;
        // Only that its log, which is gone, did not close well.
        this.#onError(error);
      });
    } finally {
      // Once the list failed it may have forgotten the db when it is opened anew: see `#row`.
      if (!this.#table.failed) this.#deleting.delete(dbId);
    }
  }

  #remove(row: DbRow): void {
    const folder = this.#folder(row);
    named(folder, () => removeFolder(folder));
    this.#table.remove(row.dbId);
    for (const listener of this.#removed) listener(row.dbId);
  }

  /** What cannot be removed now is when the db is made again, or by the next start. */
  #tryRemove(row: DbRow): void {
    try {
      this.#remove(row);
    } catch (error) {
      this.#onError(error);
    }
  }

  /** Calls `listener` when a db and all that was remembered of it is gone, before one of its name can be made. */
  onRemoved(listener: (dbId: string) => void): void {
    this.#removed.add(listener);
  }

  has(dbId: string): boolean {
    return this.#table.get(dbId)?.state === "ready";
  }

  /** Where a db was cloned from. Throws DB_NOT_FOUND. */
  remoteOf(dbId: string): string | undefined {
    return this.#table.remote(this.#row(dbId).dbId);
  }

  setRemote(dbId: string, url: string): void {
    this.#table.putRemote(this.#row(dbId).dbId, url);
  }

  /** The named snapshots of the db of this id. Throws DB_NOT_FOUND. */
  snapshots(dbId: string): SnapshotsOf {
    const table = this.#table.snapshots;
    this.#row(dbId);
    return {
      get: (name) => table.get(dbId, name),
      page: (after, limit) => table.page(dbId, after, limit),
      count: () => table.count(dbId),
      add: (row) => table.add(dbId, row),
      remove: (name) => table.remove(dbId, name),
    };
  }

  /** How this server keeps a db. */
  settingsOf(dbId: string): TendingPolicy {
    const text = this.#table.setting(this.#row(dbId).dbId);
    return text === undefined
      ? DEFAULT_TENDING
      : { ...DEFAULT_TENDING, ...(JSON.parse(text) as Partial<TendingPolicy>) };
  }

  /** What is left out stays as it is. Throws DB_NOT_FOUND, STORAGE_FULL, STORAGE_FAILED. */
  setSettings(dbId: string, settings: Partial<TendingPolicy>): TendingPolicy {
    const value = { ...this.settingsOf(dbId), ...settings };
    this.#table.putSetting(dbId, JSON.stringify(value));
    this.#open.get(dbId)?.db.tend().catch(this.#onError);
    return value;
  }

  /**
   * What was erased of the db with this uid as far as this directory knows, also when that db is not here any more
   * or is an older copy: `applyErasures` takes it.
   */
  erasures(uid: Uint8Array): ErasureRow[] {
    return this.#table.erasures(uid);
  }

  /** Keeps what was erased elsewhere of the db with this uid, for a copy of it that is to come. */
  noteErasures(uid: Uint8Array, erased: readonly ErasureRow[]): void {
    this.#table.putErasures(uid, erased);
  }

  /** Dbs in id order after `after`. */
  list(after: string, limit: number): DbRow[] {
    return this.#table.page(after, limit);
  }

  /** Throws STORAGE_FULL (less than the reserve is free) or STORAGE_FAILED when no write can be taken. */
  checkWritable(): void {
    checkSpace(this.dir, 0, this.#reserve);
    this.#table.checkWritable();
  }

  stats(): { known: number; open: number } {
    // The audit log is the server's, and nobody's db.
    const own = this.#table.get(AUDIT_DB) ? 1 : 0;
    return { known: this.#table.count() - own, open: this.#open.size };
  }

  /**
   * Runs `work` with the db open; it stays open until `work` is done. Throws DB_NOT_FOUND, DB_MISSING
   * (the file is gone), DB_FOREIGN, DB_NEWER, DB_DAMAGED, UNAVAILABLE when the engine closes.
   */
  async use<T>(dbId: string, work: (db: Db) => T | Promise<T>): Promise<T> {
    const held = this.hold(dbId) ?? (await this.#holdSlowly(dbId));
    try {
      return await work(held.db);
    } catch (error) {
      this.#heal(dbId, error);
      throw error;
    } finally {
      held.release();
    }
  }

  /**
   * The same for whoever needs it longer than one call. Undefined when it must be waited for: then use `use`.
   * `leave` is called when somebody waits for the db to close: to delete it, to rebuild it, or at the end; or,
   * with the damage, to make anew what is derived.
   */
  hold(dbId: string, leave?: (damage?: SkaldError) => void): HeldDb | undefined {
    if (this.#closing.has(dbId)) return undefined;
    let open = this.#open.get(dbId);
    if (open) {
      this.#open.delete(dbId);
      this.#open.set(dbId, open);
    } else {
      // Whoever waited for a db to close would open it in a directory that is another's by then.
      if (this.#ending) throw new SkaldError("UNAVAILABLE", "The server is closing.");
      if (this.#open.size >= (this.#options.dbsInUse ?? LIMITS.db.inUse.value)) {
        throw new SkaldError("UNAVAILABLE", "Too many dbs are in use.");
      }
      // Held from the start, or making room might close it again.
      open = { db: this.#openDb(this.#row(dbId)), users: 1, guests: new Set() };
      this.#open.set(dbId, open);
      this.#makeRoom();
      open.users -= 1;
    }
    const held = open;
    held.users += 1;
    if (leave) held.guests.add(leave);
    let released = false;
    return {
      db: held.db,
      release: () => {
        if (released) return;
        released = true;
        if (leave) held.guests.delete(leave);
        held.users -= 1;
        if (held.users > 0) return;
        if (held.idle) held.idle();
        else this.#makeRoom();
      },
    };
  }

  async #holdSlowly(dbId: string): Promise<HeldDb> {
    for (;;) {
      // One that is being deleted need not be waited for.
      this.#row(dbId);
      await this.#closing.get(dbId);
      const held = this.hold(dbId);
      if (held) return held;
    }
  }

  /** Drops everything derived of a db and makes it anew from the log. */
  async rebuild(dbId: string, onProgress?: (seq: number, of: number) => void): Promise<void> {
    const row = this.#row(dbId);
    let dropped = false;
    await this.#shut(dbId, () => {
      forgetClosed(this.#folder(row));
      this.#dropFiles(row);
      dropped = true;
    }).catch((error: unknown) => {
      // What failed before its closing was told then; opening it anew is how it goes on.
      if (!dropped) throw error;
    });
    await this.use(dbId, (db) => db.projection.catchUp(onProgress));
  }

  /**
   * Puts the staged line of another server in the place of this one's, with this one's commits merged on top of it;
   * requests to the db wait meanwhile, and everything derived is made anew. `expected` must be the last staged
   * commit. A crash leaves the db as it was, or as it is after. Throws what `mergeLines` throws, and then nothing
   * was changed.
   */
  async merge(dbId: string, expected: Place, author: string): Promise<MergedLine> {
    checkNotOwn(dbId);
    const row = this.#row(dbId);
    let merged: MergedLine | undefined;
    await this.#shut(dbId, async () => {
      merged = await this.#merge(row, expected, author);
    });
    return merged as MergedLine;
  }

  async #merge(row: DbRow, expected: Place, author: string): Promise<MergedLine> {
    const folder = this.#folder(row);
    const storage = this.#files.openLog(folder, row.dbId, this.#storageOptions());
    try {
      const catalog = this.#files.openCatalog(folder);
      let merged: MergedLine;
      try {
        const log = new Log(storage, catalog, this.#logOptions());
        merged = await mergeLines(log, storage, expected, author);
      } finally {
        catalog.close();
      }
      // What is derived of the line that goes must not be met beside the one that comes.
      this.#dropFiles(row);
      await storage.adopt(merged.line);
      return merged;
    } finally {
      storage.close();
    }
  }

  /** Has a new key follow the one that commits are signed with. Throws what `Signing.rotate` throws. */
  rotateKey(): Promise<Rotated> {
    return this.signing.rotate({ names: () => this.#names(), use: (db, work) => this.use(db, work) });
  }

  *#names(): Generator<string> {
    for (let after = ""; ;) {
      const page = this.list(after, NAMES_PAGE);
      for (const { dbId } of page) yield dbId;
      const last = page.at(-1);
      if (!last) return;
      after = last.dbId;
    }
  }

  /** Where a db's files are. Throws DB_NOT_FOUND. */
  folderOf(dbId: string): string {
    return this.#folder(this.#row(dbId));
  }

  /** Lets what is under way finish, closes every db and gives the directory back. */
  async close(): Promise<void> {
    this.#ending = true;
    const failures: unknown[] = [];
    for (const ending of this.#fillings.keys()) ending.abort();
    // Without one the dbs are closing from here on, in the same turn.
    if (this.#fillings.size > 0) await Promise.all(this.#fillings.values());
    for (const dbId of this.#open.keys())
      await this.#shut(dbId).catch((error: unknown) => failures.push(error));
    for (const end of await Promise.allSettled(this.#closing.values()))
      if (end.status === "rejected") failures.push(end.reason);
    await this.documents.close().catch((error: unknown) => failures.push(error));
    this.#table.close();
    this.lock.release();
    if (failures.length > 0) throw failures[0];
  }

  #row(dbId: string): DbRow {
    const row = this.#table.get(checkDbId(dbId));
    // What is written to a db that the next start may remove must not be acknowledged.
    if (this.#table.failed && this.#deleting.has(dbId)) throw this.#table.failed;
    if (row?.state !== "ready")
      throw new SkaldError("DB_NOT_FOUND", `There is no db ${dbId}.`, { details: { db: dbId } });
    return row;
  }

  #folder(row: DbRow): string {
    return path.join(this.dir, "dbs", row.folder);
  }

  get #reserve(): number {
    return this.#options.reserve ?? DEFAULT_RESERVE;
  }

  #logOptions() {
    return { world: this.world, opened: this.#opened, signers: () => this.signing.signers };
  }

  #storageOptions() {
    return { world: this.world, reserve: this.#reserve };
  }

  #openDb(row: DbRow): Db {
    const folder = this.#folder(row);
    const storage: LogStorage = this.#files.openLog(folder, row.dbId, this.#storageOptions());
    try {
      try {
        return this.#assemble(row, storage);
      } catch (error) {
        if (!isDerivedDamage(error)) throw error;
        this.#dropDerived(row, error);
        return this.#assemble(row, storage);
      }
    } catch (error) {
      storage.close();
      throw error;
    }
  }

  #assemble(row: DbRow, storage: LogStorage): Db {
    const folder = this.#folder(row);
    const opened: { close(): void }[] = [];
    try {
      const catalog = this.#files.openCatalog(folder);
      opened.push(catalog);
      const views = this.#files.openViews(folder);
      opened.push(views);
      // Its head vouches for itself and is never ahead of what is durable.
      if (views.head() > storage.last()) throw commitsMissing(storage.last(), views.head(), "its projection");
      return new Db({
        storage,
        catalog,
        views,
        documents: this.documents,
        cache: this.#cache,
        onError: (error) => {
          this.#heal(row.dbId, error);
          this.#onError(error);
        },
        log: { ...this.#logOptions(), own: row.dbId === AUDIT_DB },
        packer: this.#options.packer ?? startPacker,
        tending: () => this.settingsOf(row.dbId),
        dropTables: () => dropTables(folder),
        onErased: (erased) => this.#table.putErasures(storage.identity.uid, erased),
      });
    } catch (error) {
      for (const file of opened) file.close();
      throw error;
    }
  }

  #dropFiles(row: DbRow): void {
    const folder = this.#folder(row);
    named(folder, () => {
      dropSqliteCatalog(folder);
      dropViews(folder);
      dropTables(folder);
    });
  }

  #dropDerived(row: DbRow, cause: SkaldError): void {
    this.#dropFiles(row);
    const message = `What is derived of ${row.dbId} is made anew: ${cause.message}`;
    this.#onError(new SkaldError("DERIVED_DAMAGED", message, { cause }));
  }

  /** Damage found while a db is in use: it is closed, and its next opening derives everything again. */
  #heal(dbId: string, error: unknown): void {
    const open = this.#open.get(dbId);
    if (!open || open.healing || !isDerivedDamage(error)) return;
    open.healing = true;
    const row = this.#row(dbId);
    this.#shut(dbId, () => this.#dropDerived(row, error), error).catch((failure: unknown) => {
      if (!isDerivedDamage(failure)) this.#onError(failure);
    });
  }

  #makeRoom(): void {
    const most = this.#options.openDbs ?? 64;
    for (const [dbId, open] of this.#open) {
      if (this.#open.size <= most) return;
      if (open.users === 0) this.#shut(dbId).catch(this.#onError);
    }
  }

  /** Closes a db once nobody uses it; `then` runs before anyone can open it again. */
  async #shut(dbId: string, then: () => void | Promise<void> = () => {}, damage?: SkaldError): Promise<void> {
    while (this.#closing.has(dbId)) await this.#closing.get(dbId);
    // No waiting from here on until it is listed as closing, or a second caller gets in between.
    const open = this.#open.get(dbId);
    this.#open.delete(dbId);
    const closed = (async () => {
      if (open) {
        if (open.users > 0) {
          await new Promise<void>((resolve) => {
            open.idle = resolve;
            for (const leave of open.guests) leave(damage);
          });
        }
      }
      try {
        await open?.db.close();
      } finally {
        await then();
      }
    })().finally(() => this.#closing.delete(dbId));
    this.#closing.set(
      dbId,
      closed.catch(() => {}),
    );
    await closed;
  }

  /** Ends what a crash left half done: neither step was ever acknowledged. */
  #finish(): void {
    for (const row of this.#table.unfinished()) this.#tryRemove(row);
  }
}

/** Author of what the server writes to its own dbs. */
const OWN_AUTHOR = "skald";

function reserved(dbId: string): SkaldError {
  return new SkaldError("NAME_INVALID", `The name ${dbId} starts with _, as the server's own dbs do.`);
}

/** Throws FORBIDDEN. */
function checkNotOwn(dbId: string): void {
  if (dbId === AUDIT_DB)
    throw new SkaldError("FORBIDDEN", `The db ${dbId} is the server's own and stays as it is.`);
}

/** Dbs listed at once. */
const NAMES_PAGE = 256;
export interface SnapshotsOf {
  get(name: string): SnapshotRow | undefined;
  /** In the order of their names. */
  page(after: string, limit: number): SnapshotRow[];
  count(): number;
  add(row: SnapshotRow): void;
  /** Whether there was one. */
  remove(name: string): boolean;
}

export interface HeldDb {
  readonly db: Db;
  /** Must be called once; the db may close after it. */
  release(): void;
}

interface OpenDb {
  readonly db: Db;
  users: number;
  /** What asks those to go who hold it for longer than one call. */
  readonly guests: Set<(damage?: SkaldError) => void>;
  /** Its derived files are about to be dropped. */
  healing?: boolean;
  /** Set by whoever waits for the last user to go. */
  idle?: () => void;
}
