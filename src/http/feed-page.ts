import { LIMITS } from "../limits.ts";
import { SkaldError, isSkaldError } from "../errors.ts";
import type { Db } from "../db/db.ts";
import { checkPlace, cursorAt, resolveSince } from "../subscriptions/cursor.ts";
import { readChunk, type FeedChunk, type FeedWish } from "../subscriptions/feed-chunks.ts";
import { feedEncoder } from "../subscriptions/feed-encoder.ts";
import {
  CBOR_SEQUENCE,
  JSON_LINES,
  TIMEOUT,
  endOf,
  checkBranch,
  filterOf,
  formatOf,
  holdDb,
  type FeedQuery,
} from "./feed-query.ts";
import { pointHeaders } from "./point.ts";
import type { Answer, Call } from "./route.ts";

/** Commits that one page looks at before it says how far it got. */
const LOOKED_AT = 65_536;

/** A page or a stream of what there is. */
export async function readChanges(call: Call, query: FeedQuery, waits: boolean): Promise<Answer> {
  const format = formatOf(call.header("accept"));
  const most = LIMITS.query.pageItems.value;
  if (format === "list" && (query.limit ?? 0) > most)
    throw new SkaldError("BAD_REQUEST", `A JSON page has at most ${most} events.`, {
      details: {
        errors: [{ pointer: "/limit", message: `at most ${most}; a streamed answer has no such limit` }],
      },
    });
  const leaving = new AbortController();
  const dbId = call.params["db"] as string;
  const held = await holdDb(call.services.engine, dbId, () => leaving.abort());
  const stopped = call.onStop(() => leaving.abort());
  const uncount = call.services.feeds.enter(waits ? "longpoll" : "normal");
  let open = true;
  const leave = (): void => {
    if (open) held.release();
    open = false;
    stopped();
    uncount();
  };
  try {
    const { db } = held;
    const wish: FeedWish = { filter: filterOf(query, call.principal, dbId), include: query.include };
    checkBranch(db, wish.filter);
    let after = await resolveSince(db, query.since);
    const asked = query.at === undefined ? undefined : await endOf(db, query);
    checkPlace(db, after, asked);
    if (waits && !call.isHead)
      after = await firstMatch(call, db, wish, after, query.timeout ?? TIMEOUT, leaving.signal);
    const upTo = asked ?? db.log.head().seq;
    if (format !== "list") {
      const headers = { "content-type": format === "cbor" ? CBOR_SEQUENCE : JSON_LINES, vary: "accept" };
      if (call.isHead) {
        leave();
        return { status: 200, headers };
      }
      return {
        status: 200,
        headers,
        body: stream(call, db, wish, format, { after, upTo }, query.limit ?? Infinity, leaving.signal, leave),
      };
    }
    const page = await call.db((used) => pageOf(call, used, wish, { after, upTo }, query.limit ?? 100));
    leave();
    return page;
  } catch (error) {
    leave();
    throw error;
  }
}

/**
 * Waits until something after `after` matches, the time is over or everything is about to end, and gives the
 * seq right before the match, or the one up to which nothing matched.
 */
async function firstMatch(
  call: Call,
  db: Db,
  wish: FeedWish,
  after: number,
  timeout: number,
  leaving: AbortSignal,
): Promise<number> {
  const { world } = call.services;
  const over = new AbortController();
  const end = (): void => over.abort();
  const valid = call.identity.alive;
  const stop = world.timer(timeout, end);
  leaving.addEventListener("abort", end);
  call.signal.addEventListener("abort", end);
  const encoder = feedEncoder(db, "lines");
  let wake = (): void => {};
  const quiet = db.log.onCommit(() => wake());
  over.signal.addEventListener("abort", () => wake());
  let seq = after;
  try {
    if (leaving.aborted || call.signal.aborted) end();
    while (!over.signal.aborted) {
      const head = db.log.head().seq;
      if (seq < head) {
        const chunk = await readChunk(
          db,
          encoder,
          { ...wish, include: "none", after: seq, upTo: head, limit: 1 },
          over.signal,
        );
        if (chunk.events > 0) {
          if (!valid())
            throw new SkaldError("UNAUTHENTICATED", "The token was revoked or ran out meanwhile.");
          return seq;
        }
        seq = chunk.seq;
        continue;
      }
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return seq;
  } finally {
    stop();
    quiet();
  }
}

/** Commits (after, upTo]. */
interface Span {
  readonly after: number;
  readonly upTo: number;
}

async function pageOf(
  call: Call,
  db: Db,
  wish: FeedWish,
  { after, upTo }: Span,
  limit: number,
): Promise<Answer> {
  const encoder = feedEncoder(db, "list");
  const parts: Buffer[] = [];
  let events = 0;
  let bytes = 0;
  let seq = after;
  while (
    events < limit &&
    seq < Math.min(upTo, after + LOOKED_AT) &&
    bytes < LIMITS.query.commitsBytes.value
  ) {
    const chunk = await readChunk(
      db,
      encoder,
      { ...wish, after: seq, upTo, limit: limit - events },
      call.signal,
    );
    if (call.signal.aborted) break;
    seq = chunk.seq;
    events += chunk.events;
    bytes += chunk.bytes.length;
    parts.push(chunk.bytes);
  }
  call.services.feeds.sent += events;
  const cursor = cursorAt(db, seq);
  const more = seq < (call.query["at"] === undefined ? db.log.head().seq : upTo);
  const end = `],"cursor":"${cursor}","seq":${seq},"more":${more}}`;
  return {
    status: 200,
    headers: {
      "content-type": "application/json",
      vary: "accept",
      ...pointOf(db, seq, wish.filter.visible !== undefined),
      ...(more ? { link: `<${nextUrl(call, cursor)}>; rel="next"` } : {}),
    },
    body: Buffer.concat([Buffer.from('{"events":['), ...parts, Buffer.from(end)]),
  };
}

/** The commit at a point may be one of which a limited token sees nothing: its address is not told. */
function pointOf(db: Db, seq: number, limited: boolean): Record<string, string> {
  if (limited) return { "skald-seq": String(seq), "skald-cursor": cursorAt(db, seq) };
  return pointHeaders(db, seq);
}

function nextUrl(call: Call, cursor: string): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(call.query)) {
    if (value === undefined || name === "since") continue;
    for (const one of [value].flat()) search.append(name, String(one as string | number));
  }
  search.set("since", cursor);
  return `/api/v1/db/${call.params["db"]}/changes?${search.toString()}`;
}

/** Everything up to the head as it is now, at the pace of its reader. */
async function* stream(
  call: Call,
  db: Db,
  wish: FeedWish,
  format: "lines" | "cbor",
  { after, upTo }: Span,
  limit: number,
  leaving: AbortSignal,
  leave: () => void,
): AsyncGenerator<Uint8Array> {
  const { feeds } = call.services;
  const valid = call.identity.alive;
  const encoder = feedEncoder(db, format);
  let seq = after;
  let events = 0;
  try {
    let code: string | undefined;
    while (seq < upTo && events < limit && code === undefined) {
      let chunk: FeedChunk | undefined;
      try {
        chunk = await readChunk(db, encoder, { ...wish, after: seq, upTo, limit: limit - events }, leaving);
      } catch (error) {
        // What cannot begin is refused as a whole.
        if (events === 0) throw error;
        code = isSkaldError(error) ? error.code : "INTERNAL";
        continue;
      }
      if (!valid()) code = "UNAUTHENTICATED";
      else {
        if (chunk.events > 0) yield chunk.bytes;
        seq = chunk.seq;
        events += chunk.events;
        feeds.sent += chunk.events;
        if (leaving.aborted) code = "UNAVAILABLE";
      }
    }
    encoder.end({
      seq,
      more: seq < (call.query["at"] === undefined ? db.log.head().seq : upTo),
      ...(code === undefined ? {} : { code }),
    });
    yield encoder.take();
  } finally {
    leave();
  }
}
