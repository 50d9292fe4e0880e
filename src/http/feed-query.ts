import * as z from "zod";
import { prefixesFor, type Principal } from "../auth/policy.ts";
import type { Db } from "../db/db.ts";
import type { HeldDb, Engine } from "../db/engine.ts";
import { resolvePoint, resolveSeq } from "../db/point.ts";
import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { FeedFormat } from "../subscriptions/feed-encoder.ts";
import { commitTest, EVERY_BRANCH, feedFilter, type FeedFilter } from "../subscriptions/feed-filter.ts";
import type { Include } from "../subscriptions/feed.ts";
import { FEED_KINDS, type FeedKind } from "./feed-tally.ts";
import { onBranch, pointQuery } from "./point.ts";

/** The words in which a feed is asked for, the same for every way it reaches its client. */

const { query: bounds, feed: limits } = LIMITS;

/** A whole number of a query, from `least` to `most`. */
export function whole(least: number, most: number, description: string) {
  return z
    .string()
    .regex(/^\d{1,7}$/, "expected a whole number")
    .transform(Number)
    .pipe(z.int().min(least).max(most))
    .optional()
    .meta({ override: { type: "integer", minimum: least, maximum: most }, description });
}

export const feedQuery = z.strictObject({
  since: z.string().min(1).max(bounds.cursorCharacters.value).optional().meta({
    description:
      "Where to begin: a cursor of whatever answer, a seq, a commit's address, an RFC 3339 time, `now`; from the start when left out.",
  }),
  feed: z.enum(FEED_KINDS).optional().meta({
    description:
      "`normal`: what there is; `longpoll`: the same, but waits for the first event; `sse`: server-sent events; `websocket`: the same path with an upgrade.",
  }),
  limit: whole(
    1,
    limits.streamItems.value,
    `Events; a JSON page has 100 unless told and at most ${bounds.pageItems.value}, a streamed answer everything.`,
  ),
  branch: pointQuery.branch.meta({
    description:
      "Commits of this branch and of what it stands on; `main` when left out, every branch's with `*`.",
  }),
  at: pointQuery.at.meta({
    description: "Ends with the commit at this point; not for a feed that waits or follows.",
  }),
  collection: z.string().optional().meta({ description: "Only documents of this collection." }),
  prefix: z
    .string()
    .max(bounds.prefixCharacters.value)
    .optional()
    .meta({ description: "Start of the key; needs `collection`." }),
  doc: z
    .union([z.string(), z.array(z.string()).max(limits.docs.value)])
    .optional()
    .meta({ description: "Only this document, `collection/key`; may be repeated." }),
  include: z.enum(["none", "json", "patch", "changes"]).default("none").meta({
    description:
      "What comes with each document: its value at that commit, the RFC 6902 patch of that commit, or its change bytes (base64 in JSON, byte strings in CBOR).",
  }),
  heartbeat: whole(
    limits.heartbeatMsMin.value,
    limits.heartbeatMsMax.value,
    "Milliseconds of silence after which a sign of life is sent; 15000 when left out.",
  ),
  timeout: whole(0, limits.timeoutMs.value, "Milliseconds that a long poll waits; 30000 when left out."),
  format: z
    .enum(["json", "cbor"])
    .optional()
    .meta({ description: "Of a WebSocket: text frames with JSON, or binary frames with a CBOR sequence." }),
});

export interface FeedQuery {
  readonly since?: string;
  readonly feed?: FeedKind;
  readonly limit?: number;
  readonly branch?: string;
  readonly at?: string;
  readonly collection?: string;
  readonly prefix?: string;
  readonly doc?: string | readonly string[];
  readonly include: Include;
  readonly heartbeat?: number;
  readonly timeout?: number;
  readonly format?: "json" | "cbor";
}

export const HEARTBEAT = 15_000;
export const TIMEOUT = 30_000;

/** What of the db the feed has: what is asked for, as far as the token may see it. */
export function filterOf(query: FeedQuery, principal: Principal, dbId: string): FeedFilter {
  const seen = prefixesFor(principal, "doc.read", dbId);
  const { collection, prefix, doc } = query;
  return feedFilter({
    ...onBranch(query.branch),
    ...(collection === undefined ? {} : { collection }),
    ...(prefix === undefined ? {} : { prefix }),
    ...(doc === undefined ? {} : { docs: [doc].flat() }),
    ...(seen === "all" ? {} : { visible: seen === "none" ? [] : seen }),
  });
}

/** The kind that a request asks for: EventSource says so by what it accepts. */
export function kindOf(query: { readonly feed?: FeedKind }, accept: string | undefined): FeedKind {
  return query.feed ?? (accept?.toLowerCase().includes(SSE) === true ? "sse" : "normal");
}

export const JSON_LINES = "application/x-ndjson";
export const CBOR_SEQUENCE = "application/cbor-seq";
export const SSE = "text/event-stream";

/** Of every stream of events: nothing on the way may hold it back, pack it or keep it. */
export const SSE_HEADERS = {
  "content-type": SSE,
  "cache-control": "private, no-cache, no-transform",
  "x-accel-buffering": "no",
} as const;

/** The last commit that the feed has: of a point that is asked for, or the head. Throws what `resolvePoint` throws. */
export async function endOf(db: Db, { at, branch }: FeedQuery): Promise<number> {
  await db.locate(at);
  return branch === EVERY_BRANCH ? resolveSeq(db.log, at) : resolvePoint(db.log, at, branch);
}

/** Throws BRANCH_NOT_FOUND when there is no branch that the feed is of. */
export function checkBranch(db: Db, filter: FeedFilter): void {
  commitTest(db.log, filter);
}

/** Throws BAD_REQUEST for a feed that would never come to an end and is to end at a point. */
export function checkHasEnd(query: FeedQuery, kind: FeedKind): void {
  if (query.at !== undefined && kind !== "normal")
    throw new SkaldError("BAD_REQUEST", `\`at\` ends a feed, and \`feed=${kind}\` goes on.`);
}

/** How a page or a long poll is written: JSON unless another is accepted. */
export function formatOf(accept: string | undefined): Exclude<FeedFormat, "sse"> {
  const wanted = (accept ?? "").toLowerCase();
  if (wanted.includes(JSON_LINES)) return "lines";
  return wanted.includes(CBOR_SEQUENCE) ? "cbor" : "list";
}

/** Holds a db for as long as a feed is open. Throws what `Engine.use` throws. */
export async function holdDb(engine: Engine, dbId: string, leave: () => void): Promise<HeldDb> {
  const hold = (): HeldDb | undefined => engine.hold(dbId, leave);
  const held = hold() ?? (await engine.use(dbId, hold));
  if (!held) throw new SkaldError("UNAVAILABLE", "The db is closing.");
  return held;
}
