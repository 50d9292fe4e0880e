import { statfsSync } from "node:fs";
import { SkaldError } from "../errors.ts";
import { named } from "./sqlite.ts";

/** Throws STORAGE_FULL unless `bytes` more leave `reserve` bytes of the disk free. */
export function checkSpace(folder: string, bytes: number, reserve: number): void {
  const { bavail, bsize } = named(folder, () => statfsSync(folder));
  const free = bavail * bsize;
  if (free >= reserve + bytes) return;
  throw new SkaldError("STORAGE_FULL", "The disk is full but for the reserve that Skald keeps.", {
    details: { free_bytes: free, reserve_bytes: reserve },
  });
}
