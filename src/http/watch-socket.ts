import type * as z from "zod";
import { LIMITS } from "../limits.ts";
import { SkaldError } from "../errors.ts";
import { allows } from "../auth/policy.ts";
import { readQuery } from "./body.ts";
import { CREDENTIAL_ENDED, type OpenSocket, type SocketRoute } from "./socket-route.ts";
import { prepareWatch } from "./watch-answer.ts";
import { watchQuery, watchedOfUrl } from "./watch-routes.ts";

/**
 * A watch over a WebSocket: `…/query/watch` with an upgrade, asked for as by GET. Each event is a text frame, a JSON
 * object with the `event` in it; between two heartbeats there are pings. What a client sends is not listened to.
 */
export const watchSocketRoute: SocketRoute = {
  pattern: /^\/api\/v1\/db\/([^/?]+)\/query\/watch$/,
  access: "query.read",
  maxFrame: LIMITS.feed.frameBytes.value,
  prepare: async (parts, { services, load, log, nextName }) => {
    const { held, principal, wanted } = parts;
    if (!allows(principal, "query.read", parts.db))
      throw new SkaldError("FORBIDDEN", `The token does not allow query.read on the db ${parts.db}.`, {
        details: { action: "query.read", db: parts.db },
        hint: "SQL sees the whole db: a token limited to a prefix cannot use it.",
      });
    const query = readQuery({ query: watchQuery }, parts.query.toString());
    const watched = watchedOfUrl(query as unknown as z.infer<typeof watchQuery>);
    const requestId = nextName();
    const { world } = services;
    const { follower, begin } = await prepareWatch(services, held.db, principal.id, watched, {
      db: held.db,
      format: "frame",
      delta: watched.ask.delta,
      clock: services.watches.clock,
      world,
      valid: parts.alive,
      heartbeat: watched.heartbeat,
      unreadBytes: load.limits.behindBytes,
      unreadMs: load.limits.behindMs,
      requestId,
      failed: (error) => log.failure(error, requestId),
      done: () => held.release(),
    });
    return (ws) => {
      const end = (): void => follower.end("UNAVAILABLE");
      ws.on("error", () => ws.terminate());
      ws.on("close", () => follower.gone());
      begin({
        write: (bytes) =>
          ws.send(bytes, { binary: false }, () => {
            if (ws.bufferedAmount === 0) follower.drained();
          }),
        get unread() {
          return ws.bufferedAmount;
        },
        end: (code, last) => {
          ws.once(
            "close",
            world.timer(LIMITS.socket.closeMs.value, () => ws.terminate()),
          );
          if (ws.readyState === ws.OPEN) ws.send(last, { binary: false });
          ws.close(CLOSE[code] ?? 1011, code);
        },
      });
      if (wanted.aborted) end();
      else wanted.addEventListener("abort", end);
      return {
        end: (code) => follower.end(code === CREDENTIAL_ENDED ? "UNAUTHENTICATED" : "UNAVAILABLE"),
      } satisfies OpenSocket;
    };
  },
};

/** Close codes by the code of an end; the others are of the statement or the server. */
const CLOSE: Readonly<Record<string, number>> = {
  UNAVAILABLE: 1001,
  UNAUTHENTICATED: 1008,
  READER_SLOW: 1008,
};
