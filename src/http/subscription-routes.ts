import * as z from "zod";
import type { Db } from "../db/db.ts";
import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import {
  AckAnswer,
  AckRequest,
  NackAnswer,
  NackRequest,
  ParkedAnswer,
  ParkedList,
  ParkedRequest,
  SubscriptionInfo,
  SubscriptionList,
  SubscriptionRequest,
} from "../protocol/subscription-wire.ts";
import { cursorAt, resolveSince, seqOfCursor } from "../subscriptions/cursor.ts";
import {
  checkSubscriptionName,
  filterOf,
  type Definition,
} from "../subscriptions/subscription-definition.ts";
import type { LiveSubscription } from "../subscriptions/subscription-live.ts";
import { iso, nameCursor, nameOfCursor, nextLink, pageQuery } from "./point.ts";
import { json, type Call, type Route } from "./route.ts";
import { subscriptionEventsRoute } from "./subscription-events.ts";
import { checkMayRead, mayRead, ownSubscription } from "./subscription-access.ts";

const tag = "subscriptions";
const base = "/db/:db/subscriptions";
const one = `${base}/:name`;
const JSON_TYPE = "application/json";
const { ids: mostIds } = LIMITS.subscription;

export const subscriptionRoutes: readonly Route[] = [
  {
    method: "GET",
    path: base,
    summary: "List durable subscriptions",
    tag,
    access: "doc.read",
    partial: true,
    query: z.strictObject(pageQuery),
    answers: { 200: { description: "A page, by name.", types: { [JSON_TYPE]: SubscriptionList } } },
    handle: (call) =>
      call.db((db) => {
        const { limit, cursor } = call.query as { limit: number; cursor?: string };
        const after = cursor === undefined ? "" : nameOfCursor("subscriptions", cursor);
        const seen = call.services.subscriptions
          .of(db)
          .list()
          .filter(({ name, definition }) => name > after && mayRead(call.principal, db.id, definition));
        const page = seen.slice(0, limit);
        const next = seen.length > limit ? nameCursor("subscriptions", page.at(-1)?.name ?? "") : null;
        return json(
          200,
          { subscriptions: page.map((found) => info(db, found)), cursor: next },
          nextLink(`/api/v1/db/${db.id}/subscriptions`, call.query, next),
        );
      }),
  },
  {
    method: "PUT",
    path: one,
    summary: "Make a durable subscription",
    description:
      "Of one that is there, `ack_ms`, `max_unacked` and `max_attempts` are changed; what it selects, and its mode, must be the same.",
    tag,
    access: "doc.read",
    partial: true,
    body: { types: { [JSON_TYPE]: SubscriptionRequest } },
    answers: {
      200: { description: "It was there.", types: { [JSON_TYPE]: SubscriptionInfo } },
      201: { description: "Made.", types: { [JSON_TYPE]: SubscriptionInfo } },
    },
    handle: (call) =>
      call.db(async (db) => {
        const name = checkSubscriptionName(call.params["name"] as string);
        const wanted = call.body.value as z.infer<typeof SubscriptionRequest>;
        const definition = definitionOf(wanted, call);
        filterOf(definition);
        checkMayRead(call.principal, db.id, definition);
        const from = await resolveSince(db, wanted.from === "beginning" ? undefined : wanted.from);
        const all = call.services.subscriptions.of(db);
        if (all.has(name)) ownSubscription(call.services, call.principal, db, name);
        const made = await all.put(name, definition, from);
        return json(made ? 201 : 200, info(db, all.get(name)));
      }),
  },
  {
    method: "GET",
    path: one,
    summary: "What a subscription is, and how far",
    tag,
    access: "doc.read",
    partial: true,
    answers: { 200: { description: "It.", types: { [JSON_TYPE]: SubscriptionInfo } } },
    handle: (call) =>
      call.db((db) => {
        const found = call.services.subscriptions.of(db).get(call.params["name"] as string);
        checkMayRead(call.principal, db.id, found.definition);
        return json(200, info(db, found));
      }),
  },
  {
    method: "DELETE",
    path: one,
    summary: "Delete a subscription; its consumers are told",
    tag,
    access: "doc.read",
    partial: true,
    answers: { 204: { description: "Gone." } },
    handle: (call) =>
      call.db((db) => {
        const { name } = own(call, db);
        call.services.subscriptions.of(db).remove(name);
        return { status: 204 };
      }),
  },
  subscriptionEventsRoute,
  {
    method: "POST",
    path: `${one}/ack`,
    summary: "Acknowledge events",
    description: "Durable when it is answered. Repeating it does nothing.",
    tag,
    access: "doc.read",
    partial: true,
    body: { types: { [JSON_TYPE]: AckRequest } },
    answers: { 200: { description: "How far it is now.", types: { [JSON_TYPE]: AckAnswer } } },
    handle: (call) =>
      call.db(async (db) => {
        const found = own(call, db);
        await acknowledge(db, found, call.body.value as z.infer<typeof AckRequest>);
        return json(200, { seq: found.position, cursor: cursorAt(db, found.position) });
      }),
  },
  {
    method: "POST",
    path: `${one}/nack`,
    summary: "Give events back, to be given again",
    tag,
    access: "doc.read",
    partial: true,
    body: { types: { [JSON_TYPE]: NackRequest } },
    answers: { 200: { description: "Taken back.", types: { [JSON_TYPE]: NackAnswer } } },
    handle: (call) =>
      call.db((db) => {
        const found = own(call, db);
        const { ids, consumer, delay_ms: delay } = call.body.value as z.infer<typeof NackRequest>;
        checkIds(ids);
        if (consumer === undefined && found.definition.mode === "shared")
          throw new SkaldError(
            "BAD_REQUEST",
            "Say which `consumer` gives them back: others may have them by now.",
          );
        return json(200, { returned: found.nack(consumer, ids, delay) });
      }),
  },
  {
    method: "GET",
    path: `${one}/parked`,
    summary: "Events that came to nothing too often",
    tag,
    access: "doc.read",
    partial: true,
    answers: { 200: { description: "All of them.", types: { [JSON_TYPE]: ParkedList } } },
    handle: (call) => call.db((db) => json(200, { parked: own(call, db).parked })),
  },
  {
    method: "POST",
    path: `${one}/parked`,
    summary: "Have parked events tried again, or forget them",
    tag,
    access: "doc.read",
    partial: true,
    body: { types: { [JSON_TYPE]: ParkedRequest } },
    answers: { 200: { description: "Done, durably.", types: { [JSON_TYPE]: ParkedAnswer } } },
    handle: (call) =>
      call.db(async (db) => {
        const found = own(call, db);
        const { do: what, ids } = call.body.value as z.infer<typeof ParkedRequest>;
        if (ids !== "all") checkIds(ids);
        const seqs = ids === "all" ? found.parked.map(({ seq }) => seq) : ids;
        return json(200, { count: await found[what](seqs) });
      }),
  },
];

function own(call: Call, db: Db): LiveSubscription {
  return ownSubscription(call.services, call.principal, db, call.params["name"] as string);
}

/** Throws BAD_REQUEST, TOO_LARGE, and what refuses a cursor or a seq. */
export async function acknowledge(
  db: Db,
  found: LiveSubscription,
  { seq, cursor, through, ids }: z.infer<typeof AckRequest>,
): Promise<void> {
  if ([seq, cursor, through, ids].filter((part) => part !== undefined).length !== 1)
    throw new SkaldError(
      "BAD_REQUEST",
      "An acknowledgement has one of `seq`, `cursor`, `through` and `ids`.",
    );
  if (cursor !== undefined) return found.ackThrough(seqOfCursor(db, cursor));
  if (through !== undefined) return found.ackThrough(through);
  if (seq !== undefined) return found.ack([seq]);
  checkIds(ids as number[]);
  if (found.definition.mode === "single")
    throw new SkaldError("BAD_REQUEST", "This subscription is acknowledged in order: by `seq` or `cursor`.");
  return found.ack(ids as number[]);
}

function checkIds(ids: readonly number[]): void {
  if (ids.length > mostIds.value)
    throw new SkaldError("TOO_LARGE", `At most ${mostIds.value} events at once.`, {
      details: { max_items: mostIds.value },
    });
}

function definitionOf(wanted: z.infer<typeof SubscriptionRequest>, call: Call): Definition {
  const { mode, key, include, collection, prefix, docs, max_attempts: maxAttempts } = wanted;
  if (key !== undefined && mode === "single")
    throw new SkaldError("BAD_REQUEST", "`key` is for `shared`: one consumer has everything in order.");
  return {
    mode,
    include,
    ...(key === undefined ? {} : { key }),
    ...(collection === undefined ? {} : { collection }),
    ...(prefix === undefined ? {} : { prefix }),
    ...(docs === undefined ? {} : { docs: [...new Set(docs)] }),
    creator: call.principal.subject,
    created: call.services.world.now(),
    ackMs: wanted.ack_ms,
    maxUnacked: wanted.max_unacked,
    ...(maxAttempts === undefined ? {} : { maxAttempts }),
  };
}

function info(db: Db, found: LiveSubscription): z.infer<typeof SubscriptionInfo> {
  const { ackMs, maxUnacked, maxAttempts, created, docs, ...rest } = found.definition;
  const { position, lag, counts, full, consumers, problem } = found.progress();
  return {
    name: found.name,
    ...rest,
    ...(docs === undefined ? {} : { docs: [...docs] }),
    created: iso(created),
    ack_ms: ackMs,
    max_unacked: maxUnacked,
    max_attempts: maxAttempts ?? null,
    seq: position,
    cursor: cursorAt(db, position),
    lag: { commits: lag, age_ms: found.age() ?? null },
    unacknowledged: counts.out,
    ahead: counts.ahead,
    parked: counts.parked,
    full,
    consumers: consumers.map(({ id, out, here }) => ({ consumer: id, unacknowledged: out, connected: here })),
    ...(problem === undefined ? {} : { problem: problem.code }),
  };
}
