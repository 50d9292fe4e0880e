import * as z from "zod";
import { prefixesFor } from "../auth/policy.ts";
import { pointIn, resolveBranchPoint, type BranchPoint, type ComparedDoc } from "../db/compare.ts";
import type { Db } from "../db/db.ts";
import { isSkaldError, SkaldError } from "../errors.ts";
import { cidToString } from "../ids/cid.ts";
import { checkCollection } from "../ids/names.ts";
import { LIMITS } from "../limits.ts";
import { DbDiff } from "../protocol/wire.ts";
import { nameCursor, nameOfCursor, nextLink, pageQuery } from "./point.ts";
import type { Answer, Call, Route } from "./route.ts";

const { diffPointCharacters, prefixCharacters, valuesCharacters } = LIMITS.query;

const point = z.string().max(diffPointCharacters.value);

export const diffRoutes: readonly Route[] = [
  {
    method: "GET",
    path: "/db/:db/diff",
    summary: "Documents that differ between two points, with JSON patches",
    description:
      "A point is `branch@point`, `branch` (its head) or a point of `main`: a seq, a commit's address or an RFC 3339 time. All pages are of the points of the first.",
    tag: "documents",
    access: "doc.read",
    partial: true,
    query: z.strictObject({
      ...pageQuery,
      from: point,
      to: point.optional().meta({ description: "The head of `main` when left out." }),
      collection: z.string().optional(),
      prefix: z
        .string()
        .max(prefixCharacters.value)
        .optional()
        .meta({ description: "Start of the key; needs `collection`." }),
      patches: z.enum(["true", "false"]).optional().meta({ description: "`false` gives names alone." }),
    }),
    answers: { 200: { description: "A page.", types: { "application/json": DbDiff } } },
    handle: (call) => call.db((db) => diff(call, db)),
  },
];

/** Documents read at once: more would only wait in the workers' queues, where others wait too. */
const READS = 32;

async function diff(call: Call, db: Db): Promise<Answer> {
  const { limit, cursor, collection, prefix } = call.query as {
    limit: number;
    cursor?: string;
    collection?: string;
    prefix?: string;
  };
  if (prefix !== undefined && collection === undefined) {
    throw new SkaldError("BAD_REQUEST", "`prefix` is of a key, so it needs `collection`.");
  }
  const start = collection === undefined ? "" : `${checkCollection(collection)}/${prefix ?? ""}`;
  const place = cursor === undefined ? undefined : placeOf(cursor);
  const { from, to } = await pointsOf(call, db, place);
  const comparison = await db.comparisons.of(from, to);
  const seen = prefixesFor(call.principal, "doc.read", db.id);
  const docs = comparison.docs.filter(
    ({ doc }) =>
      doc.startsWith(start) &&
      (seen === "all" || (seen !== "none" && seen.some((own) => doc.startsWith(own)))),
  );
  const counts = { added: 0, changed: 0, deleted: 0 };
  for (const { change } of docs) counts[change] += 1;
  const rest = place === undefined ? docs : docs.filter(({ doc }) => doc > place.name);
  const page = rest.slice(0, limit);
  const texts = await textsOf(db, page, from, to, call.query["patches"] !== "false");
  const last = texts.length < rest.length ? page[texts.length - 1]?.doc : undefined;
  const next = last === undefined ? null : nameCursor("diff", `${textOf(from)} ${textOf(to)} ${last}`);
  const points = [from, to].map((at) => JSON.stringify(pointJson(db, at)));
  return {
    status: 200,
    headers: {
      "content-type": "application/json",
      ...nextLink(`/api/v1/db/${db.id}/diff`, call.query, next),
    },
    body:
      `{"from":${points[0]},"to":${points[1]},"counts":${JSON.stringify(counts)},` +
      `"docs":[${texts.join()}],"cursor":${JSON.stringify(next)}}`,
  };
}

/** All pages of one diff are of the points of its first. */
async function pointsOf(
  call: Call,
  db: Db,
  place: { from: string; to: string } | undefined,
): Promise<{ from: BranchPoint; to: BranchPoint }> {
  const { from, to = "main" } = place ?? (call.query as { from: string; to?: string });
  for (const text of [from, to]) await db.locate(pointIn(text));
  return { from: resolveBranchPoint(db.log, from), to: resolveBranchPoint(db.log, to) };
}

function textOf({ branch, seq }: BranchPoint): string {
  return `${branch}@${seq}`;
}

function placeOf(cursor: string): { from: string; to: string; name: string } {
  const [, from, to, name] = /^(\S+) (\S+) (.*)$/s.exec(nameOfCursor("diff", cursor)) ?? [];
  if (from === undefined || to === undefined || name === undefined)
    throw new SkaldError("CURSOR_INVALID", "The cursor is not one that a diff gave.");
  return { from, to, name };
}

function pointJson(db: Db, { branch, seq }: BranchPoint) {
  const at = db.log.seqOn(seq, branch);
  const cid = at === 0 ? undefined : db.log.commit(at)?.cid;
  return { branch, seq, commit: cid ? cidToString(cid) : null };
}

/** JSON of as many documents as fit into a page: one at least. */
async function textsOf(
  db: Db,
  page: readonly ComparedDoc[],
  from: BranchPoint,
  to: BranchPoint,
  patches: boolean,
): Promise<string[]> {
  const texts: string[] = [];
  const todo = page.entries();
  let size = 0;
  const reader = async (): Promise<void> => {
    for (const [i, compared] of todo) {
      const text = await textOfDoc(db, compared, from, to, patches);
      texts[i] = text;
      size += text.length;
      if (size > valuesCharacters.value) return;
    }
  };
  await Promise.all(Array.from({ length: Math.min(READS, page.length) }, reader));
  let total = 0;
  const most = Array.from(texts).findIndex(
    (text) => text === undefined || (total += text.length) > valuesCharacters.value,
  );
  return most < 0 ? texts : texts.slice(0, Math.max(1, most));
}

async function textOfDoc(
  db: Db,
  { doc, change }: ComparedDoc,
  from: BranchPoint,
  to: BranchPoint,
  patches: boolean,
): Promise<string> {
  const head = JSON.stringify({
    doc,
    change,
    from_heads: db.log.stateAt(doc, from.seq, from.branch)?.heads ?? [],
    to_heads: db.log.stateAt(doc, to.seq, to.branch)?.heads ?? [],
  });
  if (!patches) return head;
  return `${head.slice(0, -1)},${await patchText(db, doc, from, to)}}`;
}

/** One document that cannot be read must not keep the others of the page. */
async function patchText(db: Db, doc: string, from: BranchPoint, to: BranchPoint): Promise<string> {
  try {
    return `"patch":${await db.diffBetween(doc, from, to)}`;
  } catch (error) {
    if (
      isSkaldError(error) &&
      ["DOC_UNREADABLE", "ERASED", "WORK_TIMEOUT", "WORK_FAILED"].includes(error.code)
    )
      return `"error":${JSON.stringify(error.code)}`;
    throw error;
  }
}
