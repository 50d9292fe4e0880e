import * as z from "zod";
import type { Db } from "../db/db.ts";
import type { Call } from "./route.ts";
import { SkaldError } from "../errors.ts";
import { cidToString } from "../ids/cid.ts";
import { LIMITS } from "../limits.ts";
import { cursorAt, seqOfCursor } from "../subscriptions/cursor.ts";

const { pageItems, pointCharacters, cursorCharacters } = LIMITS.query;

/** Text that names a point or a branch. */
export const pointText = z.string().max(pointCharacters.value);

/** Query parameters of everything that reads at a point. */
export const pointQuery = {
  branch: pointText.optional().meta({ description: "A branch; `main` when left out." }),
  at: pointText
    .optional()
    .meta({ description: "A seq, a commit's address, or an RFC 3339 time; the head when left out." }),
};

export const pageQuery = {
  limit: z
    .string()
    .regex(/^\d{1,4}$/, "expected a whole number")
    .transform(Number)
    .pipe(z.int().min(1).max(pageItems.value))
    .default(100)
    .meta({ override: { type: "integer", minimum: 1, maximum: pageItems.value, default: 100 } }),
  cursor: z.string().max(cursorCharacters.value).optional(),
};

/** The branch a request names, in its query or its path. */
export function branchIn(call: Pick<Call, "query">): string | undefined {
  return call.query["branch"] as string | undefined;
}

/** The same as options of what takes one. */
export function onBranch(branch: string | undefined): { branch?: string } {
  return branch === undefined ? {} : { branch };
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

export { cursorAt, seqOfCursor };

/** A place in a list of names: which list, and the last name its owner has seen. */
export function nameCursor(list: string, name: string): string {
  return Buffer.from(`${list} ${name}`).toString("base64url");
}

/** Throws CURSOR_INVALID for a cursor of another list. */
export function nameOfCursor(list: string, cursor: string): string {
  const text = Buffer.from(cursor, "base64url").toString("utf8");
  if (!text.startsWith(`${list} `) || Buffer.from(text).toString("base64url") !== cursor) {
    throw new SkaldError("CURSOR_INVALID", "The cursor is not one that this list gave.");
  }
  return text.slice(list.length + 1);
}

export function nextLink(
  path: string,
  query: Readonly<Record<string, unknown>>,
  cursor: string | null,
): Record<string, string> {
  if (cursor === null) return {};
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && name !== "cursor") search.set(name, String(value as string | number));
  }
  search.set("cursor", cursor);
  return { link: `<${path}?${search.toString()}>; rel="next"` };
}

export function iso(ms: number): string {
  return new Date(ms).toISOString();
}
