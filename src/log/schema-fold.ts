import { LIMITS } from "../limits.ts";
import { pastOf, type Branches } from "./branches.ts";
import type { SchemaStatement, SchemaStep } from "./schema-steps.ts";

/** A statement in force, with the commit by which it came into the branch's past. */
interface InForce {
  readonly at: number;
  readonly id: string;
  readonly statement: SchemaStatement;
}

const NONE: readonly InForce[] = [];

/**
 * The schema of every branch at every commit, from the steps of all of them. A branch has what its parent had at the
 * fork, then its own statements; a merge adds, in their order there, those of the other branch that it does not have.
 * At most so many count as LIMITS says: what comes beyond, which only another server can have written, is left out.
 */
export class SchemaFold {
  /** Of branches that took a step themselves. Each ascends by `at`. */
  readonly #lists = new Map<number, InForce[]>();

  /** Steps come in the order of their commits; `branches` knows those of the step. */
  take(step: SchemaStep, branches: Branches): void {
    let list = this.#lists.get(step.branch);
    if (!list) {
      list = [...this.#upTo(branches, step.branch, Infinity)];
      this.#lists.set(step.branch, list);
    }
    const { seq } = step;
    if ("from" in step)
      for (const { id, statement } of this.#upTo(branches, step.from, step.upTo))
        add(list, { at: seq, id, statement });
    else add(list, { at: seq, id: step.id, statement: step.statement });
  }

  /** The statements in force on branch `id` after commit `seq`, in order. */
  at(branches: Branches, id: number, seq: number): SchemaStatement[] {
    return this.#upTo(branches, id, seq).map(({ statement }) => statement);
  }

  /** The commit that last added to them, 0 for none: wherever in a db this is the same, so are they. */
  lastAt(branches: Branches, id: number, seq: number): number {
    return this.#upTo(branches, id, seq).at(-1)?.at ?? 0;
  }

  /** Whether branch `from` has a statement at its commit `upTo` that `into` has not. */
  adds(branches: Branches, from: number, upTo: number, into: number): boolean {
    const there = this.#upTo(branches, from, upTo);
    if (there.length === 0) return false;
    const here = new Set(this.#upTo(branches, into, Infinity).map(({ id }) => id));
    return there.some(({ id }) => !here.has(id));
  }

  #upTo(branches: Branches, id: number, seq: number): readonly InForce[] {
    for (const stretch of pastOf(branches, id, seq)) {
      const list = this.#lists.get(stretch.id);
      if (!list) continue;
      const end = list.findLastIndex(({ at }) => at <= stretch.upTo) + 1;
      return end === list.length ? list : list.slice(0, end);
    }
    return NONE;
  }
}

function add(list: InForce[], entry: InForce): void {
  if (list.length >= LIMITS.schema.statements.value) return;
  if (!list.some(({ id }) => id === entry.id)) list.push(entry);
}
