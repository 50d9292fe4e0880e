import { SkaldError } from "../errors.ts";
import { CborReader, CborWriter } from "../ids/cbor.ts";

/**
 * The branches of a db, as its commits say. A branch is known inside by the seq of the commit that made it, since a
 * name may be used again after its deletion; `main` is 0 and has no such commit.
 *
 * A branch stands on its parent up to the fork point: its past is the commits of its own, and what was in the
 * parent's past there.
 */
export interface Branch {
  readonly id: number;
  readonly name: string;
  /** Id of the branch it forked from; of `main` its own. */
  readonly parent: number;
  /** The last seq of the parent's past that it has; 0 for none. */
  readonly fork: number;
  /** Its last commit, 0 for none, which only `main` can have. */
  readonly head: number;
  readonly headCid: Uint8Array | undefined;
  /** Seqs of the commits that closed and deleted it, 0 before. */
  readonly closed: number;
  readonly deleted: number;
  /** Up to which commit of other branches it has what they wrote, by branch, as far as merges brought it. */
  readonly merged: ReadonlyMap<number, number>;
}

const NOTHING: ReadonlyMap<number, number> = new Map();

export const MAIN = "main";

const EMPTY: Branch = {
  id: 0,
  name: MAIN,
  parent: 0,
  fork: 0,
  head: 0,
  headCid: undefined,
  closed: 0,
  deleted: 0,
  merged: NOTHING,
};

/** All branches there ever were; on top of others, what a group of commits will make of them. */
export class Branches {
  readonly #below: Branches | undefined;
  readonly #own = new Map<number, Branch>();
  /** Ids of branches made here by their names, ascending. */
  readonly #ids = new Map<string, number[]>();

  constructor(below?: Branches) {
    this.#below = below;
  }

  /** Whether there ever was any but `main`. */
  get any(): boolean {
    return this.#ids.size > 0 || this.#below?.any === true;
  }

  get main(): Branch {
    return this.get(0) ?? EMPTY;
  }

  get(id: number): Branch | undefined {
    return this.#own.get(id) ?? this.#below?.get(id);
  }

  /** The branch that has this name now. */
  named(name: string): Branch | undefined {
    if (name === MAIN) return this.main;
    const branch = this.#last(name, Infinity);
    return branch && branch.deleted === 0 ? branch : undefined;
  }

  /** The id of the branch that a commit is of, by the name in it and its seq. */
  idOf(name: string, seq: number): number | undefined {
    return name === MAIN ? 0 : this.#last(name, seq)?.id;
  }

  put(branch: Branch): void {
    if (branch.id !== 0 && !this.get(branch.id)) {
      const ids = this.#ids.get(branch.name);
      if (ids) ids.push(branch.id);
      else this.#ids.set(branch.name, [branch.id]);
    }
    this.#own.set(branch.id, branch);
  }

  /** The id of the first branch beside `main`, Infinity when there is none: all commits before it are of `main`. */
  first(): number {
    let first = this.#below ? this.#below.first() : Infinity;
    for (const [id] of this.#ids.values()) if (id !== undefined && id < first) first = id;
    return first;
  }

  /** What was put here, and not below. */
  own(): Iterable<Branch> {
    return this.#own.values();
  }

  /** All but deleted ones, `main` first, then as they were made. */
  all(): Branch[] {
    const ids = new Set<number>([0, ...this.ids()]);
    return [...ids]
      .sort((a, b) => a - b)
      .map((id) => this.get(id) ?? EMPTY)
      .filter(({ deleted }) => deleted === 0);
  }

  /** The branches as they were after commit `at`; `headAt` gives the last commit of one up to there. */
  at(at: number, headAt: (id: number) => { seq: number; cid: Uint8Array | undefined }): Branches {
    const then = new Branches();
    for (const id of [0, ...this.ids()].sort((a, b) => a - b)) {
      if (id > at) continue;
      const now = this.get(id) ?? EMPTY;
      const { seq, cid } = headAt(id);
      const upTo = (found: number): number => (found <= at ? found : 0);
      then.put({ ...now, head: seq, headCid: cid, closed: upTo(now.closed), deleted: upTo(now.deleted) });
    }
    return then;
  }

  /** The newest branch of a name that was made by commit `seq` or before. */
  #last(name: string, seq: number): Branch | undefined {
    const id =
      this.#ids.get(name)?.findLast((made) => made <= seq) ??
      (this.#below ? this.#below.#last(name, seq)?.id : undefined);
    return id === undefined ? undefined : this.get(id);
  }

  /** Ids of all there ever were beside `main`. */
  ids(): number[] {
    return [...(this.#below ? this.#below.ids() : []), ...[...this.#ids.values()].flat()];
  }
}

/** A part of a branch's past: commits of branch `id` up to `upTo`. */
export interface Stretch {
  readonly id: number;
  readonly upTo: number;
}

/** What a branch's past up to a seq is made of, the newest first: its own commits, its parent's up to the fork, and so on. */
export function* pastOf(branches: Branches, id: number, upTo = Infinity): Generator<Stretch> {
  for (let at = id, most = upTo; ;) {
    yield { id: at, upTo: most };
    if (at === 0) return;
    const branch = branches.get(at);
    if (!branch) throw new SkaldError("DERIVED_DAMAGED", `The catalog has no branch ${at}.`);
    most = Math.min(most, branch.fork);
    at = branch.parent;
  }
}

/** Up to which commit of each branch another one has what they wrote: by its past, and by what was merged into it. */
export function knownTo(branches: Branches, id: number): Map<number, number> {
  const known = new Map(branches.get(id)?.merged);
  for (const stretch of pastOf(branches, id)) atLeast(known, stretch.id, stretch.upTo);
  return known;
}

/** `merged` of a branch once it has all of another up to that one's commit `seq`. */
export function mergedWith(
  branches: Branches,
  into: Branch,
  from: Branch,
  seq: number,
): ReadonlyMap<number, number> {
  const merged = new Map(into.merged);
  for (const stretch of pastOf(branches, from.id, seq)) atLeast(merged, stretch.id, stretch.upTo);
  // What was merged into it since is not told apart.
  if (seq === from.head) for (const [id, upTo] of from.merged) atLeast(merged, id, upTo);
  for (const stretch of pastOf(branches, into.id))
    if ((merged.get(stretch.id) ?? 0) <= stretch.upTo) merged.delete(stretch.id);
  return merged;
}

function atLeast(known: Map<number, number>, id: number, upTo: number): void {
  if (upTo > (known.get(id) ?? 0)) known.set(id, upTo);
}

/** Whether commit `seq`, which is of branch `of`, is in the past of branch `id`, or on it. */
export function isInPast(branches: Branches, id: number, seq: number, of: number): boolean {
  if (of === id) return true;
  for (const stretch of pastOf(branches, id)) if (stretch.id === of) return seq <= stretch.upTo;
  return false;
}

/*
 * Rows of the catalog. A document on `main` has its name; nothing of it sorts before U+0020, so whatever begins with
 * a control character stands apart from every name.
 */
const DOC = "\u0001";
const BRANCH = "\u0002";
/** Every document of `main` sorts at or after this, and nothing else does. */
export const FIRST_NAME = " ";
const CODE = 11;

function code(id: number): string {
  return id.toString(36).padStart(CODE, "0");
}

/** The row of a document on a branch. */
export function rowOf(id: number, doc: string): string {
  return id === 0 ? doc : `${DOC}${code(id)}/${doc}`;
}

/** What the rows of all documents of a branch begin with; nothing for `main`. */
export function rowsPrefix(id: number): string {
  return id === 0 ? "" : `${DOC}${code(id)}/`;
}

/** The document that a row is of. */
export function docOf(row: string): string {
  return row.startsWith(DOC) ? row.slice(CODE + 2) : row;
}

/** The branch that a document's row is of. */
export function branchOf(row: string): number {
  return row.startsWith(DOC) ? Number.parseInt(row.slice(1, 1 + CODE), 36) : 0;
}

export function isOfMain(row: string): boolean {
  return row >= FIRST_NAME;
}

export function isDocRow(row: string): boolean {
  return isOfMain(row) || row.startsWith(DOC);
}

/** The row of a branch itself: what it is, and which commits are of it. */
export function branchRow(id: number): string {
  return `${BRANCH}${code(id)}`;
}

export const BRANCH_ROWS = BRANCH;

const writer = new CborWriter();

export function encodeBranch(branch: Branch): Uint8Array {
  const w = writer;
  w.reset();
  w.array(branch.merged.size > 0 ? 9 : 8);
  w.uint(branch.id);
  w.text(branch.name);
  w.uint(branch.parent);
  w.uint(branch.fork);
  w.uint(branch.head);
  w.bytes(branch.headCid ?? new Uint8Array(0));
  w.uint(branch.closed);
  w.uint(branch.deleted);
  if (branch.merged.size > 0) {
    w.array(branch.merged.size * 2);
    for (const [id, upTo] of [...branch.merged].sort(([a], [b]) => a - b)) {
      w.uint(id);
      w.uint(upTo);
    }
  }
  return w.take();
}

/** Throws DERIVED_DAMAGED for bytes that `encodeBranch` does not write. */
export function decodeBranch(bytes: Uint8Array): Branch {
  try {
    const r = new CborReader(bytes);
    const parts = r.array();
    if (parts !== 8 && parts !== 9) throw new RangeError("a row has other parts");
    const [id, name, parent, fork, head] = [r.uint(), r.text(), r.uint(), r.uint(), r.uint()];
    const cid = r.bytes();
    const [closed, deleted] = [r.uint(), r.uint()];
    const merged = new Map<number, number>();
    if (parts === 9) {
      const length = r.array();
      for (let last = -1, left = length; left > 0; left -= 2) {
        const of = r.uint();
        if (of <= last) throw new RangeError("branches are not in order");
        merged.set(of, r.uint());
        last = of;
      }
      if (length === 0 || length % 2 === 1) throw new RangeError("a list of pairs is none");
    }
    r.end();
    const headCid = cid.length > 0 ? cid : undefined;
    return { id, name, parent, fork, head, headCid, closed, deleted, merged };
  } catch (cause) {
    throw new SkaldError("DERIVED_DAMAGED", "The catalog's row of a branch is not one.", { cause });
  }
}
