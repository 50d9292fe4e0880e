import { documentText, readDocument } from "./document-text.ts";
import { equalJson, type JsonObject } from "./exact-json.ts";
import { diffJson } from "./json-diff.ts";
import type { PatchStep } from "./json-patch.ts";
import { mergeJson } from "./three-way.ts";

/** A document as the server has it. */
export interface Stored {
  readonly value: JsonObject;
  readonly etag: string;
}

/**
 * What somebody makes of a document while others may change it. `base` is what the text stands on. What others
 * wrote and what was written here come together by themselves where they touch different places; otherwise `theirs`
 * waits with the places in question until somebody decides.
 */
export interface Editing {
  readonly base: Stored;
  readonly text: string;
  /** Null: the others deleted the document. */
  readonly theirs?: Stored | null;
  readonly clashes: readonly string[];
}

export function begin(stored: Stored): Editing {
  return { base: stored, text: documentText(stored.value), clashes: [] };
}

/** What the text says; undefined while it is no document. */
export function mineOf({ text }: Editing): JsonObject | undefined {
  const read = readDocument(text, "");
  return "value" in read ? read.value : undefined;
}

export function isDirty(editing: Editing): boolean {
  const mine = mineOf(editing);
  return mine === undefined || !equalJson(mine, editing.base.value);
}

/** The text was edited. What waits is looked at again: it may fit by now. */
export function typed(editing: Editing, text: string): Editing {
  const next = { ...editing, text };
  return next.theirs ? arrive(withoutTheirs(next), next.theirs) : next;
}

/** The server has another version by now; null: none. */
export function arrive(editing: Editing, stored: Stored | null): Editing {
  if (stored === null) return { ...editing, theirs: null, clashes: [] };
  if (stored.etag === editing.base.etag) return withoutTheirs(editing);
  if (!isDirty(editing)) return begin(stored);
  const mine = mineOf(editing);
  if (mine === undefined) return { ...editing, theirs: stored, clashes: [] };
  const { value, clashes } = mergeJson(editing.base.value, mine, stored.value, "mine");
  if (clashes.length > 0) return { ...editing, theirs: stored, clashes };
  return { base: stored, text: equalJson(value, mine) ? editing.text : documentText(value), clashes: [] };
}

export type Decision = "mine" | "theirs" | "drop";

/** `mine` and `theirs` say whose values stay where both changed one; what only one side changed stays in both. */
export function decide(editing: Editing, decision: Decision): Editing {
  const { theirs, base } = editing;
  if (!theirs) return decision === "drop" ? begin(base) : withoutTheirs(editing);
  const mine = mineOf(editing);
  if (decision === "drop" || mine === undefined) return begin(theirs);
  const { value } = mergeJson(base.value, mine, theirs.value, decision);
  return { base: theirs, text: documentText(value), clashes: [] };
}

/** What to send so that the server has what is written here. */
export function patchOf(editing: Editing): PatchStep[] {
  const mine = mineOf(editing);
  return mine === undefined ? [] : diffJson(editing.base.value, mine);
}

/** The server has taken `sent`; more may have been typed since. */
export function saved(editing: Editing, sent: JsonObject, etag: string): Editing {
  return { base: { value: sent, etag }, text: editing.text, clashes: [] };
}

function withoutTheirs({ base, text }: Editing): Editing {
  return { base, text, clashes: [] };
}
