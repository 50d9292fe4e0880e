import { SkaldError } from "../errors.ts";
import { mergeEventIn } from "./branch-events.ts";
import type { DocStage } from "./stage.ts";
import { eventsIn } from "./erased.ts";
import { SCHEMA_CHANGE } from "./schema-events.ts";
import type { StoredCommit } from "./stored-commit.ts";

/**
 * What a write was worked out from, for the log to compare with what was committed since: nobody knows the heads of
 * all documents that a statement looked at, nor that others were not there.
 */
export interface Unchanged {
  /** The seq that was read. */
  readonly since: number;
  /** Collections of which any document may have mattered; `all` for the db as it was, history included. */
  readonly collections: readonly string[] | "all";
  /** Documents that mattered by their names, whether they were there or not. */
  readonly docs?: readonly string[];
}

/** Of a commit, what an `Unchanged` asks. */
interface Touched {
  readonly branch: string;
  readonly collections: ReadonlySet<string>;
  /** It may change what tables there are. */
  readonly schema: boolean;
}

/** What the last commits touched, as far as somebody asked: each is read once for it. */
export class RecentTouches {
  readonly #commits = new Map<number, Touched>();

  of(seq: number, commit: (seq: number) => StoredCommit): Touched {
    const known = this.#commits.get(seq);
    if (known) return known;
    const touched = touchedBy(commit(seq));
    this.put(seq, touched);
    return touched;
  }

  /** Commit `seq`, which must be durable. */
  put(seq: number, touched: Touched): void {
    this.#commits.set(seq, touched);
    for (const oldest of this.#commits.keys()) {
      if (this.#commits.size <= KEPT_MAX) break;
      this.#commits.delete(oldest);
    }
  }
}

export function touchedBy(stored: StoredCommit): Touched {
  const { commit } = stored;
  const schema =
    commit.parents.length > 1 ||
    (commit.events.length > 0 &&
      (mergeEventIn(stored) !== undefined || eventsIn(stored).some(({ type }) => type === SCHEMA_CHANGE)));
  return { branch: commit.branch, collections: collectionsIn(commit.entries), schema };
}

/**
 * Throws SQL_CONFLICT when a commit of the branch after `since` touched what `unchanged` names. `commit` finds those
 * after it, up to `head`.
 */
export function checkUnchanged(
  { since, collections, docs = [] }: Unchanged,
  { branch, head, stage, touched }: ChangesSince,
): void {
  if (since === head) return;
  if (since > head || collections === "all" || head - since > LOOKED_MAX) throw conflict(since, head);
  for (const doc of docs) {
    const last = stage.doc(doc)?.last ?? 0;
    if (last > since) throw conflict(since, last);
  }
  for (let seq = since + 1; seq <= head; seq += 1) {
    const commit = touched(seq);
    if (commit.branch !== branch) continue;
    if (commit.schema || collections.some((name) => commit.collections.has(name))) throw conflict(since, seq);
  }
}

export interface ChangesSince {
  readonly branch: string;
  readonly head: number;
  readonly stage: DocStage;
  readonly touched: (seq: number) => Touched;
}

/** The collections of the documents that entries are of. */
export function collectionsIn(entries: readonly { readonly doc: string }[]): ReadonlySet<string> {
  const names = new Set<string>();
  for (const { doc } of entries) names.add(doc.slice(0, doc.indexOf("/")));
  return names;
}

function conflict(since: number, seq: number): SkaldError {
  return new SkaldError("SQL_CONFLICT", `Commit ${seq} changed what was read at seq ${since}.`, {
    details: { since, seq },
  });
}

/** Commits looked at: whoever is further behind reads again, which is cheaper. */
const LOOKED_MAX = 1000;
const KEPT_MAX = 1024;
