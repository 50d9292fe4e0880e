import { writeFileSync } from "node:fs";
import path from "node:path";
import { cidToString } from "../ids/cid.ts";
import { fromHex } from "../ids/hash.ts";
import { Engine } from "../db/engine.ts";
import { applyErasures } from "../db/erasure.ts";
import { makeFolder, removeFolder } from "../store/folder.ts";
import { DbTable, SERVICE_FILE, type ErasureRow } from "../store/sqlite-registry.ts";
import type { World } from "../world.ts";
import { readServerFile } from "./contents.ts";
import type { BackupFolder } from "./folder.ts";
import type { DbEntry } from "./manifest.ts";

/** Where a db stands once what was erased of it is erased again. */
export interface ErasedAgain {
  readonly seq: number;
  readonly commit: string | null;
  readonly documents: number;
}

/**
 * Erases in a directory that is being restored what the newest backup in the folder knows to be erased: an older one
 * still has the bytes. By name of the db; dbs of which nothing was erased since are left as they are. Throws
 * BACKUP_DAMAGED, STORAGE_FULL, STORAGE_FAILED.
 */
export async function eraseAgain(
  folder: BackupFolder,
  dir: string,
  entries: readonly DbEntry[],
  world: World,
): Promise<ReadonlyMap<string, ErasedAgain>> {
  const known = newestErasures(folder, path.join(dir, "newest"), entries);
  const done = new Map<string, ErasedAgain>();
  if (known.size === 0) return done;
  const engine = new Engine({ dir, world });
  try {
    for (const { db, uid } of entries) {
      const rows = known.get(db) ?? [];
      if (rows.length === 0) continue;
      engine.noteErasures(fromHex(uid), rows);
      await engine.use(db, async (held) => {
        const documents = await applyErasures(held, rows);
        const { seq, cid } = held.log.head();
        if (documents > 0) done.set(db, { seq, commit: cid ? cidToString(cid) : null, documents });
      });
    }
  } finally {
    await engine.close();
  }
  return done;
}

/** `scratch` is a folder to make and remove. */
function newestErasures(
  folder: BackupFolder,
  scratch: string,
  entries: readonly DbEntry[],
): ReadonlyMap<string, readonly ErasureRow[]> {
  const known = new Map<string, readonly ErasureRow[]>();
  const number = folder.numbers().at(-1);
  const file =
    number === undefined
      ? undefined
      : folder.manifest(number).files.find(({ name }) => name === SERVICE_FILE);
  if (!file) return known;
  makeFolder(scratch);
  try {
    writeFileSync(path.join(scratch, SERVICE_FILE), Buffer.concat([...readServerFile(folder, file)]), {
      mode: 0o600,
    });
    const table = new DbTable(scratch);
    try {
      for (const { db, uid } of entries) {
        const rows = table.erasures(fromHex(uid));
        if (rows.length > 0) known.set(db, rows);
      }
    } finally {
      table.close();
    }
  } finally {
    removeFolder(scratch);
  }
  return known;
}
