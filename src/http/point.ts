import * as z from "zod";
import type { Db } from "../db/db.ts";
import { SkaldError } from "../errors.ts";
import { cidToString } from "../ids/cid.ts";
import { FIRST_EPOCH, encodeCursor } from "../ids/cursor.ts";

/** Query parameters of everything that reads at a point. */
export const pointQuery = {
  branch: z.string().max(128).optional().meta({ description: "Branch; only `main` in this version." }),
  at: z
    .string()
    .max(128)
    .optional()
    .meta({ description: "A seq, a commit's address, or an RFC 3339 time; the head when left out." }),
};

export const pageQuery = {
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  cursor: z.string().max(2048).optional(),
};

/** Throws BRANCH_NOT_FOUND for any branch but main. */
export function checkBranchIsMain(branch: unknown): void {
  if (branch !== undefined && branch !== "main") {
    throw new SkaldError("BRANCH_NOT_FOUND", `There is no branch ${String(branch)}.`);
  }
}

/** The point an answer holds for, so that a reader can go on from exactly there. */
export function pointHeaders(db: Db, seq: number): Record<string, string> {
  const cid = seq > 0 ? (seq === db.log.head().seq ? db.log.head().cid : db.log.commit(seq)?.cid) : undefined;
  return {
    "skald-seq": String(seq),
    ...(cid ? { "skald-commit": cidToString(cid) } : {}),
    "skald-cursor": cursorAt(db, seq),
  };
}

export function cursorAt(db: Db, seq: number): string {
  return encodeCursor(db.log.identity.uid, { epoch: FIRST_EPOCH, seq });
}

export function nextLink(
  path: string,
  query: Readonly<Record<string, unknown>>,
  cursor: string | null,
): Record<string, string> {
  if (cursor === null) return {};
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && name !== "cursor") search.set(name, String(value));
  }
  search.set("cursor", cursor);
  return { link: `<${path}?${search.toString()}>; rel="next"` };
}

export function iso(ms: number): string {
  return new Date(ms).toISOString();
}
