import type { Handle } from "./handle.ts";
import type { DivergentSide, Divergence } from "./jobs.ts";
import { type Json, stringifyJson, toPointer } from "./json-value.ts";
import { toJson } from "./materialise.ts";
import { type Place, type Side, sideOf, type SideOp } from "./side-ops.ts";

/**
 * What two sides of a merge both changed, to different values, since what both have: the same key of a map or
 * element of a list; one side's deletion or replacement of a map, list, text or counter within which the other
 * changed something. Concurrent insertions, changes of a text and increments come together and are none. In
 * document order. The handle must have the past of both heads and nothing else.
 */
export function divergencesOf(handle: Handle, into: string[], from: string[]): Divergence[] {
  const divergences = new Divergences(handle, into, from);
  try {
    return divergences.all();
  } finally {
    divergences.free();
  }
}

interface Found extends Divergence {
  readonly steps: readonly (string | number)[];
}

/** The value of a place on one side: undefined for none. */
interface Shown {
  readonly op: string;
  readonly json: string;
}

class Divergences {
  readonly #handle: Handle;
  readonly #into: Side;
  readonly #from: Side;
  /** The document as a side has it, made when it is needed. */
  readonly #copies = new Map<Side, Handle>();
  readonly #types = new Map<string, string>();
  /** Of each list with a place in question: index by operation, as merged. */
  readonly #indexes = new Map<string, Map<string, number>>();

  constructor(handle: Handle, into: string[], from: string[]) {
    this.#handle = handle;
    this.#into = sideOf(handle, into, from);
    this.#from = sideOf(handle, from, into);
  }

  free(): void {
    for (const copy of this.#copies.values()) copy.free();
  }

  all(): Divergence[] {
    const found: Found[] = [];
    for (const [name, place] of this.#into.places) {
      const other = this.#from.places.get(name);
      const one = other ? this.#both(place, other) : this.#within(name, place, "into");
      if (one) found.push(one);
    }
    for (const [name, place] of this.#from.places) {
      const one = this.#into.places.has(name) ? undefined : this.#within(name, place, "from");
      if (one) found.push(one);
    }
    return found
      .sort((a, b) => compareSteps(a.steps, b.steps))
      .map(({ path, winner, into, from }) => ({ path, winner, into, from }));
  }

  /** Both sides set or deleted it. */
  #both(into: Place, from: Place): Found | undefined {
    if (this.#typeOf(into.obj) === "text") return undefined;
    const common = commonOf([...into.ops, ...from.ops], this.#into);
    const a = this.#shown(into, this.#into, common);
    const b = this.#shown(from, this.#from, common);
    // Made and taken away again by the one: to the other nothing happened there.
    if (common.size === 0 && !(a && b)) return undefined;
    return this.#compare(into, a, b, shownBy(into.ops), shownBy(from.ops));
  }

  /** One side set or deleted it, and the other may have changed what was in it. */
  #within(name: string, place: Place, who: "into" | "from"): Found | undefined {
    if (this.#typeOf(place.obj) === "text") return undefined;
    const [own, other] = who === "into" ? [this.#into, this.#from] : [this.#from, this.#into];
    const common = commonOf(place.ops, own);
    const kept = latest(common);
    if (kept === undefined) return undefined;
    const change = other.increments.get(name) ?? this.#changedWithin(kept, other);
    if (change === undefined) return undefined;
    const mine = this.#shown(place, own, common);
    const theirs = this.#shown({ ...place, ops: [] }, other, common);
    const sides = [mine, theirs, shownBy(place.ops), change] as const;
    return who === "into"
      ? this.#compare(place, ...sides)
      : this.#compare(place, sides[1], sides[0], sides[3], sides[2]);
  }

  /** The last change of `other` within the object `id`, when it made another value of it than both had. */
  #changedWithin(id: string, other: Side): string | undefined {
    if (other.inside.size === 0 || !isContainer(this.#typeOf(id))) return undefined;
    const root = this.#pathOn(id, other);
    if (root === undefined || this.#objectJson(id, other.base) === this.#objectJson(id, other.heads))
      return undefined;
    let change: string | undefined;
    for (const [obj, hash] of other.inside) {
      const path = obj === "_root" ? undefined : this.#pathOn(obj, other);
      if (path && root.every((step, i) => step === path[i])) change = hash;
    }
    return change;
  }

  #compare(
    place: Place,
    into: Shown | undefined,
    from: Shown | undefined,
    intoChange: string,
    fromChange: string,
  ): Found | undefined {
    if (into?.json === from?.json) return undefined;
    const merged = this.#winner(place);
    const steps = this.#steps(place, into ?? from, into ? this.#into : this.#from);
    if (!steps) return undefined;
    // What neither side shows is gone by the one that has no value.
    const winner = merged === undefined ? (into ? "from" : "into") : merged === into?.op ? "into" : "from";
    return {
      steps,
      path: toPointer(steps),
      winner,
      into: sideValue(into, intoChange),
      from: sideValue(from, fromChange),
    };
  }

  /** Where the place is in the merged document; where it was, when it is gone. Undefined below what is not shown. */
  #steps(place: Place, shown: Shown | undefined, side: Side): (string | number)[] | undefined {
    const path = place.obj === "_root" ? [] : pathIn(this.#handle, place.obj);
    if (!path) return undefined;
    if (place.key !== undefined) return [...path, place.key];
    const index = this.#indexOf(place);
    if (index !== undefined) return [...path, index];
    if (!shown) return undefined;
    return isContainer(this.#typeOf(shown.op)) ? this.#pathOn(shown.op, side) : undefined;
  }

  #objectJson(id: string, heads: string[]): string {
    return stringifyJson(toJson(this.#handle.materialize(id, heads)));
  }

  /** Automerge panics over some objects when it is asked for their paths at other heads than the newest. */
  #pathOn(obj: string, side: Side): (string | number)[] | undefined {
    let copy = this.#copies.get(side);
    if (!copy) this.#copies.set(side, (copy = this.#handle.fork(undefined, side.heads)));
    return pathIn(copy, obj);
  }

  /** The operation whose value the merged document shows at the place. */
  #winner(place: Place): string | undefined {
    const step = place.key ?? this.#indexOf(place);
    return step === undefined ? undefined : opOf(this.#handle.getAll(place.obj, step).at(-1));
  }

  /** What a side shows at a place, of what both had there and what it made of it. */
  #shown(place: Place, side: Side, common: ReadonlySet<string>): Shown | undefined {
    if (place.key !== undefined) {
      const value = this.#handle.getAll(place.obj, place.key, side.heads).at(-1);
      const op = opOf(value);
      return value && op !== undefined ? { op, json: this.#json(value, side.heads) } : undefined;
    }
    const gone = new Set(place.ops.flatMap(({ pred }) => pred));
    const made = place.ops.filter(({ deletes }) => !deletes).map(({ id }) => id);
    const op = latest([...common, ...made].filter((id) => !gone.has(id)));
    return op === undefined ? undefined : { op, json: this.#elementJson(place, op, side) };
  }

  /** The value of one operation on an element of a list. */
  #elementJson(place: Place, op: string, side: Side): string {
    if (isContainer(this.#typeOf(op))) return this.#objectJson(op, side.heads);
    const index = this.#indexOf(place);
    const values = index === undefined ? [] : this.#handle.getAll(place.obj, index);
    const value = values.find((candidate) => opOf(candidate) === op);
    // A value as merged is not the side's own when it is a counter.
    if (value && value[0] !== "counter") return this.#json(value, side.heads);
    return this.#elementAt(place.obj, op, side.heads);
  }

  /** Slow in a long list, and rare: the element is not shown any more, or is a counter. */
  #elementAt(list: string, op: string, heads: string[]): string {
    const { length } = toJson(this.#handle.materialize(list, heads)) as Json[];
    for (let i = 0; i < length; i += 1) {
      const value = this.#handle.getAll(list, i, heads).find((candidate) => opOf(candidate) === op);
      if (value) return this.#json(value, heads);
    }
    return "null";
  }

  #json(value: Value, heads: string[]): string {
    if (isContainer(value[0])) return this.#objectJson(opOf(value) as string, heads);
    return stringifyJson(toJson(value[1]));
  }

  /** Index of an element as merged, by any operation on it. */
  #indexOf({ obj, elem = "", ops }: Place): number | undefined {
    let index = this.#indexes.get(obj);
    if (!index) {
      index = new Map();
      const length = this.#handle.length(obj);
      for (let i = 0; i < length; i += 1)
        for (const value of this.#handle.getAll(obj, i)) index.set(opOf(value) as string, i);
      this.#indexes.set(obj, index);
    }
    const others = [this.#into, this.#from].flatMap(
      (side) => side.places.get(`${obj}#${elem}`)?.ops.map(({ id }) => id) ?? [],
    );
    for (const id of [elem, ...ops.map((op) => op.id), ...others, ...ops.flatMap(({ pred }) => pred)]) {
      const at = index.get(id);
      if (at !== undefined) return at;
    }
    return undefined;
  }

  /** Type of an object, undefined for the id of a plain value. */
  #typeOf(id: string): string | undefined {
    let type = this.#types.get(id);
    if (type === undefined) {
      try {
        ({ type } = this.#handle.objInfo(id));
      } catch {
        type = "";
      }
      this.#types.set(id, type);
    }
    return type === "" ? undefined : type;
  }
}

/** Undefined for an object that is not shown. */
function pathIn(handle: Handle, obj: string): (string | number)[] | undefined {
  return handle.objInfo(obj).path as (string | number)[] | undefined;
}

type Value = ReturnType<Handle["getAll"]>[number];

function opOf(value: Value | undefined): string | undefined {
  return value === undefined ? undefined : String(value[2] ?? value[1]);
}

function isContainer(type: string | undefined): boolean {
  return type === "map" || type === "table" || type === "list" || type === "text";
}

/** What both sides had at a place, as far as one of them took its place. */
function commonOf(ops: readonly SideOp[], own: Side): Set<string> {
  const made = new Set(ops.map(({ id }) => id));
  return new Set(ops.flatMap(({ pred }) => pred).filter((id) => !made.has(id) && !own.ops.has(id)));
}

function shownBy(ops: readonly SideOp[]): string {
  return (ops.at(-1) as SideOp).change;
}

/** The one that Automerge shows: the largest counter, then the largest actor. */
function latest(ops: Iterable<string>): string | undefined {
  let best: string | undefined;
  for (const op of ops) if (best === undefined || compareOps(op, best) > 0) best = op;
  return best;
}

function compareOps(a: string, b: string): number {
  const [x, y] = [a, b].map((op) => Number(op.slice(0, op.indexOf("@")))) as [number, number];
  if (x !== y) return x - y;
  return a.slice(a.indexOf("@")) < b.slice(b.indexOf("@")) ? -1 : 1;
}

function sideValue(shown: Shown | undefined, change: string): DivergentSide {
  return { change, ...(shown ? { json: shown.json } : {}) };
}

function compareSteps(a: readonly (string | number)[], b: readonly (string | number)[]): number {
  for (let i = 0; i < Math.min(a.length, b.length); i += 1) {
    const [x, y] = [a[i], b[i]] as [string | number, string | number];
    if (x === y) continue;
    if (typeof x === "number" && typeof y === "number") return x - y;
    return String(x) < String(y) ? -1 : 1;
  }
  return a.length - b.length;
}
