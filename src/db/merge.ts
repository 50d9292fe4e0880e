import type { Documents, SourceCallback } from "../documents/documents.ts";
import { isSkaldError, type ErrorCode } from "../errors.ts";
import { checkTxId } from "../ids/names.ts";
import { LIMITS } from "../limits.ts";
import type { BranchMerge, DocPoint, Log, MergedBranch, StoredCommit } from "../log/log.ts";
import type { Views } from "../store/sqlite-views.ts";
import { sourceOf } from "./source.ts";

/** A merge of a branch, as it is asked for; see `BranchMerge`. */
export type MergeRequest = Omit<BranchMerge, "clientTxId"> & { readonly clientTxId?: string };

/** What two sides both changed, to different values, since what both had. */
export interface MergeConflict {
  readonly doc: string;
  /** JSON pointer; "" when one side deleted the document and the other changed it. */
  readonly path: string;
  /** The side whose value the document shows. */
  readonly winner: "into" | "from";
  readonly into: ConflictSide;
  readonly from: ConflictSide;
}

export interface ConflictSide {
  /** JSON text; absent when the side has nothing there. */
  readonly json?: string;
  /** Who wrote the side's last change to it. */
  readonly author: string;
}

export interface MergeAnswer extends MergedBranch {
  readonly documents: number;
  /** By document, then as they stand in it. */
  readonly conflicts: readonly MergeConflict[];
  /** There are more of them than an answer takes. */
  readonly more: boolean;
  /** Documents of which conflicts could not be worked out. They are merged all the same. */
  readonly unchecked: readonly { readonly doc: string; readonly error: ErrorCode }[];
}

export interface MergeContext {
  readonly log: Log;
  readonly views: Views;
  readonly documents: Documents;
  readonly docRef: (doc: string, branch: string) => string;
}

/** Merges a branch, then works out what both sides changed: of what is durable, so nothing moves meanwhile. */
export async function mergeBranches(context: MergeContext, request: MergeRequest): Promise<MergeAnswer> {
  const { clientTxId } = request;
  const merged = await context.log.merge({
    ...request,
    clientTxId: clientTxId === undefined ? "" : checkTxId(clientTxId),
  });
  const docs = docsOf(merged.commits);
  const found = await conflictsIn(context, merged, request.into, docs);
  return { ...merged, ...found, documents: docs.length };
}

/** What a merge made of one document. */
interface MergedDoc {
  readonly doc: string;
  readonly base: readonly string[];
  heads: readonly string[];
  deleted: boolean;
  readonly changes: Uint8Array[];
}

function docsOf(commits: readonly StoredCommit[]): MergedDoc[] {
  const docs = new Map<string, MergedDoc>();
  for (const { commit, blocks } of commits) {
    let at = 0;
    for (const { doc, base, heads, changes, deleted = false } of commit.entries) {
      const own = blocks.slice(at, (at += changes.length));
      const known = docs.get(doc);
      if (known) {
        known.changes.push(...own);
        Object.assign(known, { heads, deleted });
      } else docs.set(doc, { doc, base, heads, deleted, changes: own });
    }
  }
  return [...docs.values()].sort((a, b) => (a.doc < b.doc ? -1 : 1));
}

/** Documents worked on at once: more would only wait in the workers' queues. */
const AT_ONCE = 32;
/** Conflicts in one answer: beyond, it says that there are more. */
const CONFLICTS_MAX = 10_000;

async function conflictsIn(
  context: MergeContext,
  { commits, from }: MergedBranch,
  into: string,
  docs: readonly MergedDoc[],
): Promise<Pick<MergeAnswer, "conflicts" | "more" | "unchecked">> {
  const [first] = commits;
  const sides = new Sides(context, into, (first?.commit.seq ?? 1) - 1, from);
  const found: (readonly MergeConflict[])[] = [];
  const unchecked: { doc: string; error: ErrorCode }[] = [];
  const todo = docs.entries();
  let count = 0;
  let size = 0;
  let more = false;
  const worker = async (): Promise<void> => {
    for (const [i, doc] of todo) {
      if (count >= CONFLICTS_MAX || size >= LIMITS.query.valuesCharacters.value) {
        more = true;
        return;
      }
      try {
        found[i] = await sides.conflicts(doc);
        count += found[i].length;
        for (const { into: a, from: b } of found[i]) size += (a.json?.length ?? 0) + (b.json?.length ?? 0);
      } catch (error) {
        // It is merged; only what it did to this document cannot be told.
        if (!isSkaldError(error) || !OF_ONE_DOCUMENT.has(error.code)) throw error;
        unchecked.push({ doc: doc.doc, error: error.code });
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, docs.length) }, worker));
  const conflicts = found.flat();
  return {
    conflicts: conflicts.slice(0, CONFLICTS_MAX),
    more: more || conflicts.length > CONFLICTS_MAX,
    unchecked,
  };
}

const OF_ONE_DOCUMENT: ReadonlySet<ErrorCode> = new Set([
  "DOC_UNREADABLE",
  "WORK_TIMEOUT",
  "WORK_FAILED",
  "DERIVED_DAMAGED",
  "ERASED",
]);

/** The two sides of a merge, as they were before it. */
class Sides {
  readonly #context: MergeContext;
  readonly #into: string;
  readonly #intoSeq: number;
  readonly #fromSeq: number;
  readonly #fromId: number;

  constructor(context: MergeContext, into: string, before: number, fromSeq: number) {
    const { log } = context;
    this.#context = context;
    this.#into = into;
    this.#intoSeq = log.seqOn(before, into);
    this.#fromSeq = fromSeq;
    const last = log.commit(fromSeq);
    this.#fromId = last ? log.idOfCommit(last.commit) : 0;
  }

  /** None of a document that is erased: a thread may still hold what it was. */
  async conflicts(merged: MergedDoc): Promise<readonly MergeConflict[]> {
    const isErased = (): boolean => this.#context.log.erasedAt(merged.doc) !== undefined;
    const found = isErased() ? [] : await this.#conflicts(merged);
    return isErased() ? [] : found;
  }

  async #conflicts(merged: MergedDoc): Promise<readonly MergeConflict[]> {
    const { log, documents, docRef } = this.#context;
    const { doc, base, heads, changes } = merged;
    const here = log.stateOfRow(doc, log.branchId(this.#into), this.#intoSeq);
    const there = log.stateOfRow(doc, this.#fromId, this.#fromSeq);
    // One side has all that the other has.
    if (!here || !there || changes.length === 0 || sameHeads(there.heads, heads)) return [];
    if (here.deleted !== there.deleted) return [await this.#deletion(merged, here, there)];
    if (here.deleted) return [];
    const own = sourceOf(log, this.#context.views, doc, this.#intoSeq, this.#into);
    const { divergences } = await documents.diverge({
      docRef: `${docRef(doc, this.#into)} merge ${this.#intoSeq} ${this.#fromSeq}`,
      heads: [...new Set([...base, ...there.heads])],
      into: [...base],
      from: [...there.heads],
      source: withChanges(own, changes),
    });
    return divergences.map(({ path, winner, into, from }) => {
      const side = ({ json, change }: typeof into): ConflictSide => ({
        author: log.authorOfChange(doc, change),
        ...(json === undefined ? {} : { json }),
      });
      return { doc, path, winner, into: side(into), from: side(from) };
    });
  }

  /** One side deleted the document, and the other has what that one did not know of. */
  async #deletion(
    { doc, deleted, base, changes }: MergedDoc,
    here: DocPoint,
    there: DocPoint,
  ): Promise<MergeConflict> {
    const { log, views, documents, docRef } = this.#context;
    const living = here.deleted ? there : here;
    const { json } = await documents.read({
      docRef: `${docRef(doc, this.#into)} merge ${this.#intoSeq} ${this.#fromSeq}`,
      heads: [...(here.deleted ? there.heads : base)],
      source: withChanges(sourceOf(log, views, doc, this.#intoSeq, this.#into), changes),
    });
    const side = (point: DocPoint): ConflictSide => ({
      author: log.commit(point.seq)?.commit.author ?? "",
      ...(point === living ? { json } : {}),
    });
    const winner = deleted === here.deleted ? "into" : "from";
    return { doc, path: "", winner, into: side(here), from: side(there) };
  }
}

/** The document as the target had it, and what the merge brought. */
function withChanges(own: SourceCallback, changes: readonly Uint8Array[]): SourceCallback {
  return async () => {
    const { chunks } = await own([]);
    return { chunks: [...chunks, ...changes] };
  };
}

function sameHeads(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((head) => b.includes(head));
}
