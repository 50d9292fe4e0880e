import { closeSync, fsyncSync, mkdirSync, openSync, rmSync } from "node:fs";
import path from "node:path";

/**
 * Folders and names that a power cut neither takes away nor brings back. POSIX promises that of a name only
 * once the folder it is in was synced; a sync of what has the name does nothing for it.
 */

/** Makes a folder, and those above it that are missing, durably. */
export function makeFolder(folder: string): void {
  const at = path.resolve(folder);
  const first = mkdirSync(at, { recursive: true });
  if (first === undefined) {
    // It may have been made by a process that was killed before it came to syncing.
    try {
      syncFolder(path.dirname(at));
    } catch (error) {
      // Who may not read what it is in did not make it either.
      if ((error as NodeJS.ErrnoException).code !== "EACCES") throw error;
    }
    return;
  }
  syncFolder(path.dirname(at));
  for (let made = at; made.length > first.length; made = path.dirname(made)) {
    syncFolder(path.dirname(path.dirname(made)));
  }
}

/** Removes a folder with all that is in it, durably. */
export function removeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
  syncFolder(path.dirname(folder));
}

/** Makes the names in a folder durable as they are. One that is not there has none. */
export function syncFolder(folder: string): void {
  let handle: number;
  try {
    handle = openSync(folder, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
