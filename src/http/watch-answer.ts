import { SkaldError } from "../errors.ts";
import type { Db } from "../db/db.ts";
import { LIMITS, valuesOf } from "../limits.ts";
import { wireArgs } from "../query/args.ts";
import type { WatchAsk } from "../query/watch.ts";
import { HEARTBEAT, SSE_HEADERS, holdDb } from "./feed-query.ts";
import type { Outlet } from "./outlet.ts";
import { argsOf } from "./query-args.ts";
import type { Answer, Call, Services } from "./route.ts";
import { sinceOf, type WatchSince } from "./watch-events.ts";
import { WatchFollower, type WatchFollowerParts, type WatchSink } from "./watch-follower.ts";

/** What is asked to be watched, whichever way it came. */
export interface Watched {
  readonly ask: Omit<WatchAsk, "principal">;
  readonly since: string | undefined;
  readonly heartbeat: number;
}

interface Asked {
  readonly sql: string;
  /** JSON text. */
  readonly args?: string | undefined;
  readonly branch?: string | undefined;
  readonly delta: boolean;
  readonly since?: string | undefined;
  readonly heartbeat?: number | undefined;
}

/** Throws BAD_REQUEST for arguments that are none. */
export function watchedOf({ sql, args, branch = "main", delta, since, heartbeat }: Asked): Watched {
  if (args !== undefined) checkArgs(args);
  const { ms, rows, bytes } = valuesOf(LIMITS.sql);
  return {
    ask: { sql, args: wireArgs(argsOf(args)), branch, delta, bounds: { ms, rows, bytes } },
    since,
    heartbeat: heartbeat ?? HEARTBEAT,
  };
}

/** Of a URL nobody has looked at them. */
function checkArgs(text: string): void {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (typeof value !== "object" || value === null)
    throw new SkaldError("BAD_REQUEST", "`args` is a JSON list or object.");
}

/** A follower that has something to show, and how to begin; whoever opens it has it end what it holds. */
export interface Prepared {
  readonly follower: WatchFollower;
  readonly begin: (sink: WatchSink) => void;
}

/** Joins the watch. Throws what keeps it from being watched, and has left it then. */
export async function prepareWatch(
  { watches }: Services,
  db: Db,
  principal: string,
  { ask, since: text }: Watched,
  parts: WatchFollowerParts,
): Promise<Prepared> {
  const since: WatchSince | undefined = text === undefined ? undefined : await sinceOf(db, text);
  const follower = new WatchFollower(parts);
  try {
    const joined = await follower.join((listener) => watches.of(db).join({ ...ask, principal }, listener));
    const wantsBefore =
      since?.seq !== undefined &&
      (ask.delta || since.hash === undefined) &&
      since.hash !== joined.place().hash;
    const found = wantsBefore ? await joined.resultAt(since.seq) : undefined;
    const before = found && (since?.hash ?? found.hash) === found.hash ? found : undefined;
    return { follower, begin: (sink) => follower.open(sink, since, before) };
  } catch (error) {
    follower.gone();
    throw error;
  }
}

/** Server-sent events. */
export async function watchAnswer(call: Call, watched: Watched): Promise<Answer> {
  const { services, limits } = call;
  let wanted = false;
  let end = (): void => {
    wanted = true;
  };
  const held = await holdDb(services.engine, call.params["db"] as string, () => end());
  let finished = (): void => held.release();
  const last = call.header("last-event-id");
  // A client that reconnects sends both, and the one from its last event is later.
  const since = last === undefined || last === "" ? watched.since : last;
  const { follower, begin } = await prepareWatch(
    services,
    held.db,
    call.principal.id,
    { ...watched, since },
    {
      db: held.db,
      format: "sse",
      delta: watched.ask.delta,
      clock: services.watches.clock,
      world: services.world,
      valid: call.identity.alive,
      heartbeat: watched.heartbeat,
      unreadBytes: limits.behindBytes,
      unreadMs: limits.behindMs,
      requestId: call.requestId,
      failed: call.failed,
      done: () => finished(),
    },
  ).catch((error: unknown) => {
    held.release();
    throw error;
  });
  const headers = SSE_HEADERS;
  if (call.isHead) {
    follower.gone();
    return { status: 200, headers };
  }
  return {
    status: 200,
    headers,
    live: (outlet) =>
      new Promise<void>((resolve) => {
        let stopped = (): void => {};
        finished = () => {
          stopped();
          held.release();
          outlet.onClose(resolve);
        };
        end = () => follower.end("UNAVAILABLE");
        stopped = call.onStop(end);
        call.onLost(() => follower.end("UNAUTHENTICATED"));
        outlet.onDrain(() => follower.drained());
        outlet.onClose(() => follower.gone());
        outlet.write(`retry: ${RETRY_MS}\n\n`);
        begin(sinkOf(outlet, services));
        if (wanted) end();
      }),
  };
}

/** Milliseconds after which a client comes back. */
const RETRY_MS = 1000;

function sinkOf(outlet: Outlet, { world }: Services) {
  return {
    write: (bytes: Buffer) => outlet.write(bytes),
    get unread() {
      return outlet.unread;
    },
    end: (_code: string, last: Buffer) => {
      outlet.end(last);
      outlet.onClose(world.timer(LIMITS.socket.closeMs.value, () => outlet.destroy()));
    },
  };
}
