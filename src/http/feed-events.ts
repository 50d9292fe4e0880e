import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Db } from "../db/db.ts";
import { cursorAt, resolveSince } from "../subscriptions/cursor.ts";
import type { FeedWish } from "../subscriptions/feed-chunks.ts";
import { FeedGroups } from "../subscriptions/feed-group.ts";
import { FeedFollower } from "./feed-follower.ts";
import { HEARTBEAT, SSE_HEADERS, checkBranch, filterOf, holdDb, type FeedQuery } from "./feed-query.ts";
import type { Answer, Call } from "./route.ts";
import type { Outlet } from "./outlet.ts";

/** Shared by all servers of a process: who follows a db alike is served from one reading of it. */
export const feedGroups = new FeedGroups();

/** Milliseconds after which a client comes back. */
const RETRY = 1000;

/** Server-sent events from where the client is, and on as commits come. */
export async function followChanges(call: Call, query: FeedQuery): Promise<Answer> {
  if (query.limit !== undefined)
    throw new SkaldError("BAD_REQUEST", "`limit` is not of a feed that follows.");
  const dbId = call.params["db"] as string;
  const filter = filterOf(query, call.principal, dbId);
  // A client that reconnects sends both, and the one from its last event is later.
  const last = call.header("last-event-id");
  const since = last === undefined || last === "" ? query.since : last;
  let wanted = false;
  let end = (): void => {
    wanted = true;
  };
  const held = await holdDb(call.services.engine, dbId, () => end());
  try {
    checkBranch(held.db, filter);
    const after = await resolveSince(held.db, since);
    const headers = SSE_HEADERS;
    if (call.isHead) {
      held.release();
      return { status: 200, headers };
    }
    return {
      status: 200,
      headers,
      live: (outlet) =>
        new Promise<void>((resolve) => {
          const uncount = call.services.feeds.enter("sse");
          let stopped = (): void => {};
          const follower = followTo(
            call,
            outlet,
            held.db,
            { filter, include: query.include },
            after,
            query,
            () => {
              stopped();
              uncount();
              held.release();
              outlet.onClose(resolve);
            },
          );
          end = () => follower.end("UNAVAILABLE");
          stopped = call.onStop(end);
          call.onLost(() => follower.end("UNAUTHENTICATED"));
          if (wanted) end();
        }),
    };
  } catch (error) {
    held.release();
    throw error;
  }
}

function followTo(
  call: Call,
  outlet: Outlet,
  db: Db,
  wish: FeedWish,
  after: number,
  query: FeedQuery,
  done: () => void,
): FeedFollower {
  const { world, feeds } = call.services;
  // The id alone: who comes back before the first event goes on from here, also when it asked for `now`.
  outlet.write(`retry: ${RETRY}\nid: ${cursorAt(db, after)}\n\n`);
  const follower: FeedFollower = new FeedFollower(
    {
      db,
      groups: feedGroups,
      wish,
      format: "sse",
      world,
      done,
      sink: {
        write: (bytes) => outlet.write(bytes),
        get unread() {
          return outlet.unread;
        },
        beat: (progress) => outlet.write(progress ?? ":\n\n"),
        end: (_code, _cursor, last) => {
          outlet.end(last);
          outlet.onClose(world.timer(LIMITS.socket.closeMs.value, () => outlet.destroy()));
        },
      },
      cursorAt: (seq) => cursorAt(db, seq),
      valid: call.identity.alive,
      heartbeat: query.heartbeat ?? HEARTBEAT,
      unreadBytes: call.limits.behindBytes,
      unreadMs: call.limits.behindMs,
      sent: (events) => {
        feeds.sent += events;
      },
      failed: (error) => {
        call.failed(error);
        // Whoever uses a db tells it of damage by failing in it; then what is derived is made anew.
        call.db(() => Promise.reject(error as Error)).catch(() => {});
      },
    },
    after,
  );
  outlet.onDrain(() => follower.drained());
  outlet.onClose(() => follower.gone());
  return follower;
}
