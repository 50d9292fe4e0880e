import { writeEdit } from "./author.ts";
import type { LoadedDocuments } from "./cache.ts";
import { createPatch } from "./diff.ts";
import { changeHash, emptyHandle, type Handle, loadChunks, missingHeads, sameHeads } from "./handle.ts";
import type { AuthorResult, CheckResult, ReadResult } from "./jobs.ts";
import { stringifyJson } from "./json-value.ts";
import { conflictsOf, documentJson, project } from "./materialise.ts";
import type { Work } from "./messages.ts";

type WorkOf<K extends Work["kind"]> = Extract<Work, { kind: K }>;

/** Undefined when the handle's own heads are the wanted ones: Automerge is faster without. */
function viewHeads(handle: Handle, heads: string[]): string[] | undefined {
  return sameHeads(handle.getHeads(), heads) ? undefined : heads;
}

/** A copy with the ancestors of `heads` and nothing else, for the caller to change and free. */
function copyAt(handle: Handle, heads: string[], actor?: string): Handle {
  return handle.fork(actor, viewHeads(handle, heads));
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

/**
 * Applies the changes to a copy, saves it, loads it back and compares; on failure finds the shortest run of
 * changes that fails, whose last change is the one refused. `panicked` is called when Automerge panicked.
 */
export function performCheck(handle: Handle, work: WorkOf<"check">, panicked: () => void): CheckResult {
  const { heads, changes } = work;
  let reason = refusalOf(changes.length);
  if (reason === undefined) return {};
  let fine = 0;
  let failing = changes.length;
  while (failing - fine > 1) {
    const middle = (fine + failing) >> 1;
    const found = refusalOf(middle);
    if (found === undefined) {
      fine = middle;
    } else {
      failing = middle;
      reason = found;
    }
  }
  return { refused: { index: failing - 1, reason } };

  function refusalOf(count: number): string | undefined {
    const copy = copyAt(handle, heads);
    try {
      const reason = refusal(copy, changes.slice(0, count));
      copy.free();
      return reason;
    } catch (error) {
      if (isPanic(error)) panicked();
      else copy.free();
      if (!(error instanceof Error)) throw error;
      return error.message;
    }
  }
}

function refusal(copy: Handle, changes: Uint8Array[]): string | undefined {
  copy.applyChanges(changes);
  const waiting = missingHeads(copy, changes.map(changeHash));
  if (waiting.length > 0) {
    return `a change that it depends on is not here: ${copy.getMissingDeps([]).join(", ") || waiting.join(", ")}`;
  }
  const loaded = emptyHandle();
  loadChunks(loaded, copy.save());
  const same =
    sameHeads(loaded.getHeads(), copy.getHeads()) &&
    stringifyJson(documentJson(loaded)) === stringifyJson(documentJson(copy));
  loaded.free();
  return same ? undefined : "the document saved with it does not load as it was";
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
