import { nextTurn } from "../world.ts";
import type { DocPoint, Log } from "../log/log.ts";
import { MAIN } from "../log/branches.ts";
import { looksLikePoint, resolvePoint } from "./point.ts";

/** A branch as it was after a commit. */
export interface BranchPoint {
  readonly branch: string;
  readonly seq: number;
}

/** What became of a document from one point to the other. */
export type DocDifference = "added" | "changed" | "deleted";

export interface ComparedDoc {
  readonly doc: string;
  readonly change: DocDifference;
}

export interface Comparison {
  readonly from: BranchPoint;
  readonly to: BranchPoint;
  /** By name; those alone that differ. */
  readonly docs: readonly ComparedDoc[];
}

/** Documents looked at between two turns for others. */
const SLICE_MS = 5;
/** Comparisons kept, and documents in all of them: a page of one asks for it again. */
const KEPT = 8;
const KEPT_DOCS = 200_000;

/**
 * `branch@point`, `branch@` or `branch` for its head, `@point` or `point` for one of `main`. A point is a seq, a commit's
 * address or an RFC 3339 time; whatever looks like one is one, so a branch of such a name is written with its `@`.
 * Throws BRANCH_NOT_FOUND, and what `resolvePoint` throws.
 */
export function resolveBranchPoint(log: Log, text: string): BranchPoint {
  const { branch, at } = partsOf(text);
  return { branch, seq: resolvePoint(log, at, branch) };
}

/** The part of such a text that names a point. */
export function pointIn(text: string): string | undefined {
  return partsOf(text).at;
}

function partsOf(text: string): { branch: string; at: string | undefined } {
  const sign = text.indexOf("@");
  if (sign < 0) return looksLikePoint(text) ? { branch: MAIN, at: text } : { branch: text, at: undefined };
  const at = text.slice(sign + 1);
  return { branch: text.slice(0, sign) || MAIN, at: at === "" ? undefined : at };
}

/**
 * Which documents differ between two points, on whichever branches. It costs what was written on either since the last
 * commit that both have, and a few comparisons are kept, so that one can be read page by page.
 */
export class Comparisons {
  readonly #log: Log;
  readonly #kept = new Map<string, Promise<Comparison>>();
  #docs = 0;

  constructor(log: Log) {
    this.#log = log;
  }

  of(from: BranchPoint, to: BranchPoint): Promise<Comparison> {
    const name = [from, to].map(({ branch, seq }) => `${this.#log.branchId(branch)} ${seq}`).join();
    const known = this.#kept.get(name);
    if (known) return known;
    const made = this.#compare(from, to);
    this.#kept.set(name, made);
    made.then(
      ({ docs }) => this.#trim(docs.length),
      () => this.#kept.delete(name),
    );
    return made;
  }

  #trim(added: number): void {
    this.#docs += added;
    if (this.#kept.size <= KEPT && this.#docs <= KEPT_DOCS) return;
    this.#kept.clear();
    this.#docs = 0;
  }

  async #compare(from: BranchPoint, to: BranchPoint): Promise<Comparison> {
    const log = this.#log;
    const names = new Set<string>();
    for (const { branch, after, upTo } of stretchesBetween(log, from, to))
      for (const name of log.touchedOn(branch, after, upTo)) names.add(name);
    const docs: ComparedDoc[] = [];
    let slice = log.world.monotonic();
    for (const doc of [...names].sort()) {
      const change = differenceOf(
        log.stateAt(doc, from.seq, from.branch),
        log.stateAt(doc, to.seq, to.branch),
      );
      if (change) docs.push({ doc, change });
      if (log.world.monotonic() - slice < SLICE_MS) continue;
      await nextTurn(log.world);
      slice = log.world.monotonic();
    }
    return { from, to, docs };
  }
}

function differenceOf(before: DocPoint | undefined, after: DocPoint | undefined): DocDifference | undefined {
  const [was, is] = [before?.deleted === false, after?.deleted === false];
  if (!was || !is) return was ? "deleted" : is ? "added" : undefined;
  const heads = new Set(before?.heads);
  const same = heads.size === after?.heads.length && after.heads.every((head) => heads.has(head));
  return same ? undefined : "changed";
}

/** Commits of one branch after one seq and up to another. */
export interface BranchStretch {
  readonly branch: number;
  readonly after: number;
  readonly upTo: number;
}

/** The commits in the past of one point and not of the other, by branches; each side's newest first. */
export function stretchesBetween(log: Log, from: BranchPoint, to: BranchPoint): BranchStretch[] {
  const [a, b] = [log.pastOf(from.branch, from.seq), log.pastOf(to.branch, to.seq)];
  const upTo = (side: readonly { id: number; upTo: number }[], id: number): number | undefined =>
    side.find((stretch) => stretch.id === id)?.upTo;
  const found = new Map<number, BranchStretch>();
  for (const [side, other] of [
    [a, b],
    [b, a],
  ] as const) {
    for (const stretch of side) {
      const after = upTo(other, stretch.id) ?? 0;
      if (after < stretch.upTo) found.set(stretch.id, { branch: stretch.id, after, upTo: stretch.upTo });
    }
  }
  return [...found.values()];
}
