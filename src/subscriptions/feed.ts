import type { Db } from "../db/db.ts";
import type { Commit, CommitEntry } from "../log/commit.ts";
import type { StoredCommit } from "../log/log.ts";
import { nextTurn } from "../world.ts";
import { erasedBy, isStub } from "../log/erased.ts";
import type { FeedDoc, FeedEvent, Include } from "./feed-event.ts";
import { addTexts } from "./feed-texts.ts";
import { commitTest, docTest, type DocTest, type FeedFilter } from "./feed-filter.ts";

export type { FeedDoc, FeedEvent, Include } from "./feed-event.ts";

/**
 * The change feed: the commits of a db in the order of their seq, as far as a filter lets them through.
 *
 * Invariants:
 * - A page starts right after `after` and names the seq up to which everything was looked at, so whoever
 *   goes on from there misses nothing and gets nothing twice, also when nothing matched.
 * - A commit wakes whoever follows and tells nothing else; everybody reads the log from their own place.
 * - A page is bounded in events, in bytes and in commits looked at, and no turn of the event loop takes
 *   longer than some milliseconds, except for the one that opens a bundle.
 */

export interface FeedOptions {
  /** The seq after which to begin. */
  readonly after: number;
  readonly filter?: FeedFilter;
  readonly include?: Include;
  /** Events of a page, at most. Default 1,000. */
  readonly limit?: number;
  /** Bytes of a page's events, roughly: one event at least, however large. Default 1 MiB. */
  readonly maxBytes?: number;
  /** Commits that a page looks at, at most. Default 16,384. */
  readonly maxCommits?: number;
}

export interface FeedPage {
  readonly events: readonly FeedEvent[];
  /** Everything up to this commit was looked at: where to go on. */
  readonly seq: number;
  /** Whether there were later commits when the page was read. */
  readonly more: boolean;
}

/** A turn of the event loop's share, in milliseconds, and how many commits are read between looks at the clock. */
const SLICE = 4;
const STEP = 32;

/** A page of the feed. Throws DB_DAMAGED and what else reading the log throws; stops early when `signal` says so. */
export async function readFeed(db: Db, options: FeedOptions, signal?: AbortSignal): Promise<FeedPage> {
  const {
    after,
    filter = {},
    include = "none",
    limit = 1000,
    maxBytes = 2 ** 20,
    maxCommits = 16_384,
  } = options;
  const { log } = db;
  const test = docTest(filter);
  const shows = commitTest(log, filter);
  const events: FeedEvent[] = [];
  const last = Math.min(log.head().seq, after + maxCommits);
  let seq = after;
  let bytes = 0;
  let began = log.world.monotonic();
  scan: while (seq < last && signal?.aborted !== true) {
    const some = commitsFrom(db, seq + 1, Math.min(STEP, last - seq), seq > after);
    if (some.length === 0) break;
    for (const stored of some) {
      const { commit } = stored;
      const event = shows?.(commit.branch, commit.seq) === false ? undefined : eventOf(stored, test, include);
      if (event) {
        const size = sizeOf(event, stored);
        if (events.length > 0 && bytes + size > maxBytes) break scan;
        bytes += size;
        events.push(event);
      }
      seq = stored.commit.seq;
      if (events.length >= limit) break scan;
    }
    if (log.world.monotonic() - began > SLICE) {
      await nextTurn(log.world);
      began = log.world.monotonic();
    }
  }
  if (include !== "json" && include !== "patch") return { events, seq, more: seq < log.head().seq };
  const { events: full, whole } = await addTexts(db, events, include, maxBytes, signal);
  // What no longer fits is read again with the next page.
  const end = whole ? seq : (full.at(-1)?.seq ?? after);
  return { events: full, seq: end, more: end < log.head().seq };
}

/** What is sound before a damaged commit is a page; the next one begins with what is not. */
function commitsFrom(db: Db, from: number, limit: number, hasSome: boolean): StoredCommit[] {
  try {
    return db.log.commits(from, limit);
  } catch (error) {
    // It may be of the last of them.
    if (limit > 1) return commitsFrom(db, from, 1, hasSome);
    if (!hasSome) throw error;
    return [];
  }
}

/**
 * Pages from `after` on for as long as `signal` lets it, waiting for commits at the head. Empty pages only
 * say how far it has got. Nothing committed between a page and the wait for the next one is missed.
 */
export async function* followFeed(
  db: Db,
  options: FeedOptions,
  signal: AbortSignal,
): AsyncGenerator<FeedPage, void, undefined> {
  let { after } = options;
  let wake = (): void => {};
  const ring = (): void => wake();
  const stop = db.log.onCommit(ring);
  signal.addEventListener("abort", ring);
  try {
    while (!signal.aborted) {
      if (db.log.head().seq <= after) {
        // Looked at and waited for in one turn: no commit comes in between.
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      const page = await readFeed(db, { ...options, after }, signal);
      after = page.seq;
      if (!isAborted(signal)) yield page;
    }
  } finally {
    stop();
    signal.removeEventListener("abort", ring);
  }
}

/** A second look, after waiting. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

/** The part of a commit that a reader sees; undefined when that is nothing. */
export function eventOf(
  stored: StoredCommit,
  test: DocTest | undefined,
  include: Include,
): FeedEvent | undefined {
  const { commit } = stored;
  const docs: FeedDoc[] = [];
  const erased = erasedBy(stored);
  let at = 0;
  for (const entry of commit.entries) {
    const from = at;
    at += entry.changes.length;
    if (!test || test(entry.doc))
      docs.push(
        docOf(
          entry,
          include === "changes" ? stored.blocks.slice(from, at) : undefined,
          erased.has(entry.doc),
        ),
      );
  }
  if (test && docs.length === 0) return undefined;
  const { seq, time, branch, author, message } = commit;
  return { seq, commit: stored.cid, time, branch, author, message, docs };
}

function docOf(entry: CommitEntry, changes: readonly Uint8Array[] | undefined, erased: boolean): FeedDoc {
  const { doc, heads, deleted, refused } = entry;
  const gone = changes?.some(isStub) === true;
  if (!deleted && !erased && !refused && !gone) return changes ? { doc, heads, changes } : { doc, heads };
  return {
    doc,
    heads,
    ...(deleted ? { deleted } : {}),
    ...(erased ? { erased } : {}),
    ...(refused ? { refused } : {}),
    ...(changes && !gone ? { changes } : {}),
    ...(gone ? { error: "ERASED" } : {}),
  };
}

/** What an event takes as JSON, roughly, without values and patches. */
function sizeOf(event: FeedEvent, stored: StoredCommit): number {
  let size = 260 + sizeOfNames(stored.commit);
  for (const { doc, heads, refused, changes } of event.docs) {
    size += 40 + doc.length + 67 * (heads.length + (refused?.length ?? 0));
    if (changes) for (const change of changes) size += 3 + Math.ceil((4 * change.length) / 3);
  }
  return size;
}

function sizeOfNames({ author, message }: Commit): number {
  return author.length + (message?.length ?? 0);
}
