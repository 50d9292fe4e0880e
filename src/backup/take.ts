import { SkaldError, isSkaldError } from "../errors.ts";
import { readFrames } from "../replication/frames.ts";
import { realWorld, type World } from "../world.ts";
import { type BackupFolder } from "./folder.ts";
import { noteError, readNote } from "./frames.ts";
import type { FileEntry, Manifest } from "./manifest.ts";
import { SERVER_FILES } from "./server-files.ts";
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

/** Bytes of the server's files in one object: what did not change is there already. */
const BLOCK = 16 * 1024;

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
  const server = await takeFiles(source, folder).catch((error: unknown) => {
    if (!before || !isSkaldError(error) || error.code !== "DB_DAMAGED") throw error;
    failed.push({ what: "the server's own files", code: error.code, detail: error.message });
    return { files: before.files, bytes: 0 };
  });
  bytes += server.bytes;
  const manifest: Manifest = {
    format: "skald-backup",
    version: 1,
    number: (folder.numbers().at(-1) ?? 0) + 1,
    made: new Date(world.now()).toISOString(),
    skald: options.skald,
    files: server.files,
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

/** The files of the server, in blocks. */
async function takeFiles(
  source: Source,
  folder: BackupFolder,
): Promise<{ files: FileEntry[]; bytes: number }> {
  const files: FileEntry[] = [];
  let [held, missing, written] = [Buffer.alloc(0), 0, 0];
  const put = (block: Uint8Array): void => {
    const { hash, fresh } = folder.putObject(block);
    files.at(-1)?.blocks.push(hash);
    if (fresh) written += block.length;
  };
  for await (const item of readFrames(await source.files())) {
    const part = item as Uint8Array;
    if (missing === 0) {
      const note = readNote(part);
      if (note && "error" in note) throw noteError(note.error);
      if (note && "done" in note) {
        if (note.done !== files.length || files.length === 0) break;
        return { files, bytes: written };
      }
      if (!note || !("file" in note)) break;
      const { name, bytes } = note.file;
      const known = SERVER_FILES.find((own) => own === name);
      if (known === undefined)
        throw new SkaldError("BAD_REQUEST", `The server has a file ${name} that this version does not know.`);
      files.push({ name: known, bytes, blocks: [] });
      missing = bytes;
      continue;
    }
    if (part.length > missing) break;
    missing -= part.length;
    held = Buffer.concat([held, part]);
    while (held.length >= BLOCK || (missing === 0 && held.length > 0)) {
      put(held.subarray(0, BLOCK));
      held = held.subarray(BLOCK);
    }
  }
  throw Object.assign(new Error("The answer with the server's files broke off."), { code: "UNREACHABLE" });
}
