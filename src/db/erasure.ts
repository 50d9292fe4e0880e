import { LIMITS } from "../limits.ts";
import { headsOf } from "../log/doc-state.ts";
import type { Db } from "./db.ts";
import { ERASED_BEFORE, erasureOf, type Erasure } from "./erasing.ts";

export type { Erasure } from "./erasing.ts";

/** The documents of a db that were erased, by name after `after`. */
export function listErasures(
  db: Db,
  after: string,
  limit: number,
  only?: readonly string[],
): { erasures: Erasure[]; more: boolean } {
  const from = Buffer.from(after);
  const wanted = only && new Set(only);
  const facts = db.log
    .erasures()
    .filter(
      ({ name }) => Buffer.compare(Buffer.from(name), from) > 0 && (wanted === undefined || wanted.has(name)),
    );
  return {
    erasures: facts.slice(0, limit).map((fact) => erasureOf(db.log, fact)),
    more: facts.length > limit,
  };
}

/**
 * Erases what a list from elsewhere says was erased, such as of the db that a backup was made of: also documents that
 * are not here, so that nobody brings them back. What is erased here already is left alone. Resolves when nothing is
 * left of them. Gives how many were erased.
 */
export async function applyErasures(
  db: Db,
  list: Iterable<Pick<Erasure, "doc">>,
  author = "skald",
): Promise<number> {
  const docs = [...new Set([...list].map(({ doc }) => doc))].filter((doc) => !db.log.erasedAt(doc));
  const most = LIMITS.tx.writes.value;
  for (let at = 0; at < docs.length; at += most) {
    const some = docs.slice(at, at + most);
    await db.erase({ author, docs: some, absent: true, reason: ERASED_BEFORE });
  }
  await db.erased();
  return docs.length;
}

/** The heads that documents are at, for an erasure that must not take what was written since. */
export function headsNow(db: Db, docs: readonly string[]): Map<string, readonly string[]> {
  return new Map(docs.map((doc) => [doc, headsOfDoc(db, doc)]));
}

function headsOfDoc(db: Db, doc: string): readonly string[] {
  const state = db.log.state(doc);
  return state ? headsOf(state) : [];
}
