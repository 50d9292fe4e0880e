import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { SkaldError } from "../errors.ts";
import { blake3, toHex } from "../ids/hash.ts";
import { lockDirectory } from "../store/dir-lock.ts";
import { makeFolder, syncFolder } from "../store/folder.ts";
import { RUN_AGAIN, inFolder } from "./disk.ts";
import { backupDamaged, decodeManifest, encodeManifest, type Manifest, type PackEntry } from "./manifest.ts";
import { PackWriter } from "./pack.ts";

/**
 * The folder that backups are in:
 *
 *   skald-backup                                    says what it is
 *   manifests/<number>.json                         one for each run that is kept
 *   packs/<uid>/<first>-<last>-<hash>.pack          commits of a db
 *   objects/<two digits>/<hash>                     blocks of the service file, subscriptions
 *
 * Files are written under another name, synced and renamed, and never changed; a manifest comes last. So whatever a
 * manifest names is whole, and what a run left that broke off is in nobody's way. Only its owner may read it: it has
 * all documents, and the secrets of the server.
 */
const MARK = "skald-backup";
const MARK_TEXT =
  "A backup that `skald backup` made. `skald backup list` shows what is in it. Keep it private.\n";
const YOUNG = ".part";
/** What may stand in a folder that nothing was written to yet. */
const LEFT_BY_LOCK = new Set(["lock.sqlite", "lock.sqlite-journal", "owner.json", `${MARK}${YOUNG}`]);

export class BackupFolder {
  readonly dir: string;

  private constructor(dir: string) {
    this.dir = dir;
  }

  /** Throws BACKUP_NOT_FOUND. */
  static open(dir: string): BackupFolder {
    if (!existsSync(path.join(dir, MARK)))
      throw new SkaldError("BACKUP_NOT_FOUND", `There is no backup in ${dir}.`);
    return new BackupFolder(dir);
  }

  /**
   * Takes the folder to write to it, and makes it when it is not there. Throws DIR_NOT_EMPTY (it holds something
   * else), DIR_IN_USE (another backup writes to it), STORAGE_FULL, STORAGE_FAILED.
   */
  static take(dir: string): BackupFolder & { release(): void } {
    return inFolder(dir, RUN_AGAIN, () => {
      const held = existsSync(dir) ? readdirSync(dir) : [];
      if (!held.includes(MARK) && held.some((name) => !LEFT_BY_LOCK.has(name)))
        throw new SkaldError("DIR_NOT_EMPTY", `The folder ${dir} holds something else than a backup.`);
      makeFolder(dir);
      keepPrivate(dir);
      const lock = lockDirectory(dir);
      try {
        const folder = new BackupFolder(dir);
        for (const name of ["manifests", "packs", "objects"]) makeFolder(path.join(dir, name));
        if (!held.includes(MARK)) folder.#put(MARK, Buffer.from(MARK_TEXT));
        folder.#sweep();
        return Object.assign(folder, { release: () => lock.release() });
      } catch (error) {
        lock.release();
        throw error;
      }
    });
  }

  /** The numbers of the manifests, oldest first. */
  numbers(): number[] {
    return readdirSync(path.join(this.dir, "manifests"))
      .flatMap((name) => (/^\d{6,}\.json$/.test(name) ? [Number.parseInt(name, 10)] : []))
      .sort((a, b) => a - b);
  }

  /** Throws BACKUP_NOT_FOUND, BACKUP_DAMAGED. */
  manifest(number: number): Manifest {
    const file = manifestName(number);
    const bytes = this.#read(file, "BACKUP_NOT_FOUND");
    const manifest = decodeManifest(bytes.toString("utf8"), file);
    if (manifest.number !== number) throw backupDamaged(file, `it is manifest ${manifest.number}`);
    return manifest;
  }

  /** Makes names in the folder durable, then the manifest that speaks of them. */
  putManifest(manifest: Manifest): void {
    this.#guarded(() => {
      for (const { uid } of manifest.dbs) syncFolder(path.join(this.dir, "packs", uid));
      const objects = path.join(this.dir, "objects");
      for (const name of readdirSync(objects)) syncFolder(path.join(objects, name));
      for (const name of ["packs", "objects"]) syncFolder(path.join(this.dir, name));
      const file = manifestName(manifest.number);
      this.#put(file, Buffer.from(encodeManifest(manifest)));
      syncFolder(path.join(this.dir, "manifests"));
    });
  }

  /** Keeps bytes under their hash, which it gives, and whether they were new. */
  putObject(bytes: Uint8Array): { readonly hash: string; readonly fresh: boolean } {
    const hash = toHex(blake3(bytes));
    const file = objectName(hash);
    if (this.#sizeOf(file) === bytes.length) return { hash, fresh: false };
    this.#guarded(() => {
      makeFolder(path.join(this.dir, path.dirname(file)));
      this.#put(file, bytes);
    });
    return { hash, fresh: true };
  }

  /** Throws BACKUP_DAMAGED. */
  object(hash: string): Buffer {
    const file = objectName(hash);
    const bytes = this.#read(file);
    if (toHex(blake3(bytes)) !== hash) throw backupDamaged(file, "it is not as it was written");
    return bytes;
  }

  async beginPack(uid: string, first: number): Promise<PackWriter> {
    const folder = path.join(this.dir, "packs", uid);
    this.#guarded(() => makeFolder(folder));
    const writer = await PackWriter.begin(
      path.join(folder, `${first}${YOUNG}`),
      Buffer.from(uid, "hex"),
      first,
    );
    return writer;
  }

  /** Gives a finished pack its name. */
  namePack(uid: string, writer: PackWriter, last: number, commit: string): PackEntry {
    return this.#guarded(() => {
      const { hash, bytes } = writer.finish();
      const entry = { hash, bytes, first: writer.first, last, up_to: last, commit };
      renameSync(writer.file, path.join(this.dir, packName(uid, entry)));
      return entry;
    });
  }

  /** Whether a pack is there, as far as its size tells. */
  hasPack(uid: string, entry: PackEntry): boolean {
    return this.#sizeOf(packName(uid, entry)) === entry.bytes;
  }

  packFile(uid: string, entry: PackEntry): string {
    return path.join(this.dir, packName(uid, entry));
  }

  /** Packs of a db that begin with commit `first`. Their hashes are what their names say. */
  packsFrom(uid: string, first: number): PackEntry[] {
    const folder = path.join(this.dir, "packs", uid);
    if (!existsSync(folder)) return [];
    return readdirSync(folder).flatMap((name) => {
      const parts = PACK.exec(name);
      if (!parts || Number(parts[1]) !== first) return [];
      const last = Number(parts[2]);
      const bytes = statSync(path.join(folder, name)).size;
      return [{ hash: parts[3] as string, bytes, first, last, up_to: last, commit: "" }];
    });
  }

  /**
   * Removes all manifests but the newest `keep`, and every file that no manifest names. Refuses with BACKUP_DAMAGED
   * when a manifest does not read: nobody knows what it needs.
   */
  prune(keep = Infinity): { readonly manifests: number; readonly files: number; readonly bytes: number } {
    const numbers = this.numbers();
    const kept = numbers.slice(Math.max(0, numbers.length - keep));
    const named = new Set<string>();
    for (const number of kept) {
      const { dbs, files } = this.manifest(number);
      for (const { uid, packs, subscriptions } of dbs) {
        for (const entry of packs) named.add(packName(uid, entry));
        if (subscriptions !== null) named.add(objectName(subscriptions));
      }
      for (const { blocks } of files) for (const hash of blocks) named.add(objectName(hash));
    }
    return this.#guarded(() => {
      const gone = numbers.length - kept.length;
      for (const number of numbers.slice(0, gone)) rmSync(path.join(this.dir, manifestName(number)));
      // What they named goes only when nothing brings them back.
      syncFolder(path.join(this.dir, "manifests"));
      let [files, bytes] = [0, 0];
      for (const top of ["packs", "objects"]) {
        for (const inner of readdirSync(path.join(this.dir, top))) {
          for (const name of readdirSync(path.join(this.dir, top, inner))) {
            const file = `${top}/${inner}/${name}`;
            if (named.has(file)) continue;
            bytes += this.#sizeOf(file) ?? 0;
            files += 1;
            rmSync(path.join(this.dir, file));
          }
        }
      }
      return { manifests: gone, files, bytes };
    });
  }

  /** What a run left unfinished that was killed. */
  #sweep(): void {
    for (const name of readdirSync(this.dir, { recursive: true }) as string[])
      if (name.endsWith(YOUNG)) rmSync(path.join(this.dir, name), { force: true });
  }

  #put(name: string, bytes: Uint8Array): void {
    const file = path.join(this.dir, name);
    const young = `${file}${YOUNG}`;
    const handle = openSync(young, "w", 0o600);
    try {
      for (let at = 0; at < bytes.length;) at += writeSync(handle, bytes, at);
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
    renameSync(young, file);
  }

  #read(name: string, missing: "BACKUP_NOT_FOUND" | "BACKUP_DAMAGED" = "BACKUP_DAMAGED"): Buffer {
    try {
      return readFileSync(path.join(this.dir, name));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const what = code === "ENOENT" ? "it is missing" : (error as Error).message;
      if (code === "ENOENT" && missing === "BACKUP_NOT_FOUND")
        throw new SkaldError("BACKUP_NOT_FOUND", `There is no ${name} in ${this.dir}.`);
      throw backupDamaged(name, what);
    }
  }

  #sizeOf(name: string): number | undefined {
    return statSync(path.join(this.dir, name), { throwIfNoEntry: false })?.size;
  }

  #guarded<T>(work: () => T): T {
    return inFolder(this.dir, RUN_AGAIN, work);
  }
}

const PACK = /^(\d+)-(\d+)-([0-9a-f]{64})\.pack$/;

export function manifestName(number: number): string {
  return `manifests/${String(number).padStart(6, "0")}.json`;
}

export function objectName(hash: string): string {
  return `objects/${hash.slice(0, 2)}/${hash}`;
}

export function packName(uid: string, { first, last, hash }: PackEntry): string {
  return `packs/${uid}/${first}-${last}-${hash}.pack`;
}

/** As far as the file system knows of owners. */
function keepPrivate(dir: string): void {
  try {
    chmodSync(dir, 0o700);
  } catch (error) {
    if (!["EPERM", "ENOTSUP", "ENOSYS"].includes(String((error as NodeJS.ErrnoException).code))) throw error;
  }
}
