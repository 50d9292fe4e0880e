import type { WebSocket } from "ws";
import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { cursorAt, resolveSince } from "../subscriptions/cursor.ts";
import type { FeedWish } from "../subscriptions/feed-chunks.ts";
import { feedEncoder } from "../subscriptions/feed-encoder.ts";
import { readQuery } from "./body.ts";
import type { DispatchContext } from "./dispatch.ts";
import { FeedFollower } from "./feed-follower.ts";
import { HEARTBEAT, feedQuery, checkBranch, checkHasEnd, filterOf, type FeedQuery } from "./feed-query.ts";
import { feedGroups } from "./feed-events.ts";
import { CREDENTIAL_ENDED, type OpenSocket, type SocketParts, type SocketRoute } from "./socket-route.ts";

/**
 * The change feed over a WebSocket: `…/changes` with an upgrade. A text frame has one JSON object a line; with
 * `format=cbor` or the subprotocol a binary frame has items of a CBOR sequence. One frame may have several
 * events. What a client sends is not listened to.
 */
export const CHANGES_PROTOCOL = "skald.changes.1";

export const feedSocketRoute: SocketRoute = {
  pattern: /^\/api\/v1\/db\/([^/?]+)\/changes$/,
  chosen: CHANGES_PROTOCOL,
  access: "doc.read",
  maxFrame: LIMITS.feed.frameBytes.value,
  prepare: async (parts) => {
    const query = queryOf(parts.query);
    if ((query.feed ?? "websocket") !== "websocket" || query.limit !== undefined)
      throw new SkaldError("BAD_REQUEST", "A WebSocket is `feed=websocket`, and has no `limit`.");
    checkHasEnd(query, "websocket");
    const wish = { filter: filterOf(query, parts.principal, parts.db), include: query.include };
    checkBranch(parts.held.db, wish.filter);
    const after = await resolveSince(parts.held.db, query.since);
    return (ws, context) => new FeedSocket(ws, parts, context, query, wish, after);
  },
};

function queryOf(search: URLSearchParams): FeedQuery {
  const given = new URLSearchParams(search);
  // A credential, which has been looked at.
  given.delete("ticket");
  return readQuery({ query: feedQuery }, given.toString()) as unknown as FeedQuery;
}

/** Close codes by the code of an end; the others are the server's own failures. */
const CLOSE: Readonly<Record<string, number>> = {
  UNAVAILABLE: 1001,
  UNAUTHENTICATED: 1008,
  READER_SLOW: 1008,
};

class FeedSocket implements OpenSocket {
  readonly #follower: FeedFollower;

  constructor(
    ws: WebSocket,
    parts: SocketParts,
    { services, load, log }: DispatchContext,
    query: FeedQuery,
    wish: FeedWish,
    after: number,
  ) {
    const { world, feeds, engine } = services;
    const { db } = parts.held;
    const binary =
      query.format === "cbor" || (query.format === undefined && ws.protocol === CHANGES_PROTOCOL);
    const leave = feeds.enter("websocket");
    /** Since when the client owes an answer to a ping. */
    let silent: number | undefined;
    const send = (bytes: Buffer): void => {
      ws.send(bytes, { binary }, () => {
        if (ws.bufferedAmount === 0) this.#follower.drained();
      });
    };
    const format = binary ? "cbor" : "lines";
    // Who comes back before the first event goes on from here, also when it asked for `now`.
    const start = feedEncoder(db, format, 512);
    start.progress(after);
    ws.send(start.take(), { binary });
    this.#follower = new FeedFollower(
      {
        db,
        groups: feedGroups,
        wish,
        format,
        world,
        cursorAt: (seq) => cursorAt(db, seq),
        valid: parts.alive,
        heartbeat: query.heartbeat ?? HEARTBEAT,
        unreadBytes: load.limits.behindBytes,
        unreadMs: load.limits.behindMs,
        sent: (events) => {
          feeds.sent += events;
        },
        failed: (error) => {
          log.failure(error, "");
          engine.use(parts.db, () => Promise.reject(error as Error)).catch(() => {});
        },
        done: () => {
          leave();
          parts.held.release();
        },
        sink: {
          write: send,
          get unread() {
            return ws.bufferedAmount;
          },
          beat: (progress) => {
            if (silent !== undefined && world.monotonic() - silent > load.limits.behindMs) {
              ws.terminate();
              return;
            }
            silent ??= world.monotonic();
            if (progress) send(progress);
            ws.ping();
          },
          end: (code, cursor, last) => {
            ws.once(
              "close",
              world.timer(LIMITS.socket.closeMs.value, () => ws.terminate()),
            );
            if (ws.readyState === ws.OPEN) ws.send(last, { binary });
            ws.close(CLOSE[code] ?? 1011, `${code} ${cursor}`);
          },
        },
      },
      after,
    );
    ws.on("pong", () => {
      silent = undefined;
    });
    ws.on("error", () => ws.terminate());
    ws.on("close", () => this.#follower.gone());
    const wanted = (): void => this.#follower.end("UNAVAILABLE");
    if (parts.wanted.aborted) wanted();
    else parts.wanted.addEventListener("abort", wanted);
  }

  end(code: number): void {
    this.#follower.end(code === CREDENTIAL_ENDED ? "UNAUTHENTICATED" : "UNAVAILABLE");
  }
}
