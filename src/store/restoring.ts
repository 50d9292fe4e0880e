import { existsSync } from "node:fs";
import path from "node:path";
import { SkaldError } from "../errors.ts";
import { SERVICE_FILE } from "./sqlite-registry.ts";

/** The folder in a data directory in which a restore puts everything together before it counts. */
export const RESTORING = "restoring";

/**
 * Throws RESTORE_UNFINISHED for a directory that a restore was filling when it ended. The service file takes its
 * place last: with it the directory is whole.
 */
export function checkRestored(dir: string): void {
  if (existsSync(path.join(dir, SERVICE_FILE)) || !existsSync(path.join(dir, RESTORING))) return;
  throw new SkaldError("RESTORE_UNFINISHED", `A restore into ${dir} did not come to its end.`, {
    details: { dir },
  });
}
