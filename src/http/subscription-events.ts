import * as z from "zod";
import type { Db } from "../db/db.ts";
import { SkaldError, isSkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { DeliveryPage } from "../protocol/subscription-wire.ts";
import { cursorAt } from "../subscriptions/cursor.ts";
import { Consumer, type Delivered } from "../subscriptions/subscription-consumer.ts";
import type { LiveSubscription } from "../subscriptions/subscription-live.ts";
import {
  HEARTBEAT,
  JSON_LINES,
  SSE,
  SSE_HEADERS,
  TIMEOUT,
  formatOf,
  holdDb,
  kindOf,
  whole,
} from "./feed-query.ts";
import { FEED_KINDS, type FeedKind } from "./feed-tally.ts";
import type { Answer, Call, Route } from "./route.ts";
import { ownSubscription } from "./subscription-access.ts";
import { consumerName } from "./subscription-socket.ts";
import { DeliveryText } from "./subscription-text.ts";

const { query: bounds, feed: limits } = LIMITS;

interface Query {
  readonly feed?: FeedKind;
  readonly consumer?: string;
  readonly limit?: number;
  readonly heartbeat?: number;
  readonly timeout?: number;
}

/** How a consumer gets its events over HTTP. */
export const subscriptionEventsRoute: Route = {
  method: "GET",
  path: "/db/:db/subscriptions/:name/events",
  summary: "Consume a durable subscription",
  description:
    "Events as `…/changes` has them, each with its `attempt`. `normal` gives what there is and `longpoll` waits for the first; what it gave stays the consumer's until it is acknowledged or, in `shared`, `ack_ms` is over. `feed=sse` (or `Accept: text/event-stream`) goes on as commits come: first an event `subscription` with the consumer's name, then `change`s, at the end `end` with a code. With an upgrade and `skald.subscription.1`: a WebSocket that takes acknowledgements as well.",
  tag: "subscriptions",
  access: "doc.read",
  partial: true,
  query: z.strictObject({
    feed: z.enum(FEED_KINDS).optional(),
    consumer: z.string().max(LIMITS.subscription.nameCharacters.value).optional().meta({
      description: "A name for this consumer; one is made when left out.",
    }),
    limit: whole(1, bounds.pageItems.value, "Events of a page; 100 when left out."),
    heartbeat: whole(
      limits.heartbeatMsMin.value,
      limits.heartbeatMsMax.value,
      "Milliseconds, as of `…/changes`.",
    ),
    timeout: whole(0, limits.timeoutMs.value, "Milliseconds that a long poll waits; 30000 when left out."),
  }),
  stays: (query, accept) => STAYS.has(kindOf(query, accept)),
  answers: {
    200: {
      description: "Events.",
      types: { "application/json": DeliveryPage, [JSON_LINES]: "raw", [SSE]: "raw" },
    },
  },
  handle: (call) => {
    const query = call.query as Query;
    const kind = kindOf(query, call.header("accept"));
    if (kind === "websocket") throw new SkaldError("BAD_REQUEST", "`feed=websocket` needs an upgrade.");
    return open(call, query, kind);
  },
};

const STAYS: ReadonlySet<FeedKind> = new Set(["longpoll", "sse"]);

/** A consumer that has come, and what ends its part in everything. */
interface Part {
  readonly db: Db;
  readonly live: LiveSubscription;
  readonly consumer: Consumer;
  /** `keeps`: what it was given stays its own. */
  readonly leave: (keeps?: boolean) => void;
}

async function open(call: Call, query: Query, kind: Exclude<FeedKind, "websocket">): Promise<Answer> {
  const { services, principal } = call;
  const id = consumerName(query.consumer, call.requestId);
  let end = (): void => {};
  const held = await holdDb(services.engine, call.params["db"] as string, () => end());
  try {
    const { db } = held;
    const live = ownSubscription(services, principal, db, call.params["name"] as string);
    live.checkRoom(id);
    if (call.isHead) {
      held.release();
      return { status: 200, headers: { "content-type": kind === "sse" ? SSE : "application/json" } };
    }
    const consumer = new Consumer(id, kind === "sse" ? undefined : (query.limit ?? 100));
    end = () => consumer.end(new SkaldError("UNAVAILABLE", "The server or the db closes."));
    const depart = live.enter(consumer, kind !== "sse");
    const uncount = services.feeds.enter(kind);
    const stopped = call.onStop(() => end());
    if (kind === "sse") call.onLost(() => consumer.end(ended()));
    call.signal.addEventListener("abort", () => end());
    const leave = (keeps?: boolean): void => {
      depart(keeps);
      uncount();
      stopped();
      held.release();
    };
    const part = { db, live, consumer, leave };
    return kind === "sse" ? follow(call, query, part) : await poll(call, query, kind, part);
  } catch (error) {
    held.release();
    throw error;
  }
}

const ended = (): SkaldError =>
  new SkaldError("UNAUTHENTICATED", "The token was revoked or ran out meanwhile.");

async function poll(call: Call, query: Query, kind: "normal" | "longpoll", part: Part): Promise<Answer> {
  const { consumer, live, leave } = part;
  try {
    await live.settled();
    let events = consumer.take();
    if (events.length === 0 && consumer.ended) throw consumer.ended;
    if (events.length === 0 && kind === "longpoll")
      events = await consumer.next(call.services.world, query.timeout ?? TIMEOUT);
    if (!call.identity.alive()) throw ended();
    leave(true);
    call.services.feeds.sent += events.length;
    return page(call, part, events);
  } catch (error) {
    leave();
    throw error;
  }
}

function page(call: Call, { db, live, consumer }: Part, events: readonly Delivered[]): Answer {
  const { position } = live;
  const state = `"consumer":${JSON.stringify(consumer.id)},"seq":${position},"cursor":"${cursorAt(db, position)}"`;
  const text = new DeliveryText(db);
  const lines = formatOf(call.header("accept")) === "lines";
  return {
    status: 200,
    headers: { "content-type": lines ? JSON_LINES : "application/json", vary: "accept" },
    body: text.bytes(
      events,
      lines
        ? { after: "\n", end: `{${state}}\n` }
        : { start: '{"events":[', between: ",", end: `],${state}}` },
    ),
  };
}

/** Events as they come. A reader that takes nothing is given nothing more, and is cut off like any other. */
function follow(call: Call, query: Query, part: Part): Answer {
  if (query.limit !== undefined) {
    part.leave();
    throw new SkaldError("BAD_REQUEST", "`limit` is not of a subscription that is followed.");
  }
  return {
    status: 200,
    headers: SSE_HEADERS,
    body: stream(call, query, part),
  };
}

async function* stream(
  call: Call,
  query: Query,
  { db, live, consumer, leave }: Part,
): AsyncGenerator<string | Uint8Array> {
  const { world, feeds } = call.services;
  const valid = call.identity.alive;
  const text = new DeliveryText(db);
  const around = {
    before: (seq: number) => `id: ${cursorAt(db, seq)}\nevent: change\ndata: `,
    after: "\n\n",
  };
  const state = (): object => ({ seq: live.position, cursor: cursorAt(db, live.position) });
  try {
    yield `retry: 1000\n\nevent: subscription\ndata: ${JSON.stringify({ consumer: consumer.id, ...state() })}\n\n`;
    for (;;) {
      const events = await consumer.next(world, query.heartbeat ?? HEARTBEAT);
      if (!valid()) throw ended();
      feeds.sent += events.length;
      yield events.length === 0 ? ":\n\n" : text.bytes(events, around);
    }
  } catch (error) {
    if (!isSkaldError(error) || error.status >= 500) call.failed(error);
    const code = isSkaldError(error) ? error.code : "INTERNAL";
    yield `event: end\ndata: ${JSON.stringify({ code, ...state() })}\n\n`;
  } finally {
    leave();
  }
}
