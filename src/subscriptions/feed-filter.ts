import { checkCollection, checkKey, parseDocName } from "../ids/names.ts";
import { SkaldError } from "../errors.ts";
import { MAIN } from "../log/branches.ts";
import type { Log } from "../log/log.ts";

/** Which documents' commits a feed has. Every part that is there must hold. */
export interface FeedFilter {
  /** The branch whose commits, and those of its past, it has; `main` when absent, every branch's with `*`. */
  readonly branch?: string;
  /** Names that start with this: a collection, or the start of its keys. */
  readonly prefix?: string;
  /** Exactly these documents. */
  readonly docs?: readonly string[];
  /** What its reader may see: names that start with one of these. */
  readonly visible?: readonly string[];
}

/** The branch of a filter that has the commits of all. */
export const EVERY_BRANCH = "*";

/** Whether a commit is in the feed, by the name of its branch and its seq. */
export type CommitTest = (branch: string, seq: number) => boolean;

/** Undefined when every commit is. Throws BRANCH_NOT_FOUND. */
export function commitTest(log: Log, { branch = MAIN }: FeedFilter): CommitTest | undefined {
  if (branch === EVERY_BRANCH) return undefined;
  const id = log.branchId(branch);
  if (!log.branched) return undefined;
  if (id === 0) return (name) => name === MAIN;
  return (name, seq) => log.isInPast(id, { branch: name, seq });
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
export function filterKey({ branch, prefix, docs, visible }: FeedFilter): string {
  return JSON.stringify([branch ?? MAIN, prefix ?? null, docs ? docs.toSorted() : null, visible ?? null]);
}

/** A filter as a request spells it. `prefix` is of the key. Throws BAD_REQUEST, NAME_INVALID. */
export function feedFilter(asked: {
  readonly collection?: string;
  readonly prefix?: string;
  readonly docs?: readonly string[];
  readonly visible?: readonly string[];
  readonly branch?: string;
}): FeedFilter {
  const { branch, collection, prefix, docs, visible } = asked;
  if (prefix !== undefined && collection === undefined)
    throw new SkaldError("BAD_REQUEST", "`prefix` is of a key, so it needs `collection`.");
  if (prefix !== undefined && prefix !== "") checkKey(prefix);
  docs?.forEach(parseDocName);
  return {
    ...(branch === undefined ? {} : { branch }),
    ...(collection === undefined ? {} : { prefix: `${checkCollection(collection)}/${prefix ?? ""}` }),
    ...(docs === undefined ? {} : { docs }),
    ...(visible === undefined ? {} : { visible }),
  };
}
