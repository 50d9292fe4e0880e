import * as z from "zod";
import { LIMITS } from "../limits.ts";
import { ChangeEvent, CursorText, DocRef, Time } from "./wire.ts";

const { subscription: limits, query } = LIMITS;

const Seq = z.int().min(0);
const Consumer = z.string().meta({
  maxLength: limits.nameCharacters.value,
  description: "A name that the consumer goes by.",
});

/** What a subscription is made as. */
export const SubscriptionRequest = z
  .strictObject({
    mode: z.enum(["single", "shared"]).default("single").meta({
      description: "One consumer at a time, in order; or events spread over several.",
    }),
    key: z.literal("doc").optional().meta({
      description: "`shared`: events of one document go to one consumer at a time, in order.",
    }),
    include: z.enum(["none", "json", "patch", "changes"]).default("none").meta({
      description: "What an event has of each document.",
    }),
    branch: z.literal("main").optional(),
    collection: z.string().optional().meta({ description: "Only commits that touch this collection." }),
    prefix: z.string().optional().meta({ description: "Start of the keys in that collection." }),
    docs: z.array(DocRef).min(1).max(limits.docs.value).optional().meta({ description: "Exactly these." }),
    from: z.string().max(query.cursorCharacters.value).default("beginning").meta({
      description:
        "`beginning`, `now`, a cursor, a seq, a commit or a time: it has what comes after. Of no effect when it is there.",
    }),
    ack_ms: z.int().min(limits.ackMsMin.value).max(limits.ackMsMax.value).default(30_000).meta({
      description: "`shared`: an event that is not acknowledged by then is given again.",
    }),
    max_unacked: z.int().min(1).max(limits.unacked.value).default(256).meta({
      description: "Events that one consumer may have and not have acknowledged.",
    }),
    max_attempts: z.int().min(1).max(limits.attempts.value).optional().meta({
      description: "Deliveries after which an event is parked; never when left out.",
    }),
  })
  .meta({ id: "SubscriptionRequest" });

export const SubscriptionInfo = z
  .object({
    name: z.string(),
    mode: z.enum(["single", "shared"]),
    key: z.literal("doc").optional(),
    include: z.enum(["none", "json", "patch", "changes"]),
    collection: z.string().optional(),
    prefix: z.string().optional(),
    docs: z.array(DocRef).optional(),
    creator: z.string().meta({ description: "Subject of whoever made it." }),
    created: Time,
    ack_ms: z.int(),
    max_unacked: z.int(),
    max_attempts: z.int().nullable(),
    seq: Seq.meta({ description: "Everything up to this commit is acknowledged." }),
    cursor: CursorText,
    lag: z.object({
      commits: z.int().meta({ description: "After `seq`, whether they are for it or not." }),
      age_ms: z.int().nullable().meta({ description: "Of the oldest of these." }),
    }),
    unacknowledged: z.int().meta({ description: "Events that consumers have." }),
    ahead: z.int().meta({ description: "Ranges acknowledged beyond `seq`." }),
    parked: z.int(),
    full: z.boolean().meta({
      description: "Too many events are not acknowledged: nothing new is read before some are.",
    }),
    consumers: z.array(z.object({ consumer: Consumer, unacknowledged: z.int(), connected: z.boolean() })),
    problem: z.string().optional().meta({ description: "Code of what keeps it from going on." }),
  })
  .meta({ id: "Subscription" });

export const SubscriptionList = z.object({
  subscriptions: z.array(SubscriptionInfo),
  cursor: z.string().nullable(),
});

const Ids = z
  .array(z.int().min(1))
  .min(1)
  .meta({ maxItems: limits.ids.value, description: "Seqs of events." });

export const AckRequest = z
  .strictObject({
    seq: Seq.optional().meta({ description: "`single`: everything up to it; `shared`: this event." }),
    cursor: z
      .string()
      .max(query.cursorCharacters.value)
      .optional()
      .meta({ description: "Everything up to it, whatever the mode." }),
    through: Seq.optional().meta({ description: "The same, by its seq." }),
    ids: Ids.optional().meta({ description: "`shared`: these events." }),
  })
  .meta({ id: "AckRequest", description: "One of the four." });

export const AckAnswer = z
  .object({
    seq: Seq.meta({ description: "Everything up to this commit is acknowledged." }),
    cursor: CursorText,
  })
  .meta({ id: "Ack" });

export const NackRequest = z
  .strictObject({
    ids: Ids,
    consumer: Consumer.optional().meta({ description: "Who gives them back; `shared` needs it." }),
    delay_ms: z
      .int()
      .min(0)
      .max(limits.delayMs.value)
      .default(0)
      .meta({ description: "Before they are given again." }),
  })
  .meta({ id: "NackRequest" });

export const NackAnswer = z.object({ returned: z.int().meta({ description: "How many it had." }) });

export const ParkedList = z.object({
  parked: z.array(
    z.object({
      seq: Seq,
      attempts: z.int(),
      reason: z.enum(["nack", "timeout", "gone"]).meta({ description: "How the last delivery ended." }),
      retry: z.boolean().meta({ description: "It is being tried again." }),
    }),
  ),
});

export const ParkedRequest = z
  .strictObject({
    do: z.enum(["retry", "drop"]),
    ids: z.union([Ids, z.literal("all")]),
  })
  .meta({ id: "ParkedRequest" });

export const ParkedAnswer = z.object({
  count: z.int().meta({ description: "How many of them are parked." }),
});

export const DeliveryPage = z
  .object({
    events: z.array(
      ChangeEvent.extend({ attempt: z.int().min(1).meta({ description: "1 for the first time." }) }).meta({
        id: "Delivery",
      }),
    ),
    consumer: Consumer,
    seq: Seq.meta({ description: "Everything up to this commit is acknowledged." }),
    cursor: CursorText,
  })
  .meta({ id: "DeliveryPage" });
