import { pastOf, rowOf, type Branches } from "./branches.ts";
import type { ChangeHeader } from "./change.ts";
import { advance, followHollow, hollow, setAside, startRow, type DocState } from "./doc-state.ts";
import { erasedBy, stubbedIn } from "./erased.ts";
import { bringersOf } from "./merged.ts";
import { refusalOf } from "./refusals.ts";
import { headersIn, type StoredCommit } from "./stored-commit.ts";

/** What the state of a document at a point is worked out from. */
export interface RowSource {
  readonly branches: Branches;
  /** The newest state of a row. */
  row(row: string): DocState | undefined;
  /** The commits up to a seq that touched a row, oldest first. */
  commitsOf(row: string, upTo: number): Iterable<StoredCommit>;
  /** Whose an actor of a document is, on whichever branch it first wrote. */
  owner(doc: string, actor: string): string | undefined;
  /** At least those of these changes of a document that are in the log, by hash. */
  headers(doc: string, hashes: readonly string[]): ReadonlyMap<string, ChangeHeader>;
}

/** Commits between two yields. */
const SLICE = 64;

/**
 * The state of a document on a branch after commit `upTo`, as it was then: changes that were set aside later are in
 * it. Its name is that of the row it comes from. It costs nothing when the branch or what it stands on did not touch the document since, else a pass over the
 * document's commits up to there. Yields now and then.
 */
export function* stateSteps(
  source: RowSource,
  id: number,
  doc: string,
  upTo: number,
): Generator<void, DocState | undefined> {
  const stretches: { row: string; upTo: number }[] = [];
  let base: DocState | undefined;
  for (const stretch of pastOf(source.branches, id, upTo)) {
    const row = rowOf(stretch.id, doc);
    const now = source.row(row);
    if (now && now.last <= stretch.upTo) {
      base = now;
      break;
    }
    // A row of a branch names the first commit of all its past, so only that of `main` says when it began.
    if (now && !(stretch.id === 0 && now.first > stretch.upTo)) stretches.push({ row, upTo: stretch.upTo });
  }
  let state = base;
  for (const stretch of stretches.reverse()) {
    let begun = state !== undefined && state !== base;
    let done = 0;
    for (const stored of source.commitsOf(stretch.row, stretch.upTo)) {
      if (!begun) state = startRow(base, stretch.row);
      begun = true;
      replay(state as DocState, stored, doc, source);
      done += 1;
      if (done % SLICE === 0) yield;
    }
  }
  return state;
}

export function stateOn(source: RowSource, id: number, doc: string, upTo: number): DocState | undefined {
  const steps = stateSteps(source, id, doc, upTo);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

function replay(state: DocState, stored: StoredCommit, doc: string, source: RowSource): void {
  const { commit } = stored;
  const entry = commit.entries.find((candidate) => candidate.doc === doc);
  if (!entry) return;
  if (state.first === 0) state.first = commit.seq;
  state.last = commit.seq;
  state.deleted = entry.deleted === true;
  const erases = erasedBy(stored).has(doc);
  if (erases || stubbedIn(stored).has(doc)) hollow(state);
  if (erases) state.erased = commit.seq;
  if (state.erased !== undefined) return followHollow(state, entry);
  const bringer = bringersOf(stored);
  headersIn(stored, doc).forEach((header, i) => {
    const principal = bringer(doc, entry.changes[i] as Uint8Array) ?? commit.author;
    advance(
      state,
      header,
      state.actors.has(header.actor) ? "" : (source.owner(doc, header.actor) ?? principal),
    );
  });
  if (!entry.refused) return;
  const headers = source.headers(doc, [...entry.refused, ...entry.heads]);
  setAside(state, refusalOf(doc, entry.refused, entry.heads, headers), commit.seq);
}
