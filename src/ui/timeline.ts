/** The line of a db's or a document's commits: what the slider stands on and what it compares. Pure. */

/** What the pages use of a commit, as `GET …/commits` gives it. */
export interface Commit {
  readonly cid: string;
  readonly branch: string;
  readonly seq: number;
  readonly parents: readonly string[];
  readonly time: string;
  readonly author: string;
  readonly message?: string;
  readonly entries: readonly {
    readonly doc: string;
    readonly changes: readonly string[];
    readonly deleted?: boolean;
  }[];
  readonly events: readonly string[];
}

/** A commit that touched a document, as `GET …/history` gives it. */
export interface Touch {
  readonly seq: number;
  readonly commit: string;
  readonly time: string;
  readonly author: string;
  readonly message?: string;
  readonly changes: number;
  readonly deleted: boolean;
}

export type Against = "before" | "now";

/**
 * The points of a db's diff at a commit. The one before is the first parent: the seq before may be another branch's.
 * To compare with now goes from then to now, so that what was added since is green.
 */
export function dbPoints(
  commit: Pick<Commit, "branch" | "seq" | "parents">,
  against: Against,
): { from: string; to: string } {
  const { branch, seq, parents } = commit;
  const at = `${branch}@${seq}`;
  if (against === "now") return { from: at, to: `${branch}@` };
  return { from: `${branch}@${parents[0] ?? "0"}`, to: at };
}

/** The same of a document: `touches` newest first, `i` the one looked at. `to` is left out for now. */
export function docPoints(
  touches: readonly Pick<Touch, "seq">[],
  i: number,
  against: Against,
): { from: number; to: number | undefined } {
  const at = touches[i]?.seq ?? 0;
  if (against === "now") return { from: at, to: undefined };
  return { from: touches[i + 1]?.seq ?? 0, to: at };
}

/** What a commit did, in a few words: counts, and the name where there is but one. */
export interface Summary {
  readonly docs: number;
  readonly deleted: number;
  readonly first: string | undefined;
  readonly events: number;
}

export function summary(commit: Pick<Commit, "entries" | "events">): Summary {
  return {
    docs: commit.entries.length,
    deleted: commit.entries.filter((entry) => entry.deleted === true).length,
    first: commit.entries[0]?.doc,
    events: commit.events.length,
  };
}

/** Round places along a line of 1 … `last`, at most `most` of them, ends included. */
export function ticks(last: number, most: number): number[] {
  if (last < 1) return [];
  if (last === 1) return [1];
  const raw = last / Math.max(1, most - 1);
  const power = 10 ** Math.floor(Math.log10(Math.max(1, raw)));
  const step = [1, 2, 5, 10].map((times) => times * power).find((candidate) => candidate >= raw) ?? raw;
  const places = [1];
  for (let at = step; at <= last - step / 2; at += step) if (at > 1 + step / 2) places.push(at);
  places.push(last);
  return places;
}

/** How far a place is along the line, 0 to 1. */
export function shareAt(place: number, first: number, last: number): number {
  return last <= first ? 1 : Math.min(1, Math.max(0, (place - first) / (last - first)));
}

/** Where a place that somebody typed leads: a whole number within the line, or undefined. */
export function placeIn(text: string, last: number): number | undefined {
  const digits = /^\s*#?\s*([\d\s.,_']+)\s*$/.exec(text)?.[1]?.replace(/\D/g, "") ?? "";
  if (digits === "") return undefined;
  return Math.min(last, Math.max(1, Number(digits)));
}
