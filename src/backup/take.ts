import { SkaldError, isSkaldError } from "../errors.ts";
import { realWorld, type World } from "../world.ts";
import { type BackupFolder } from "./folder.ts";
import type { Manifest } from "./manifest.ts";
import type { Source } from "./source.ts";
import { takeDb, type DbRun, type TakenDb } from "./take-db.ts";

/**
 * One run of a backup. A db is in it up to its head at the moment its turn came, which is after the start: so
 * everything acknowledged before is. What cannot be read, or is not what it should be, does not take the place of
 * what an earlier run has of it.
 */
export interface TakeOptions extends Omit<DbRun, "world"> {
  /** Dbs to back up; all when left out. What the folder has of others stays as it was. */
  readonly only?: readonly string[];
  readonly world?: World;
  /** The version of this program. */
  readonly skald: string;
  /** Told of what does not keep the backup from being made. */
  readonly onNote?: (text: string) => void;
}

export interface Taken {
  readonly manifest: Manifest;
  readonly dbs: readonly (TakenDb & { readonly db: string })[];
  /** Bytes written to the folder. */
  readonly bytes: number;
}

/** Bytes of the service file in one object: what did not change is there already. */
const SERVICE_BLOCK = 16 * 1024;
const SQLITE_HEAD = "SQLite format 3\0";

/** The newest manifest that reads. */
export function newestManifest(
  folder: BackupFolder,
  onNote: (text: string) => void = () => {},
): Manifest | undefined {
  for (const number of folder.numbers().reverse()) {
    try {
      return folder.manifest(number);
    } catch (error) {
      onNote(`${(error as Error).message} The one before it is gone on from.`);
    }
  }
  return undefined;
}

/** Throws STORAGE_FULL, STORAGE_FAILED, and what the server refuses or breaks off with. */
export async function takeBackup(
  source: Source,
  folder: BackupFolder,
  { world = realWorld, ...options }: TakeOptions,
): Promise<Taken> {
  const before = newestManifest(folder, options.onNote);
  const entries = new Map((before?.dbs ?? []).map((entry) => [entry.db, entry]));
  const failed: Manifest["failed"][number][] = [];
  const taken: (TakenDb & { db: string })[] = [];
  let bytes = 0;
  const names = options.only ?? (await allOf(source));
  if (!options.only) for (const name of entries.keys()) if (!names.includes(name)) entries.delete(name);
  for (const name of names) {
    try {
      const done = await takeDb(source, folder, name, entries.get(name), { ...options, world });
      taken.push({ db: name, ...done });
      bytes += done.bytes;
      entries.set(name, done.entry);
      if (done.failed) failed.push({ what: `${name} (subscriptions)`, ...done.failed });
    } catch (error) {
      const code = String((error as { code?: unknown }).code);
      // Deleted since it was listed; one that was asked for by its name should be there.
      if (code === "DB_NOT_FOUND" && !options.only) entries.delete(name);
      else if (OF_ONE_DB.has(code)) failed.push({ what: name, code, detail: (error as Error).message });
      else throw error;
    }
  }
  const service = await takeService(source, folder).catch((error: unknown) => {
    if (!before || !isSkaldError(error) || error.code !== "DB_DAMAGED") throw error;
    failed.push({ what: "service", code: error.code, detail: error.message });
    return { entry: before.service, bytes: 0 };
  });
  bytes += service.bytes;
  const manifest: Manifest = {
    format: "skald-backup",
    version: 1,
    number: (folder.numbers().at(-1) ?? 0) + 1,
    made: new Date(world.now()).toISOString(),
    skald: options.skald,
    service: service.entry,
    dbs: [...entries.values()].sort((a, b) => (a.db < b.db ? -1 : 1)),
    failed,
  };
  folder.putManifest(manifest);
  return { manifest, dbs: taken, bytes };
}

/** What is wrong with one db and says nothing of the others. */
const OF_ONE_DB: ReadonlySet<string> = new Set([
  "DB_NOT_FOUND",
  "DB_MISSING",
  "DB_DAMAGED",
  "DB_FOREIGN",
  "DB_NEWER",
  "DERIVED_DAMAGED",
]);

async function allOf(source: Source): Promise<string[]> {
  const names: string[] = [];
  for await (const name of source.dbs()) names.push(name);
  return names;
}

async function takeService(
  source: Source,
  folder: BackupFolder,
): Promise<{ entry: Manifest["service"]; bytes: number }> {
  const blocks: string[] = [];
  let [held, total, written] = [Buffer.alloc(0), 0, 0];
  let pages = 0;
  const put = (block: Buffer): void => {
    if (total === 0) pages = fileSize(block);
    const { hash, fresh } = folder.putObject(block);
    blocks.push(hash);
    total += block.length;
    if (fresh) written += block.length;
  };
  for await (const part of await source.service()) {
    held = Buffer.concat([held, part]);
    while (held.length >= SERVICE_BLOCK) {
      put(held.subarray(0, SERVICE_BLOCK));
      held = held.subarray(SERVICE_BLOCK);
    }
  }
  if (held.length > 0) put(held);
  if (total !== pages || total === 0)
    throw new SkaldError("UNAVAILABLE", `The service file came with ${total} bytes, not ${pages}.`);
  return { entry: { bytes: total, blocks }, bytes: written };
}

/** What the head of a SQLite file says of its size. */
function fileSize(block: Buffer): number {
  if (block.length < 100 || block.subarray(0, 16).toString("latin1") !== SQLITE_HEAD) return -1;
  const page = block.readUInt16BE(16);
  return (page === 1 ? 65536 : page) * block.readUInt32BE(28);
}
