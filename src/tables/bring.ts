import type { Db } from "../db/db.ts";
import { cidToString } from "../ids/cid.ts";
import { MAIN } from "../log/branches.ts";
import type { StoredCommit } from "../log/log.ts";
import type { DocumentRow } from "../store/sqlite-views.ts";
import type { TablesHead } from "../store/sqlite-tables.ts";
import { nextTurn } from "../world.ts";
import { SkaldError } from "../errors.ts";
import type { CommitState, DocumentState, Part } from "./steps.ts";

/**
 * Feeds what brings a file from `from` (nothing, when it is new) to where `main` is, and gives where that is. The rows
 * are those of the documents projection; while they are read it goes on, and then what it went on with is read
 * again, until nothing of what was fed is from after the end.
 */
export async function bringTo(
  db: Db,
  from: TablesHead | undefined,
  feed: (part: Part) => Promise<void>,
): Promise<TablesHead> {
  const { log, projection } = db;
  const target = log.head().seq;
  await projection.catchUp();
  let upTo = from?.seq ?? 0;
  let schema = from?.schema ?? 0;
  if (projection.head() < target) throw new SkaldError("UNAVAILABLE", "The db is closing.");
  if (projection.head() === 0) return { branch: 0, seq: 0, schema: 0 };
  let first = from === undefined;
  while (upTo < projection.head()) {
    const to = projection.head();
    const now = log.schemaSeq(undefined, to);
    if (now !== schema) await feed({ schema: log.schemaAt(undefined, to) });
    schema = now;
    await feedCommits(db, upTo, to, feed);
    await (first ? feedAll(db, feed) : feedTouched(db, upTo, feed));
    first = false;
    upTo = to;
  }
  return { branch: 0, seq: upTo, schema };
}

async function feedCommits(
  db: Db,
  after: number,
  upTo: number,
  feed: (part: Part) => Promise<void>,
): Promise<void> {
  const { log } = db;
  for (let next = after + 1; next <= upTo;) {
    const page = log.commits(next, Math.min(COMMITS, upTo - next + 1));
    if (page.length === 0) return;
    next += page.length;
    await feed({ commits: page.filter(({ commit }) => commit.branch === MAIN).map(commitState) });
    await nextTurn(log.world);
  }
}

/** A commit as the tables have it. */
export function commitState({ cid, commit }: StoredCommit): CommitState {
  const { seq, branch, time, author, message, entries } = commit;
  return {
    seq,
    id: cidToString(cid),
    branch,
    time: new Date(time).toISOString(),
    author,
    message: message ?? null,
    entries: entries.map(({ doc, deleted, changes }) => ({
      doc,
      deleted: deleted === true,
      changes: changes.length,
    })),
  };
}

/** Every document that is there, in the order of names. */
async function feedAll(db: Db, feed: (part: Part) => Promise<void>): Promise<void> {
  for (let after = ""; ;) {
    const page = db.views.page(after, DOCUMENTS);
    const last = page.at(-1);
    if (!last) return;
    const there = page.filter(({ json, problem }) => json !== undefined || problem !== undefined);
    await feed({ documents: there.map(documentState) });
    after = last.name;
  }
}

/** Those that were touched after a commit, whenever. */
async function feedTouched(db: Db, after: number, feed: (part: Part) => Promise<void>): Promise<void> {
  const names = db.log.touchedSince(after + 1, Number.MAX_SAFE_INTEGER).sort();
  let documents: DocumentState[] = [];
  let characters = 0;
  for (const name of names) {
    const row = db.views.document(name);
    // One that was made a moment ago, which the projection has not come to.
    if (!row) continue;
    documents.push(documentState(row));
    characters += row.json?.length ?? 0;
    if (documents.length < DOCUMENTS && characters < CHARACTERS) continue;
    await feed({ documents });
    [documents, characters] = [[], 0];
  }
  if (documents.length > 0) await feed({ documents });
}

function documentState({ name, seq, json, problem }: DocumentRow): DocumentState {
  if (json !== undefined) return { name, seq, json };
  return problem === undefined ? { name, seq } : { name, seq, problem };
}

/** What goes to the thread at once: it is held in memory twice. */
const COMMITS = 500;
const DOCUMENTS = 500;
const CHARACTERS = 2 ** 20;
