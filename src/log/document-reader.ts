import { SkaldError } from "../errors.ts";
import { toBase58Check } from "../ids/document-id.ts";
import { nextTurn } from "../world.ts";
import { archive, commitsOfRow, touchesRow } from "./archive.ts";
import { automergeIdOf, drawnName, idPrefix } from "./automerge-ids.ts";
import { docOf, isDocRow, MAIN, isOfMain, pastOf, rowOf, rowsPrefix, type Stretch } from "./branches.ts";
import { Stage } from "./stage.ts";
import { readTrustedHeader } from "./change.ts";
import type { CommitEntry } from "./commit.ts";
import { CommitReader } from "./commit-reader.ts";
import { headsOf, type DocState } from "./doc-state.ts";
import { EntryChain } from "./entry-chain.ts";
import { erasedError } from "./erased.ts";
import { FoundDocs, foundSteps, OnBranches } from "./on-branches.ts";
import { tipsOf } from "./refusals.ts";
import { changesIn, type StoredCommit } from "./stored-commit.ts";

/** Documents as commits made them, on any branch and at any point. */
export class DocumentReader extends CommitReader {
  protected readonly found = new FoundDocs();
  /** Heads worked out by `#headsLeft`. */
  readonly #left = new Map<string, readonly string[]>();

  /** A document as it is on a branch, under its own name. Not to be changed by the caller. Throws BRANCH_NOT_FOUND. */
  state(doc: string, branch?: string): DocState | undefined {
    const id = this.branchId(branch);
    if (id === 0) return this.catalog.doc(doc);
    const state = this.catalog.doc(rowOf(id, doc)) ?? this.#find(id, doc);
    return state && (state.name === doc ? state : { ...state, name: doc });
  }

  /** Works out what a branch found of documents that its parent has written since, so that writing them takes no time. */
  async ready(branch: string | undefined, docs: readonly string[]): Promise<void> {
    const id = this.catalog.branches.named(branch ?? MAIN)?.id ?? 0;
    if (id === 0) return;
    for (const doc of docs) {
      const row = rowOf(id, doc);
      if (this.catalog.doc(row) || this.found.has(row)) continue;
      const steps = foundSteps(this.source(), id, doc);
      for (;;) {
        const step = steps.next();
        if (step.done) {
          this.found.put(row, step.value);
          break;
        }
        await nextTurn(this.world);
      }
    }
  }

  #find(id: number, doc: string): DocState | undefined {
    return this.source().stage(id).doc(doc);
  }

  /** What is durable, for whoever works out how a document was. */
  protected source(): OnBranches {
    const below = {
      archive: (row: string) => archive(this.records, this.catalog, row),
      commitsOn: (id: number, after: number, upTo: number) => this.commitsOf(id, after, upTo),
      commitsOf: (row: string, upTo: number) => commitsOfRow(this.records, this.catalog, row, upTo),
      found: this.found,
      last: this.current.seq,
    };
    return new OnBranches(new Stage(this.catalog), below, (seq) => this.commit(seq) as StoredCommit);
  }

  /**
   * The document with this Automerge id (16 bytes), deleted ones included. Of a named document and one that a
   * client made under the same id, the named one.
   */
  named(id: Uint8Array, branch?: string): string | undefined {
    const { uid } = this.identity;
    const start = idPrefix(id);
    const at = this.branchId(branch);
    let drawn: string | undefined;
    for (const row of this.catalog.named(start)) {
      if (!this.#isThere(row, at)) continue;
      const name = docOf(row);
      const own = automergeIdOf(uid, name);
      if (idPrefix(own) !== start) {
        throw new SkaldError("DERIVED_DAMAGED", `The catalog leads to ${name} from another document's id.`);
      }
      if (Buffer.compare(own, id) !== 0) continue;
      if (name !== drawnName(toBase58Check(id))) return name;
      drawn = name;
    }
    return drawn;
  }

  /** Whether a branch has a document that a row is of. */
  #isThere(row: string, id: number): boolean {
    if (id === 0) return isOfMain(row);
    if (!isDocRow(row)) return false;
    return this.stateOfRow(docOf(row), id, this.current.seq) !== undefined;
  }

  /**
   * The heads a document had on a branch after commit `seq`, and the last commit up to there that touched it there or
   * in the branch's past. Changes that were set aside, then or later, are left out: a point before that can be read
   * all the same. Throws BRANCH_NOT_FOUND.
   */
  stateAt(doc: string, seq: number, branch?: string): DocPoint | undefined {
    return this.stateOfRow(doc, this.branchId(branch), seq);
  }

  /** The same of a branch by its id, also of one that was deleted. */
  stateOfRow(doc: string, id: number, seq: number): DocPoint | undefined {
    let refused: DocState | undefined;
    for (const stretch of id === 0 ? [{ id, upTo: seq }] : pastOf(this.catalog.branches, id, seq)) {
      const row = rowOf(stretch.id, doc);
      const state = this.catalog.doc(row);
      if (!state) continue;
      // What the branch itself has set aside, which is all that it found set aside and more.
      refused ??= state;
      if (state.last <= stretch.upTo && refused === state)
        return { seq: state.last, heads: headsOf(state), deleted: state.deleted };
      const [touched] = this.#touched(doc, stretch, 1);
      if (touched === undefined) continue;
      const entry = this.entryOf(doc, touched);
      const gone = refused.refused;
      const heads = entry.heads.some((head) => gone.has(head))
        ? this.#headsLeft(doc, id, touched, refused.refusedAt)
        : entry.heads;
      return { seq: touched, heads, deleted: entry.deleted === true };
    }
    return undefined;
  }

  /** The heads after commit `seq` without what was set aside since: the only ones no commit names. */
  #headsLeft(doc: string, id: number, seq: number, refusedAt: number): readonly string[] {
    const key = `${seq} ${refusedAt} ${rowOf(id, doc)}`;
    let heads = this.#left.get(key);
    if (!heads) {
      heads = tipsOf(this.changesOn(id, doc, 0, seq).map(readTrustedHeader));
      if (this.#left.size >= LEFT_MAX) this.#left.clear();
      this.#left.set(key, heads);
    }
    return heads;
  }

  /** Looks documents up that will be asked for one by one. */
  warm(docs: readonly string[], branch?: string): void {
    const id = this.branchId(branch);
    this.catalog.warm(id === 0 ? docs : docs.map((doc) => rowOf(id, doc)));
  }

  /** What commit `seq` did to `doc`. */
  entryOf(doc: string, seq: number): CommitEntry {
    const entry = this.commit(seq)?.commit.entries.find((candidate) => candidate.doc === doc);
    if (!entry)
      throw new SkaldError("DERIVED_DAMAGED", `Commit ${seq} does not hold ${doc}, as the catalog says.`);
    return entry;
  }

  /** Seqs of commits on `main` that touched `doc` and stand alone, at or below `before`, newest first. */
  singles(doc: string, before: number, limit: number): number[] {
    return this.catalog.touches(doc, before, limit);
  }

  /** The last commit of the newest bundle with commits of `doc` on `main`, 0 for none: whatever is later stands alone. */
  bundledUpTo(doc: string): number {
    return this.catalog.bundlesOf(doc)[0] ?? 0;
  }

  /** How many bundles have commits of `doc` on `main` after commit `seq`: a cold read opens them all. */
  bundlesAfter(doc: string, seq: number): number {
    return this.catalog.bundlesOf(doc).filter((last) => last > seq).length;
  }

  /** The bundles with commits of `doc` on `main`, without commits of other branches; each costs about a tenth of a second. */
  *bundled(
    doc: string,
    order: "newest first" | "oldest first" = "newest first",
  ): Generator<readonly StoredCommit[]> {
    for (const commits of archive(this.records, this.catalog, doc, order))
      yield this.branched ? commits.filter(({ commit }) => commit.branch === MAIN) : commits;
  }

  /** Seqs of commits that touched `doc` on a branch or in its past, at or below `before`, newest first. Throws BRANCH_NOT_FOUND. */
  history(doc: string, before: number, limit: number, branch?: string): number[] {
    const id = this.branchId(branch);
    if (id === 0) return this.#touched(doc, { id, upTo: before }, limit);
    const seqs: number[] = [];
    for (const stretch of pastOf(this.catalog.branches, id, before)) {
      if (seqs.length >= limit) break;
      seqs.push(...this.#touched(doc, stretch, limit - seqs.length));
    }
    return seqs;
  }

  #touched(doc: string, { id, upTo }: Stretch, limit: number): number[] {
    const row = rowOf(id, doc);
    const seqs = this.catalog.touches(row, upTo, limit);
    if (seqs.length >= limit) return seqs;
    for (const last of this.catalog.bundlesUpTo(row, upTo)) {
      if (seqs.length >= limit) break;
      const touching = this.records.touching(last, doc);
      for (let i = touching.length - 1; i >= 0 && seqs.length < limit; i -= 1) {
        const seq = touching[i] as number;
        if (seq <= upTo && this.#isOf(seq, id, doc)) seqs.push(seq);
      }
    }
    return seqs;
  }

  /**
   * The changes of `doc` in commits (after, upTo] of a branch and its past, in the order they were applied, without
   * those set aside. Throws BRANCH_NOT_FOUND, and ERASED when the document is, also by a later commit.
   */
  changes(doc: string, after: number, upTo: number, branch?: string): Uint8Array[] {
    return this.changesOn(this.branchId(branch), doc, after, upTo);
  }

  protected changesOn(id: number, doc: string, after: number, upTo: number): Uint8Array[] {
    this.checkErased(doc);
    const changes: Uint8Array[] = [];
    const chain = new EntryChain(doc, after === 0 ? [] : undefined);
    let refused: ReadonlyMap<string, string> | undefined;
    const stretches: Stretch[] = [];
    for (const stretch of id === 0 ? [{ id, upTo }] : pastOf(this.catalog.branches, id, upTo)) {
      const state = this.catalog.doc(rowOf(stretch.id, doc));
      if (!state) continue;
      refused ??= state.refused;
      if (stretch.upTo > after) stretches.push(stretch);
    }
    for (const stretch of stretches.reverse()) {
      for (const stored of this.#commitsOf(doc, stretch, after)) {
        chain.follow(stored);
        changes.push(...changesIn(stored, doc));
      }
    }
    if (refused && refused.size > 0) {
      const gone = refused;
      return changes.filter((bytes) => !gone.has(readTrustedHeader(bytes).hash));
    }
    return changes;
  }

  /** Whether commit `seq`, which writes `doc`, is of branch `id`. */
  #isOf(seq: number, id: number, doc: string): boolean {
    const { branches } = this.catalog;
    return !branches.any || touchesRow(branches, (this.commit(seq) as StoredCommit).commit, id, doc);
  }

  /** The commits after `after` that touched a document in a stretch of a branch, oldest first. */
  *#commitsOf(doc: string, { id, upTo }: Stretch, after: number): Generator<StoredCommit> {
    const row = rowOf(id, doc);
    for (const last of this.catalog.bundlesUpTo(row, upTo).reverse()) {
      if (last <= after) continue;
      for (const seq of this.records.touching(last, doc)) {
        if (seq > after && seq <= upTo && this.#isOf(seq, id, doc)) yield this.commit(seq) as StoredCommit;
      }
    }
    for (const seq of this.catalog.touchesAfter(row, after, upTo)) {
      const stored = this.commit(seq);
      if (stored) yield stored;
    }
  }

  /**
   * Documents in name order after `after`; `prefix` is of `collection/key`. On another branch than `main` those that
   * it wrote and those that it found when it was made. Throws BRANCH_NOT_FOUND.
   */
  list(prefix: string, after: string, limit: number, withDeleted?: boolean): DocState[];
  list(
    prefix: string,
    after: string,
    limit: number,
    withDeleted: boolean,
    branch: string | undefined,
  ): ListedDoc[];
  list(prefix: string, after: string, limit: number, withDeleted = false, branch?: string): ListedDoc[] {
    const id = this.branchId(branch);
    if (id === 0) return this.catalog.list(prefix, after, limit, withDeleted);
    const found: ListedDoc[] = [];
    for (let from = after; found.length < limit;) {
      const names = this.#namesOn(id, prefix, from, limit - found.length);
      for (const { name, first } of names.docs) {
        const point = this.stateOfRow(name, id, this.current.seq);
        if (point && (withDeleted || !point.deleted))
          found.push({ name, first, last: point.seq, deleted: point.deleted });
        if (found.length === limit) break;
      }
      if (names.upTo === undefined) break;
      from = names.upTo;
    }
    return found;
  }

  /** Names after `after` that a branch and what it stands on have rows of; all of them up to `upTo`, or all there are. */
  #namesOn(
    id: number,
    prefix: string,
    after: string,
    limit: number,
  ): { docs: { name: string; first: number }[]; upTo: string | undefined } {
    const docs = new Map<string, number>();
    let upTo: string | undefined;
    for (const stretch of pastOf(this.catalog.branches, id)) {
      const start = rowsPrefix(stretch.id);
      const rows =
        stretch.id === 0
          ? this.catalog.list(prefix, after, limit, true)
          : this.catalog.listRows(start + prefix, start + after, limit, true);
      for (const { name: row, first } of rows) {
        const name = docOf(row);
        // Where a branch wrote a document first that another wrote earlier, the earlier row is further back.
        docs.set(name, Math.min(first, docs.get(name) ?? first));
      }
      const last = rows.length < limit ? undefined : docOf(rows.at(-1)?.name ?? "");
      if (last !== undefined && (upTo === undefined || isBefore(last, upTo))) upTo = last;
    }
    const end = upTo;
    const names = [...docs]
      .map(([name, first]) => ({ name, first }))
      .filter(({ name }) => end === undefined || !isBefore(end, name))
      .sort((a, b) => (isBefore(a.name, b.name) ? -1 : 1));
    return { docs: names, upTo };
  }

  /** Names of documents touched by commits from `from` on; stops at `limit`. */
  touchedSince(from: number, limit: number): string[] {
    return this.catalog.touchedSince(from, limit);
  }

  /**
   * Names of documents that commits of branch `id` in (after, upTo] touched, each once and in no order; there may be
   * some that only later ones did. Costs what was written since, or what was written between, whichever is less.
   */
  touchedOn(id: number, after: number, upTo: number): string[] {
    if (id !== 0) return this.catalog.touchedRows(rowsPrefix(id), after).map(docOf);
    const later = upTo >= this.current.seq ? EVERY : SCAN_WORTH * (upTo - after);
    const names = this.catalog.touchedSince(after + 1, later);
    if (names.length < later) return names;
    const found = new Set<string>();
    for (let from = after + 1; from <= upTo;) {
      const page = this.commits(from, Math.min(SCAN_PAGE, upTo - from + 1));
      if (page.length === 0) break;
      for (const { commit } of page)
        if (this.idOfCommit(commit) === id) for (const { doc } of commit.entries) found.add(doc);
      from += page.length;
    }
    return [...found];
  }

  /** Throws ERASED when the document is. */
  checkErased(doc: string): void {
    const erased = this.erasedAt(doc);
    if (erased !== undefined) throw erasedError(doc, erased);
  }

  /** Set when a document is erased, on all branches: the commit that did it, 0 while only stubs tell. */
  erasedAt(doc: string): number | undefined {
    const erased = this.catalog.doc(doc)?.erased;
    if (erased || !this.catalog.branches.any) return erased;
    return this.catalog.rowsOf(doc).some((row) => this.catalog.doc(row)?.erased !== undefined) ? 0 : erased;
  }
}

/** A document in a list. */
export type ListedDoc = Pick<DocState, "name" | "first" | "last" | "deleted">;

export interface DocPoint {
  readonly seq: number;
  readonly heads: readonly string[];
  readonly deleted: boolean;
}

/** Names sort by their UTF-8. */
function isBefore(a: string, b: string): boolean {
  return Buffer.compare(Buffer.from(a), Buffer.from(b)) < 0;
}

/** Documents that may be looked at for nothing before reading a commit costs less. */
const SCAN_WORTH = 4;

const SCAN_PAGE = 256;

const EVERY = 1_000_000_000;

const LEFT_MAX = 1000;
