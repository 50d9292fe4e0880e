import { SkaldError } from "../errors.ts";
import { ChangesPage } from "../protocol/wire.ts";
import { followChanges } from "./feed-events.ts";
import { readChanges } from "./feed-page.ts";
import {
  CBOR_SEQUENCE,
  JSON_LINES,
  SSE,
  checkHasEnd,
  feedQuery,
  kindOf,
  type FeedQuery,
} from "./feed-query.ts";
import type { Route } from "./route.ts";

/** Kinds of feeds that wait or follow. */
const STAYS: ReadonlySet<string> = new Set(["longpoll", "sse"]);

export const feedRoutes: readonly Route[] = [
  {
    method: "GET",
    path: "/db/:db/changes",
    summary: "The commits of a db in order, once or as they come",
    description:
      "At least once, in order and without gaps from any cursor that any answer gave. A JSON page; `Accept: application/x-ndjson` or `application/cbor-seq` streams all there is, and its last item, without a `commit`, says how far it got. `feed=longpoll` waits for the first event. `feed=sse` (or `Accept: text/event-stream`) follows: each event has its cursor as `id`, `Last-Event-ID` is honoured, and an end by the server is an event `end` with `{code, seq, cursor}`. With an upgrade to a WebSocket: a JSON object a line in text frames, or with `format=cbor` or the subprotocol `skald.changes.1` a CBOR sequence in binary frames; the reason of its close is `<code> <cursor>`.",
    tag: "feeds",
    access: "doc.read",
    partial: true,
    ticket: true,
    query: feedQuery,
    stays: (query, accept) => STAYS.has(kindOf(query as unknown as FeedQuery, accept)),
    answers: {
      200: {
        description: "Events.",
        types: { "application/json": ChangesPage, [JSON_LINES]: "raw", [CBOR_SEQUENCE]: "raw", [SSE]: "raw" },
      },
    },
    handle: (call) => {
      const query = call.query as unknown as FeedQuery;
      const kind = kindOf(query, call.header("accept"));
      checkHasEnd(query, kind);
      if (kind === "sse") return followChanges(call, query);
      if (kind === "websocket") throw new SkaldError("BAD_REQUEST", "`feed=websocket` needs an upgrade.");
      return readChanges(call, query, kind === "longpoll");
    },
  },
];
