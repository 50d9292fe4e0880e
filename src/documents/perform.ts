import { SkaldError } from "../errors.ts";
import { writeEdit } from "./author.ts";
import type { LoadedDocuments } from "./cache.ts";
import { createPatch } from "./diff.ts";
import { divergencesOf } from "./divergence.ts";
import {
  changeHash,
  copyOf,
  emptyHandle,
  type Handle,
  loadChunks,
  missingHeads,
  sameHeads,
} from "./handle.ts";
import type { AuthorResult, CheckResult, DivergeResult, ReadResult } from "./jobs.ts";
import { stringifyJson } from "./json-value.ts";
import { conflictsOf, documentJson, project } from "./materialise.ts";
import type { Work } from "./messages.ts";

type WorkOf<K extends Work["kind"]> = Extract<Work, { kind: K }>;

/** Undefined when the handle's own heads are the wanted ones: Automerge is faster without. */
function viewHeads(handle: Handle, heads: string[]): string[] | undefined {
  return sameHeads(handle.getHeads(), heads) ? undefined : heads;
}

/**
 * A copy with the ancestors of `heads` and nothing else, for the caller to change and free. At other heads than
 * its own Automerge makes the changes anew from the operations, and a forged one can come out as another.
 * @throws SkaldError DOC_UNREADABLE when one did
 */
function copyAt(handle: Handle, heads: string[], actor?: string): Handle {
  const view = viewHeads(handle, heads);
  if (view === undefined) return copyOf(handle, actor);
  const copy = handle.fork(actor, view);
  if (sameHeads(copy.getHeads(), heads)) return copy;
  copy.free();
  throw new SkaldError(
    "DOC_UNREADABLE",
    "The document holds a change that Automerge does not keep as it is.",
  );
}

export function performRead(handle: Handle, work: WorkOf<"read">): ReadResult {
  const root = documentJson(handle, viewHeads(handle, work.heads));
  const json = work.paths === undefined ? stringifyJson(root) : project(root, work.paths);
  return work.conflicts === true ? { json, conflicts: conflictsOf(handle, work.heads) } : { json };
}

export function performSave(handle: Handle, work: WorkOf<"save">): Uint8Array {
  if (viewHeads(handle, work.heads) === undefined) return handle.save();
  const copy = copyAt(handle, work.heads);
  try {
    return copy.save();
  } finally {
    copy.free();
  }
}

export function performAuthor(
  handle: Handle,
  work: WorkOf<"author">,
  documents: LoadedDocuments,
): AuthorResult {
  // The actor's next seq is that of the wanted heads, since the copy has nothing else.
  const copy = copyAt(handle, work.heads, work.actor);
  let kept = false;
  try {
    writeEdit(copy, work.edit);
    const head = copy.commit(work.message ?? null, work.time);
    const json = stringifyJson(documentJson(copy));
    if (head === null) return { change: undefined, heads: work.heads, json };
    const change = copy.getLastLocalChange();
    if (change === null) throw new Error("Automerge committed a change and does not have it");
    documents.propose(work.docRef, copy, head);
    kept = true;
    return { change, heads: [head], json };
  } finally {
    if (!kept) copy.free();
  }
}

export function performDiff(handle: Handle, work: WorkOf<"diff">): { patch: string } {
  const before = documentJson(handle, viewHeads(handle, work.from));
  const after = documentJson(handle, viewHeads(handle, work.to));
  return { patch: stringifyJson(createPatch(before, after)) };
}

export function performDiverge(handle: Handle, work: WorkOf<"diverge">): DivergeResult {
  const { heads, into, from } = work;
  // A view of what holds more would be many times slower, and lists have no elements by name in it.
  if (viewHeads(handle, heads) === undefined) return { divergences: divergencesOf(handle, into, from) };
  // These need not be tips: the one side's may be in the past of the other's.
  const copy = handle.fork(undefined, heads);
  try {
    return { divergences: divergencesOf(copy, into, from) };
  } finally {
    copy.free();
  }
}

/**
 * Applies the changes to a copy, saves it, loads it back and compares; on failure finds by halving a run of
 * changes that fails and does not without its last, which is the one refused: -1 for the document itself.
 * Each half that holds stays applied, so all of it costs a few times what applying once does. `panicked` is
 * called when Automerge panicked; what is found after that is not sure.
 */
export function performCheck(handle: Handle, work: WorkOf<"check">, panicked: () => void): CheckResult {
  const { heads, changes } = work;
  // Made by the first half that holds; until then the handle itself is the base.
  let base: Handle | undefined;
  let fine = 0;
  let failing = changes.length;
  let held: { saved: Uint8Array; json: string } | undefined;
  let reason = tryUpTo(failing);
  while (reason !== undefined && failing - fine > 1) {
    const middle = (fine + failing) >> 1;
    const found = tryUpTo(middle);
    if (found === undefined) {
      fine = middle;
    } else {
      failing = middle;
      reason = found;
    }
  }
  // Nothing held, so it may be the document's own fault and not the first change's.
  if (reason !== undefined && fine === 0 && failing === 1) {
    const own = tryUpTo(0);
    if (own !== undefined) [failing, reason] = [0, own];
  }
  if (base !== undefined) release(base);
  if (reason !== undefined || held === undefined)
    return { refused: { index: failing - 1, reason: reason ?? "" } };
  return work.keep === true ? held : { json: held.json };

  /** On success the copy becomes the base. */
  function tryUpTo(count: number): string | undefined {
    let copy: Handle | undefined;
    try {
      copy = base === undefined ? copyAt(handle, heads) : copyOf(base);
      const found = tried(copy, changes.slice(fine, count));
      const refused = typeof found === "string";
      if (!refused) [base, copy, held] = [copy, base, found];
      if (copy !== undefined) release(copy);
      return refused ? found : undefined;
    } catch (error) {
      if (isPanic(error)) panicked();
      else if (copy !== undefined) release(copy);
      if (!(error instanceof Error)) throw error;
      return error.message;
    }
  }
}

/** After a panic Automerge may refuse even this; the thread then ends, and the memory with it. */
function release(handle: Handle): void {
  try {
    handle.free();
  } catch (error) {
    if (!isPanic(error)) throw error;
  }
}

/** Why the copy does not take the changes, or what it is with them. */
function tried(copy: Handle, changes: Uint8Array[]): string | { saved: Uint8Array; json: string } {
  copy.applyChanges(changes);
  const waiting = missingHeads(copy, changes.map(changeHash));
  if (waiting.length > 0) {
    return `a change that it depends on is not here: ${copy.getMissingDeps([]).join(", ") || waiting.join(", ")}`;
  }
  const saved = copy.save();
  const loaded = emptyHandle();
  loadChunks(loaded, saved);
  const json = stringifyJson(documentJson(copy));
  const same = sameHeads(loaded.getHeads(), copy.getHeads()) && stringifyJson(documentJson(loaded)) === json;
  loaded.free();
  return same ? { saved, json } : "the document saved with it does not load as it was";
}

/** A failed assertion inside Automerge, or the WASM module's end. */
export function isPanic(error: unknown): boolean {
  if (!(error instanceof Error)) return true;
  return (
    error.name === "PanicError" ||
    error.name === "RuntimeError" ||
    /Module terminated|recursive use of an object|null pointer passed to rust/.test(error.message)
  );
}
