import { checkCollection } from "../ids/names.ts";
import { decodeEvent, encodeEvent, type Event } from "./event.ts";

/**
 * How long a collection keeps what was deleted, or what nobody writes any more. A rule is said by an event, so it
 * replicates and stands in the log for whoever asks why something is gone.
 */
export const RETENTION_SET = "retention.set";
/** What an application of rules says of itself, beside the `doc.erase` of each document. */
export const RETENTION_APPLY = "retention.apply";

export interface RetentionRule {
  readonly collection: string;
  /** Seconds after which deleted documents are erased; undefined when there is no rule any more. */
  readonly maxAge: number | undefined;
  /** Also erase documents that are there, when their last commit is as old. */
  readonly expire: boolean;
}

export function setEvent({ collection, maxAge, expire }: RetentionRule): Uint8Array {
  return encodeEvent({
    type: RETENTION_SET,
    collection,
    max_age: maxAge,
    ...(expire ? { expire } : {}),
  });
}

/** `before` is the time, in milliseconds since 1970, at or before which documents were last written. */
export function applyEvent(collection: string, before: number, documents: number): Uint8Array {
  return encodeEvent({ type: RETENTION_APPLY, collection, before, documents });
}

/** What an event of the type `retention.set` says; undefined when it is none that counts. */
export function ruleOf(event: Event): (RetentionRule & { readonly bytes: Uint8Array }) | undefined {
  const { collection, max_age: maxAge, expire = false } = event;
  if (event.type !== RETENTION_SET || typeof collection !== "string" || typeof expire !== "boolean")
    return undefined;
  if (maxAge !== undefined && (typeof maxAge !== "number" || maxAge < 1)) return undefined;
  try {
    checkCollection(collection);
  } catch {
    return undefined;
  }
  return { collection, maxAge, expire, bytes: encodeEvent(event) };
}

/** The rule that the catalog keeps. */
export function readRule(bytes: Uint8Array): RetentionRule | undefined {
  return ruleOf(decodeEvent(bytes));
}
