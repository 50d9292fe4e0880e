import { toPointer, type Json } from "../documents/json-value.ts";
import type { Schema } from "./schema.ts";
import { YES, truthOf, type Group, type Truth } from "./truth.ts";
import { below } from "./json.ts";

/** Why a document is not there, as far as its reader may know. */
export type Absence = "missing" | "deleted" | "erased" | "unreadable";

/** A document as it was at the point of a walk. */
export interface LoadedDoc {
  /** Commit that last touched it. */
  readonly seq: number;
  readonly heads: readonly string[];
  readonly value: Json;
  /** Characters of its JSON. */
  readonly size: number;
}

/** Where a walk gets documents from: all of them as they were at one point. */
export interface DocSource {
  /** The name of the document that a link's id means, whether it is there or not; undefined for what is no id. */
  nameOf(id: string): string | undefined;
  load(doc: string): Promise<LoadedDoc | Absence>;
}

/** A document that a walk came to, and the places in it that it knows. */
export class WalkedDoc {
  readonly name: string;
  readonly root: Place;
  readonly pairs = new Set<Pair>();
  state: LoadedDoc | Absence | undefined;
  /** Set when what an answer says of it has to be worked out again. */
  stale = true;

  constructor(name: string) {
    this.name = name;
    this.root = new Place(this, undefined, "");
  }

  get loaded(): LoadedDoc | undefined {
    return typeof this.state === "object" ? this.state : undefined;
  }

  /** Takes a newer version, or the first. */
  take(state: LoadedDoc | Absence): void {
    this.state = state;
    this.stale = true;
    this.root.value = typeof state === "object" ? state.value : undefined;
    const todo = [this.root];
    for (let place = todo.pop(); place; place = todo.pop())
      for (const kid of place.kids.values()) {
        kid.value = below(place.value, kid.step);
        todo.push(kid);
      }
  }

  /** The place that a path leads to, there or not. */
  at(steps: readonly string[]): Place {
    let place = this.root;
    for (const step of steps) place = place.below(step);
    return place;
  }
}

const NONE: ReadonlyMap<string, Place> = new Map();

/** A place in a document, at most as long as a walk looks at it or at one below it. */
export class Place {
  readonly doc: WalkedDoc;
  readonly parent: Place | undefined;
  readonly step: string;
  value: Json | undefined;
  /** What is looked at here, by sub-schema. */
  readonly pairs = new Map<number, Pair>();
  #kids: Map<string, Place> | undefined;

  constructor(doc: WalkedDoc, parent: Place | undefined, step: string) {
    this.doc = doc;
    this.parent = parent;
    this.step = step;
    this.value = parent ? below(parent.value, step) : doc.loaded?.value;
  }

  get kids(): ReadonlyMap<string, Place> {
    return this.#kids ?? NONE;
  }

  below(step: string): Place {
    this.#kids ??= new Map();
    let kid = this.#kids.get(step);
    if (!kid) {
      kid = new Place(this.doc, this, step);
      this.#kids.set(step, kid);
    }
    return kid;
  }

  /** Lets go of it, and of those above it, when nothing is looked at. */
  prune(): void {
    let place: Place | undefined = this.parent;
    if (!place || this.pairs.size > 0 || this.kids.size > 0) return;
    place.#kids?.delete(this.step);
    for (; place.parent && place.pairs.size === 0 && place.kids.size === 0; place = place.parent)
      place.parent.#kids?.delete(place.step);
  }

  get pointer(): string {
    if (!this.parent) return "";
    const steps = [this.step];
    for (let place = this.parent; place.parent; place = place.parent) steps.push(place.step);
    return toPointer(steps.reverse());
  }
}

/** One pair looks at another: by a link, or within a document. */
export interface Edge {
  readonly from: Pair;
  readonly to: Pair;
  /** Which of the groups of `from`. */
  readonly group: number;
  readonly link: boolean;
}

/**
 * A place and a sub-schema that is asked of it: what is worked out once, however many ways lead there. Its truth is the
 * least of its own assertions and its groups; what it looks at is a function of the value at the place alone, except
 * that a link is followed only where `depth` allows.
 */
export class Pair {
  readonly place: Place;
  readonly schema: Schema;
  /** The fewest links from where the walk began; Infinity when nothing leads here. */
  depth = Infinity;
  truth: Truth = YES;
  /** Its own assertions. */
  local: Truth = YES;
  groups: readonly Group[] = [];
  readonly in = new Set<Edge>();
  out: readonly Edge[] = [];
  expanded = false;
  /** The value is a link. */
  isLink = false;
  /** And it was followed. */
  followed = false;
  /** Such a link leads nowhere that can be named. */
  lost = false;
  /** For whoever goes through pairs: which of its rounds it was in, and where. */
  round = 0;
  index = 0;
  low = 0;

  constructor(place: Place, schema: Schema) {
    this.place = place;
    this.schema = schema;
  }

  /** What it is by what it looks at now. */
  due(): Truth {
    let truth: Truth = this.local;
    for (const group of this.groups) {
      const own = truthOf(group);
      if (own < truth) truth = own;
    }
    return truth;
  }

  become(truth: Truth): void {
    const before = this.truth;
    if (before === truth) return;
    this.truth = truth;
    for (const { from, group } of this.in) {
      const { counts } = from.groups[group] as Group;
      counts[before] -= 1;
      counts[truth] += 1;
    }
  }
}
