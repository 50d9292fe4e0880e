import { checkCollection, checkKey, parseDocName } from "../ids/names.ts";
import { SkaldError } from "../errors.ts";

/** Which documents' commits a feed has. Every part that is there must hold. */
export interface FeedFilter {
  /** Names that start with this: a collection, or the start of its keys. */
  readonly prefix?: string;
  /** Exactly these documents. */
  readonly docs?: readonly string[];
  /** What its reader may see: names that start with one of these. */
  readonly visible?: readonly string[];
}

/** Whether a document is in the feed; undefined when every commit is, also one without documents. */
export type DocTest = (doc: string) => boolean;

export function docTest({ prefix, docs, visible }: FeedFilter): DocTest | undefined {
  const tests: DocTest[] = [];
  if (prefix !== undefined) tests.push((doc) => doc.startsWith(prefix));
  if (docs) {
    const wanted = new Set(docs);
    tests.push((doc) => wanted.has(doc));
  }
  if (visible) tests.push((doc) => visible.some((start) => doc.startsWith(start)));
  if (tests.length <= 1) return tests[0];
  return (doc) => tests.every((test) => test(doc));
}

/** The same for the same filter: readers who share it can share what is read. */
export function filterKey({ prefix, docs, visible }: FeedFilter): string {
  return JSON.stringify([prefix ?? null, docs ? docs.toSorted() : null, visible ?? null]);
}

/** A filter as a request spells it. `prefix` is of the key. Throws BAD_REQUEST, NAME_INVALID. */
export function feedFilter(asked: {
  readonly collection?: string;
  readonly prefix?: string;
  readonly docs?: readonly string[];
  readonly visible?: readonly string[];
}): FeedFilter {
  const { collection, prefix, docs, visible } = asked;
  if (prefix !== undefined && collection === undefined)
    throw new SkaldError("BAD_REQUEST", "`prefix` is of a key, so it needs `collection`.");
  if (prefix !== undefined && prefix !== "") checkKey(prefix);
  docs?.forEach(parseDocName);
  return {
    ...(collection === undefined ? {} : { prefix: `${checkCollection(collection)}/${prefix ?? ""}` }),
    ...(docs === undefined ? {} : { docs }),
    ...(visible === undefined ? {} : { visible }),
  };
}
