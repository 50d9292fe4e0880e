import type { Db } from "../db/db.ts";
import { isSkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { pause } from "../world.ts";
import type { FeedDoc, FeedEvent } from "./feed-event.ts";

/** Documents read at once: more would only wait in the workers' queues, where others wait too. */
const READS = 16;
const BUSY_PAUSE = 25;

/** What says something of one document and nothing of the feed: it stands in the document's place. */
const OF_THE_DOCUMENT: ReadonlySet<string> = new Set([
  "DOC_NOT_FOUND",
  // Of a branch that was deleted since.
  "BRANCH_NOT_FOUND",
  "POINT_OTHER_BRANCH",
  "DOC_UNREADABLE",
  "DOC_TOO_LARGE",
  "ERASED",
  "WORK_TIMEOUT",
  "WORK_FAILED",
]);

/**
 * Events with the value or the patch of each document, as many of them as fit into `maxBytes`: one at least.
 * `whole` when that is all of them. Throws what concerns more than one document.
 */
export async function addTexts(
  db: Db,
  events: readonly FeedEvent[],
  include: "json" | "patch",
  maxBytes: number,
  signal?: AbortSignal,
): Promise<{ events: readonly FeedEvent[]; whole: boolean }> {
  const full: FeedEvent[] = [];
  let bytes = 0;
  // A few at a time, so that what does not fit was not all read in vain.
  for (let at = 0; at < events.length;) {
    const some: FeedEvent[] = [];
    let docs = 0;
    while (at + some.length < events.length && (docs < READS || some.length === 0)) {
      const event = events[at + some.length] as FeedEvent;
      some.push(event);
      docs += event.docs.length;
    }
    if (signal?.aborted === true) return { events: full, whole: false };
    for (const event of await withTexts(db, some, include)) {
      bytes += event.docs.reduce((sum, { json, patch }) => sum + (json ?? patch ?? "").length, 0);
      if (full.length > 0 && bytes > maxBytes) return { events: full, whole: false };
      full.push(event);
    }
    at += some.length;
  }
  return { events: full, whole: true };
}

async function withTexts(
  db: Db,
  events: readonly FeedEvent[],
  include: "json" | "patch",
): Promise<FeedEvent[]> {
  const texts: FeedDoc[][] = events.map(() => []);
  const todo = events
    .flatMap((event, i) => event.docs.map((doc, j) => ({ event, doc, to: texts[i] as FeedDoc[], j })))
    .values();
  const sizes = new Map<FeedEvent, number>();
  const reader = async (): Promise<void> => {
    for (const { event, doc, to, j } of todo) {
      const size = sizes.get(event) ?? 0;
      // A commit may name a thousand documents, each of megabytes: their reader asks for the rest one by one.
      const full: FeedDoc =
        size > LIMITS.query.valuesCharacters.value
          ? { ...doc, error: "TOO_LARGE" }
          : await withText(db, event, doc, include);
      to[j] = full;
      sizes.set(event, (sizes.get(event) ?? 0) + (full.json ?? full.patch ?? "").length);
    }
  };
  await Promise.all(Array.from({ length: READS }, reader));
  return events.map((event, i) => ({ ...event, docs: texts[i] as FeedDoc[] }));
}

async function withText(
  db: Db,
  { branch, seq }: FeedEvent,
  doc: FeedDoc,
  include: "json" | "patch",
): Promise<FeedDoc> {
  for (;;) {
    try {
      if (include === "patch") {
        const before = db.log.seqOn(seq - 1, branch);
        const { patch } = await db.diff(doc.doc, String(before), String(seq), branch);
        return { ...doc, patch };
      }
      if (doc.deleted) return doc;
      const { json } = await db.read(doc.doc, { at: String(seq), branch });
      return { ...doc, json };
    } catch (error) {
      const code = isSkaldError(error) ? error.code : undefined;
      if (code !== undefined && OF_THE_DOCUMENT.has(code)) return { ...doc, error: code };
      // Others have the workers: the feed waits for its turn.
      if (code !== "WORK_BUSY") throw error;
      await pause(db.log.world, BUSY_PAUSE);
    }
  }
}
