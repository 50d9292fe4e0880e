import { SkaldError } from "../errors.ts";
import type { ChangeHeader } from "./change.ts";
import { headsOf, type DocState, type Refusal } from "./doc-state.ts";

/**
 * Changes that Automerge does not take are set aside by a commit of their own: they stay in the log and
 * leave the document. Invariant: what is set aside is closed, so nothing that is left in a document
 * builds on it, by `deps` or as a later change of the same actor.
 */

/** The tips of a set of changes: those that none of the others builds on, sorted. */
export function tipsOf(changes: Iterable<Pick<ChangeHeader, "hash" | "deps">>): string[] {
  const tips = new Set<string>();
  const covered = new Set<string>();
  for (const { hash, deps } of changes) {
    tips.add(hash);
    for (const dep of deps) covered.add(dep);
  }
  for (const hash of covered) tips.delete(hash);
  return [...tips].sort();
}

/** Changes being refused, and what builds on them. Every change must be offered, in log order. */
export class RefusedSet {
  readonly hashes = new Set<string>();
  readonly #actors = new Set<string>();

  add(change: Pick<ChangeHeader, "hash" | "actor">): void {
    this.hashes.add(change.hash);
    this.#actors.add(change.actor);
  }

  /** Takes in a change that builds on one that is in; says whether it did. */
  takesIn(change: Pick<ChangeHeader, "hash" | "actor" | "deps">): boolean {
    const follows = this.#actors.has(change.actor) || change.deps.some((dep) => this.hashes.has(dep));
    if (follows) this.add(change);
    return follows;
  }
}

/** What the state keeps of a refusal. Throws DB_DAMAGED when `headers` lacks a change that it names. */
export function refusalOf(
  doc: string,
  hashes: readonly string[],
  heads: readonly string[],
  headers: ReadonlyMap<string, ChangeHeader>,
): Refusal {
  const found = (hash: string): ChangeHeader => {
    const header = headers.get(hash);
    if (!header)
      throw new SkaldError("DB_DAMAGED", `The change ${hash}, which a refusal names, is not in ${doc}.`);
    return header;
  };
  return {
    refused: new Map(hashes.map((hash) => [hash, found(hash).actor])),
    heads: new Map(heads.map((hash) => [hash, found(hash).maxOp])),
  };
}

/**
 * Throws CHANGE_REFUSED for a change that builds on one that was set aside. An actor's changes build on
 * each other, so an actor with a refused change has come to its end in this document.
 */
export function refuseDescendants(change: ChangeHeader, state: DocState): void {
  let refused = change.deps.filter((dep) => state.refused.has(dep));
  if (refused.length === 0) {
    refused = [...state.refused].filter(([, actor]) => actor === change.actor).map(([hash]) => hash);
  }
  if (refused.length === 0) return;
  throw new SkaldError("CHANGE_REFUSED", `The change ${change.hash} builds on one that was set aside.`, {
    details: {
      doc: state.name,
      change: change.hash,
      refused: refused.sort(),
      current_heads: headsOf(state),
    },
    hint: "Automerge does not take the changes in `refused`. Load the document again under a fresh actor id and repeat the edit.",
  });
}
