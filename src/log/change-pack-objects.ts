import { NULL } from "./change-columns.ts";
import { DELETE } from "./change-layout.ts";
import { Elements } from "./change-pack-elements.ts";
import type { ChangeValues } from "./change-pack-values.ts";

/** What an operation replaces, as actor and counter in turn. */
export type Preds = readonly number[];
export const NOTHING: Preds = [];
/** Bounds the work on values that nobody replaces: 64 of them, with actor and counter each. */
const MAX_STANDING = 128;

/** A map, list or text of a document as far as the pack has seen it. */
export class Target {
  readonly actor: number;
  readonly ctr: number;
  /** What stands under each key. */
  readonly keys = new Map<number, Preds>();
  readonly #fresh: boolean;
  #elements: Elements | null = null;

  constructor(actor: number, ctr: number, fresh: boolean) {
    this.actor = actor;
    this.ctr = ctr;
    this.#fresh = fresh;
  }

  get elements(): Elements {
    return (this.#elements ??= new Elements(this.#fresh));
  }
}

/** The objects of one document. */
export class Objects {
  readonly root = new Target(NULL, NULL, false);
  readonly all: Target[] = [this.root];
  readonly #places = new Map<number, Map<number, number>>();
  last: Target = this.root;
  made: Target = this.root;

  /** The object's place, or -1. */
  find(actor: number, ctr: number): number {
    return actor === NULL ? 0 : (this.#places.get(actor)?.get(ctr) ?? -1);
  }

  add(actor: number, ctr: number, fresh: boolean): Target {
    const target = new Target(actor, ctr, fresh);
    let places = this.#places.get(actor);
    if (places === undefined) this.#places.set(actor, (places = new Map()));
    places.set(ctr, this.all.length);
    this.all.push(target);
    return target;
  }
}

/** What stands where operation `i` is, on `element` or, when that is NULL, under its key. */
export function standing(target: Target, v: ChangeValues, i: number, element: number): Preds {
  if (element === NULL) return target.keys.get(v.key[i] as number) ?? NOTHING;
  // Nothing stands at the head of a list, whatever a change says that Automerge would not make.
  if (v.keyActor[i] === NULL) return NOTHING;
  return target.elements.standing.get(element) ?? [v.keyActor[i] as number, v.keyCtr[i] as number];
}

/** What stands after an operation that replaces the preds from `first` to `end`. */
export function remaining(
  stands: Preds,
  v: ChangeValues,
  first: number,
  end: number,
  op: number,
  action: number,
): Preds {
  const left: number[] = [];
  for (let j = 0; j < stands.length; j += 2) {
    let replaced = false;
    for (let k = first; k < end && !replaced; k++) {
      replaced = v.predActor[k] === stands[j] && v.predCtr[k] === stands[j + 1];
    }
    if (!replaced) left.push(stands[j] as number, stands[j + 1] as number);
  }
  if (action !== DELETE) left.push(v.actor, op);
  if (left.length > MAX_STANDING) left.splice(0, left.length - MAX_STANDING);
  return left.length === 0 ? NOTHING : left;
}
