import type { Db } from "../db/db.ts";
import { CommitScan } from "../log/log.ts";
import { nextTurn } from "../world.ts";
import { readFeed, type FeedOptions, type Include } from "./feed.ts";
import type { FeedEncoder } from "./feed-encoder.ts";
import { commitTest, docTest, type FeedFilter } from "./feed-filter.ts";

/** What a feed sends, in the words of its request. */
export interface FeedWish {
  readonly filter: FeedFilter;
  readonly include: Include;
}

/** Encoded events of commits (`from`, `seq`]. */
export interface FeedChunk {
  readonly bytes: Buffer;
  readonly events: number;
  readonly from: number;
  /** Everything up to this commit was looked at. */
  readonly seq: number;
}

export interface ChunkOptions extends FeedWish {
  readonly after: number;
  /** No commit beyond this one. */
  readonly upTo: number;
  /** Events, at most. */
  readonly limit: number;
}

/** When a chunk is sent on. */
const CHUNK = 64 * 1024;
/** Values and patches are read and sent in larger ones: each asks the workers. */
const TEXTS = 4 * CHUNK;
/** Commits read at once: about a millisecond. */
const STEP = 128;
/** Looks at the clock once it has taken this many milliseconds. */
const SLICE = 4;
/** Commits that a chunk without events looks at before it says how far it got. */
const LOOKED_AT = 16_384;

const scan = new CommitScan();

/**
 * Reads on and encodes, up to about 64 KiB. Empty when nothing matched; ends early when `signal` says so.
 * Throws DB_DAMAGED and what else reading the log and its documents throws.
 */
export async function readChunk(
  db: Db,
  encoder: FeedEncoder,
  options: ChunkOptions,
  signal?: AbortSignal,
): Promise<FeedChunk> {
  const { include, after, upTo, limit, filter } = options;
  if (include === "json" || include === "patch") {
    const last = Math.min(upTo, db.log.head().seq);
    const read: FeedOptions = {
      after,
      filter,
      include,
      limit: Math.min(limit, 100),
      maxBytes: TEXTS,
      maxCommits: Math.min(LOOKED_AT, last - after),
    };
    const { events, seq } = await readFeed(db, read, signal);
    for (const event of events) encoder.event(event);
    return { bytes: encoder.take(), events: events.length, from: after, seq };
  }
  const { log } = db;
  const last = Math.min(upTo, log.head().seq, after + LOOKED_AT);
  const test = docTest(filter);
  const shows = commitTest(log, filter);
  let seq = after;
  let events = 0;
  let began = log.world.monotonic();
  while (seq < last && events < limit && encoder.length < CHUNK && signal?.aborted !== true) {
    try {
      for (const raw of log.rawCommits(seq + 1, Math.min(STEP, last - seq))) {
        scan.read(raw);
        if (
          shows?.(scan.branch(), raw.seq) !== false &&
          encoder.commit(scan, raw, test, include === "changes")
        )
          events += 1;
        seq = raw.seq;
        if (events >= limit || encoder.length >= CHUNK) break;
      }
    } catch (error) {
      // What is sound before it goes out first; the next chunk begins with what is not.
      if (seq === after) throw error;
      break;
    }
    if (log.world.monotonic() - began > SLICE) {
      await nextTurn(log.world);
      began = log.world.monotonic();
    }
  }
  // Whoever reads on does not keep the thread: chunks alone would follow each other without a turn between.
  if (seq < last) await nextTurn(log.world);
  return { bytes: encoder.take(), events, from: after, seq };
}
