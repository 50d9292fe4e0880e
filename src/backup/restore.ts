import { closeSync, existsSync, fsyncSync, openSync, readdirSync, renameSync, writeSync } from "node:fs";
import path from "node:path";
import { Tokens } from "../auth/tokens.ts";
import { SkaldError } from "../errors.ts";
import { cidToString } from "../ids/cid.ts";
import { FIRST_EPOCH } from "../ids/cursor.ts";
import { fromHex } from "../ids/hash.ts";
import { dbFolder } from "../ids/names.ts";
import { verifyLog } from "../log/verify.ts";
import type { LogStorage, StoredRecord } from "../store/contract.ts";
import { lockDirectory } from "../store/dir-lock.ts";
import { makeFolder, removeFolder, syncFolder } from "../store/folder.ts";
import { RESTORING } from "../store/restoring.ts";
import { createSqliteLog } from "../store/sqlite-log.ts";
import { DbTable, SERVICE_FILE } from "../store/sqlite-registry.ts";
import { openSqliteSubscriptions } from "../store/sqlite-subscriptions.ts";
import { nextTurn, realWorld, type World } from "../world.ts";
import { readForLog, readServerFile } from "./contents.ts";
import { RESTORE_AGAIN, inFolder } from "./disk.ts";
import { eraseAgain, type ErasedAgain } from "./erased-since.ts";
import { manifestName, objectName, type BackupFolder } from "./folder.ts";
import { backupDamaged, type DbEntry, type Manifest } from "./manifest.ts";
import { SERVER_FILES } from "./server-files.ts";
import { decodeSubscriptions } from "./subscription-rows.ts";

/**
 * A data directory from a backup. Everything is put together and checked beside its place, in a folder of its own;
 * then the dbs take theirs, and last the service file, without which no server starts on the directory. So it is
 * all there or nothing is, whatever moment it breaks off at.
 *
 * A restored db begins a life, since what the server wrote after the backup is gone: cursors of that are told.
 * It gets an actor of its own, since the server it comes from may still write somewhere.
 */
export interface RestoreOptions {
  /** The manifest; the newest when left out. */
  readonly number?: number;
  /** Dbs to restore; all when left out. */
  readonly only?: readonly string[];
  /** Bytes of disk that must stay free. */
  readonly reserve?: number;
  readonly world?: World;
  readonly onProgress?: (progress: RestoreProgress) => void;
}

type Run = RestoreOptions & { readonly world: World };

export interface RestoreProgress {
  readonly db: string;
  readonly commits: number;
  readonly of: number;
}

export interface RestoredDb {
  readonly db: string;
  readonly uid: string;
  readonly seq: number;
  readonly commit: string | null;
  readonly epoch: number;
  readonly subscriptions: number;
  /** Documents that were erased since the backup, and are again: by a commit on top of those of the backup. */
  readonly erased: number;
}

export interface Restored {
  readonly manifest: Manifest;
  readonly dbs: readonly RestoredDb[];
}

/** Records and bytes of one append. */
const BATCH_RECORDS = 4096;
const BATCH_BYTES = 4 * 1024 * 1024;

/**
 * Throws BACKUP_NOT_FOUND, BACKUP_DAMAGED (with file and seq), DIR_NOT_EMPTY, DIR_IN_USE, DB_NOT_FOUND (one of
 * `only` is not in the backup), STORAGE_FULL, STORAGE_FAILED. Then nothing was put in place.
 */
export async function restoreBackup(
  folder: BackupFolder,
  into: string,
  { world = realWorld, ...rest }: RestoreOptions,
): Promise<Restored> {
  const options = { ...rest, world };
  const number = options.number ?? folder.numbers().at(-1);
  if (number === undefined)
    throw new SkaldError("BACKUP_NOT_FOUND", `No backup in ${folder.dir} came to its end.`);
  const manifest = folder.manifest(number);
  const entries = chosen(manifest, options.only);
  checkEmpty(into);
  const lock = inFolder(into, RESTORE_AGAIN, () => lockDirectory(into));
  const staging = path.join(into, RESTORING);
  try {
    checkEmpty(into);
    inFolder(into, RESTORE_AGAIN, () => {
      clear(into);
      makeFolder(path.join(staging, "dbs"));
    });
    const dbs: Omit<RestoredDb, "erased">[] = [];
    for (const entry of entries) dbs.push(await restoreDb(folder, staging, entry, options));
    restoreFiles(folder, staging, manifest, entries);
    const erased = await eraseAgain(folder, staging, entries, world);
    inFolder(into, RESTORE_AGAIN, () => publish(into, staging));
    return { manifest, dbs: dbs.map((db) => ({ ...db, erased: 0, ...withErased(erased.get(db.db)) })) };
  } catch (error) {
    if (!existsSync(path.join(into, SERVICE_FILE))) inFolder(into, RESTORE_AGAIN, () => clear(into));
    throw error;
  } finally {
    lock.release();
  }
}

function withErased(again: ErasedAgain | undefined): Partial<RestoredDb> {
  return again ? { seq: again.seq, commit: again.commit, erased: again.documents } : {};
}

function chosen({ dbs, number }: Manifest, only: readonly string[] | undefined): readonly DbEntry[] {
  const missing = only?.find((name) => !dbs.some(({ db }) => db === name));
  if (missing !== undefined)
    throw new SkaldError("DB_NOT_FOUND", `Backup ${number} has no db ${missing}.`, {
      details: { db: missing },
      hint: "`skald backup list` shows what is in it.",
    });
  return only ? dbs.filter(({ db }) => only.includes(db)) : dbs;
}

/** What a restore that broke off leaves, and the lock, are nothing. Throws DIR_NOT_EMPTY. */
function checkEmpty(into: string): void {
  if (!existsSync(into)) return;
  const held = inFolder(into, RESTORE_AGAIN, () => readdirSync(into));
  const own = new Set(["lock.sqlite", "lock.sqlite-journal", "owner.json", "lost+found"]);
  if (held.includes(RESTORING) && !held.includes(SERVICE_FILE))
    for (const name of [RESTORING, ...PUT_IN_PLACE]) own.add(name);
  const other = held.find((name) => !own.has(name));
  if (other !== undefined)
    throw new SkaldError("DIR_NOT_EMPTY", `A restore needs an empty directory: ${into} holds ${other}.`, {
      hint: "Give --into another path. What is there was not touched.",
    });
}

/** What takes its place before the service file does. */
const PUT_IN_PLACE: readonly string[] = ["dbs", ...SERVER_FILES.filter((name) => name !== SERVICE_FILE)];

function clear(into: string): void {
  for (const name of [...PUT_IN_PLACE, RESTORING])
    if (existsSync(path.join(into, name))) removeFolder(path.join(into, name));
}

/** Each step is durable before the next one. */
function publish(into: string, staging: string): void {
  syncFolder(path.join(staging, "dbs"));
  syncFolder(staging);
  const others = SERVER_FILES.filter((name) => name !== SERVICE_FILE && existsSync(path.join(staging, name)));
  for (const name of ["dbs", ...others, SERVICE_FILE]) {
    renameSync(path.join(staging, name), path.join(into, name));
    syncFolder(staging);
    syncFolder(into);
  }
  removeFolder(staging);
}

async function restoreDb(
  folder: BackupFolder,
  staging: string,
  entry: DbEntry,
  options: Run,
): Promise<Omit<RestoredDb, "erased">> {
  const { db, seq, commit, uid, created, subscriptions } = entry;
  const at = path.join(staging, "dbs", dbFolder(db));
  const lives = [...entry.lives, newLife(entry, options.world)];
  const storage = createSqliteLog(at, db, {
    uid: fromHex(uid),
    restored: { created, lives },
    world: options.world,
    ...(options.reserve === undefined ? {} : { reserve: options.reserve }),
  });
  try {
    await fill(storage, folder, entry, options);
    await check(storage, entry, options.world);
    storage.tidy();
  } finally {
    storage.close();
  }
  const rows =
    subscriptions === null
      ? []
      : decodeSubscriptions(folder.object(subscriptions), objectName(subscriptions));
  if (rows.length > 0) {
    const table = openSqliteSubscriptions(at, fromHex(uid), { create: true });
    table?.write(rows, []);
    table?.close();
  }
  return { db, uid, seq, commit, epoch: lives.at(-1)?.epoch ?? FIRST_EPOCH, subscriptions: rows.length };
}

/**
 * The life that the restored db is in. Two restores of one backup go on in two ways, so each has a number that the
 * other does not draw: the seconds, and 16 random bits behind them.
 */
function newLife({ lives, seq }: DbEntry, world: World): { epoch: number; after: number } {
  const [high = 0, low = 0] = world.random(2);
  const drawn = Math.max(0, Math.floor(world.now() / 1000)) * 65_536 + high * 256 + low;
  return { epoch: Math.max((lives.at(-1)?.epoch ?? FIRST_EPOCH) + 1, drawn), after: seq };
}

async function fill(
  storage: LogStorage,
  folder: BackupFolder,
  entry: DbEntry,
  { onProgress, world }: Run,
): Promise<void> {
  let batch: StoredRecord[] = [];
  let bytes = 0;
  const write = async (): Promise<void> => {
    await storage.append(batch);
    onProgress?.({ db: entry.db, commits: storage.last(), of: entry.seq });
    [batch, bytes] = [[], 0];
    await nextTurn(world);
  };
  for await (const line of readForLog(folder, entry)) {
    batch.push(line);
    bytes += line.body.length;
    if (batch.length >= BATCH_RECORDS || bytes >= BATCH_BYTES) await write();
  }
  if (batch.length > 0) await write();
}

/** What `skald verify` checks of a log, over what is on the disk now. */
async function check(storage: LogStorage, { db, seq, commit }: DbEntry, world: World): Promise<void> {
  const steps = verifyLog(storage);
  let step = steps.next();
  while (!step.done) {
    await nextTurn(world);
    step = steps.next();
  }
  const { findings, head, checked } = step.value;
  const [first] = findings;
  if (first)
    throw new SkaldError(
      "BACKUP_DAMAGED",
      `The log of ${db} does not verify: ${first.what}, ${first.where}.`,
      {
        details: { db, findings },
      },
    );
  if (checked !== seq || (head ? cidToString(head) : null) !== commit)
    throw backupDamaged(db, `it ends at commit ${checked}, not ${seq}`);
}

/** The service file knows the dbs that are restored, and no other. */
function restoreFiles(
  folder: BackupFolder,
  staging: string,
  manifest: Manifest,
  entries: readonly DbEntry[],
): void {
  for (const entry of manifest.files) {
    const file = path.join(staging, entry.name);
    inFolder(staging, RESTORE_AGAIN, () => {
      const handle = openSync(file, "wx", 0o600);
      try {
        for (const block of readServerFile(folder, entry))
          for (let at = 0; at < block.length;) at += writeSync(handle, block, at);
        fsyncSync(handle);
      } finally {
        closeSync(handle);
      }
    });
  }
  const table = new DbTable(staging);
  try {
    table.restore(
      entries.map(({ db, created }) => ({
        dbId: db,
        folder: dbFolder(db),
        created,
        state: "ready" as const,
      })),
    );
    // The service file is a little younger than the logs, and may be much younger than one of an earlier backup.
    for (const { db, seq } of entries) table.snapshots.removeAfter(db, seq);
  } finally {
    table.close();
  }
  const tokens = new Tokens(path.join(staging, SERVICE_FILE));
  try {
    tokens.audit({ principal: "local", action: "restore", detail: manifestName(manifest.number) });
  } finally {
    tokens.close();
  }
}
