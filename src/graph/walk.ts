import { SkaldError } from "../errors.ts";
import { LIMITS, valuesOf } from "../limits.ts";
import type { World } from "../world.ts";
import { beyond } from "./invalid.ts";
import { look, type Looking } from "./look.ts";
import type { Schema } from "./schema.ts";
import { Turns } from "./turns.ts";
import { settle } from "./verdicts.ts";
import type { Truth } from "./truth.ts";
import { Pair, type Edge, WalkedDoc, type DocSource, type Place } from "./places.ts";

/**
 * The walk of a schema through documents: every pair of a place and a sub-schema that can be come to from the start by
 * way of at most so many links, and whether each holds.
 *
 * Invariants:
 * - What it has found is a function of the documents alone, never of the order in which it came to them or of what they
 *   were before: `update` ends where a new walk would.
 * - A pair is as deep as the fewest links that lead to it, so a place that is come to on two ways is looked at once.
 * - `update` looks anew only at pairs in documents that changed and at those that are new or become too deep, or no
 *   longer so; and works out anew only those, and whoever looks at them.
 * - Nothing here goes by recursion: documents nest as deep as they like, and lead to each other in circles.
 */

const BOUNDS = valuesOf({
  places: LIMITS.graph.places,
  documents: LIMITS.graph.documents,
  readCharacters: LIMITS.graph.readCharacters,
  steps: LIMITS.graph.steps,
  timeMs: LIMITS.graph.timeMs,
  answerCharacters: LIMITS.graph.answerCharacters,
  touched: LIMITS.graph.touched,
  reasons: LIMITS.graph.reasons,
});
export type GraphBounds = Readonly<typeof BOUNDS>;

export interface WalkStart {
  readonly schema: Schema;
  readonly doc: string;
  readonly steps: readonly string[];
  readonly maxDepth: number;
  readonly bounds?: Partial<GraphBounds>;
}

/** Milliseconds of work between two turns for others, and documents asked for at once. */
const SLICE_MS = 4;
const LOADS = 32;

export class Walk implements Looking {
  readonly maxDepth: number;
  readonly bounds: GraphBounds;
  readonly docs = new Map<string, WalkedDoc>();
  readonly start: Pair;
  /** Pairs whose place was looked at and pairs that were worked out, since the walk was made. */
  looked = 0;
  settled = 0;
  /** Pairs there are. */
  size = 0;
  readonly #world: World;
  readonly #signal: AbortSignal | undefined;
  readonly #fresh = new Set<Pair>();
  /** Links by id that lead to a document under the name it would have if a client made it. */
  readonly #unnamed = new Map<Pair, string>();
  #source: DocSource | undefined;
  #characters = 0;
  #steps = 0;
  #round = 0;
  #began = 0;
  #slice = 0;

  constructor(start: WalkStart, world: World, signal?: AbortSignal) {
    this.maxDepth = start.maxDepth;
    this.bounds = { ...BOUNDS, ...start.bounds };
    this.#world = world;
    this.#signal = signal;
    this.start = this.pair(this.#doc(start.doc).at(start.steps), start.schema);
  }

  get verdict(): Truth {
    return this.start.truth;
  }

  /** Whether a document of this name, or one with this Automerge id, may make it another. */
  minds(doc: string, idOf: () => string): boolean {
    return this.docs.has(doc) || (this.#unnamed.size > 0 && this.docs.has(`automerge/${idOf()}`));
  }

  /** Walks for the first time. Throws QUERY_LIMIT, and what loading throws. */
  async begin(source: DocSource): Promise<void> {
    await this.#run(source, [], new Set());
  }

  /**
   * Walks on after these documents changed, all others being what they were. Throws what `begin` throws, and is of no
   * use any more then.
   */
  async update(source: DocSource, changed: Iterable<string>): Promise<void> {
    this.#source = source;
    this.#resume();
    const again = new Set<Pair>();
    const docs = [...changed].flatMap((name) => this.docs.get(name) ?? []);
    for (const doc of await this.#load(docs)) for (const pair of doc.pairs) again.add(pair);
    for (const [pair, id] of this.#unnamed) if (source.nameOf(id) !== drawn(id)) again.add(pair);
    const removed: Edge[] = [];
    const changedPairs = new Set<Pair>();
    const added: Edge[] = [];
    for (const pair of again) {
      const wait = this.turn();
      if (wait) await wait;
      this.#look(pair, removed, added, changedPairs);
    }
    await this.#run(source, [removed, added], changedPairs);
  }

  // What `look` asks for.

  place(id: string, steps: readonly string[], from: Pair): Place | undefined {
    const name = this.#source?.nameOf(id);
    if (name === undefined) return undefined;
    if (name === drawn(id)) this.#unnamed.set(from, id);
    else this.#unnamed.delete(from);
    return this.#doc(name).at(steps);
  }

  pair(place: Place, schema: Schema): Pair {
    let pair = place.pairs.get(schema.id);
    if (pair) return pair;
    this.size += 1;
    if (this.size > this.bounds.places) throw beyond("places", this.bounds.places, "places");
    pair = new Pair(place, schema);
    place.pairs.set(schema.id, pair);
    place.doc.pairs.add(pair);
    place.doc.stale = true;
    this.#fresh.add(pair);
    return pair;
  }

  spend(steps: number): void {
    this.#steps += steps;
    if (this.#steps > this.bounds.steps) throw beyond("steps", this.bounds.steps, "steps");
  }

  room(places: number): void {
    if (places > this.bounds.places) throw beyond("places", this.bounds.places, "places");
  }

  #doc(name: string): WalkedDoc {
    let doc = this.docs.get(name);
    if (doc) return doc;
    if (this.docs.size >= this.bounds.documents)
      throw beyond("documents", this.bounds.documents, "documents");
    doc = new WalkedDoc(name);
    this.docs.set(name, doc);
    return doc;
  }

  #look(pair: Pair, removed: Edge[], added: Edge[], changed: Set<Pair>): void {
    this.looked += 1;
    const wasLink = pair.isLink;
    const found = look(pair, this);
    if (wasLink || pair.isLink) pair.place.doc.stale = true;
    if (!pair.followed) this.#unnamed.delete(pair);
    for (const edge of found.removed) removed.push(edge);
    for (const edge of found.added) added.push(edge);
    if (found.changed) changed.add(pair);
    for (const { link, to } of [...found.removed, ...found.added]) if (link) to.place.doc.stale = true;
  }

  async #run(source: DocSource, [removed = [], added = []]: Edge[][], changed: Set<Pair>): Promise<void> {
    if (this.#source !== source) {
      this.#source = source;
      this.#resume();
    }
    const levels: Pair[][] = Array.from({ length: this.maxDepth + 1 }, () => []);
    const offer = (pair: Pair, depth: number): void => {
      if (depth < pair.depth) levels[depth]?.push(pair);
    };
    const loose = this.#loosen(removed);
    for (const pair of loose)
      for (const { from, link } of pair.in) if (from.depth < Infinity) offer(pair, from.depth + Number(link));
    for (const { from, to, link } of added) if (from.depth < Infinity) offer(to, from.depth + Number(link));
    if (this.start.depth > 0) offer(this.start, 0);
    for (let depth = 0; depth <= this.maxDepth; depth += 1) {
      const level = levels[depth] as Pair[];
      await this.#load([...new Set(level.map(({ place }) => place.doc))].filter((doc) => !doc.state));
      // It grows: what a place looks at in its own document is as deep as itself.
      for (const pair of level) {
        if (pair.depth <= depth) continue;
        const wait = this.turn();
        if (wait) await wait;
        pair.depth = depth;
        const follows = pair.isLink && pair.schema.always !== false && depth < this.maxDepth;
        // Its edges that go now lead to what was loosened with it, or is as near by another way.
        if (!pair.expanded || (pair.isLink && pair.followed !== follows)) this.#look(pair, [], [], changed);
        for (const { to, link } of pair.out) offer(to, depth + Number(link));
      }
    }
    for (const pair of [...loose, ...this.#fresh]) if (pair.depth === Infinity) this.#drop(pair, changed);
    this.#fresh.clear();
    this.#round += 1;
    const work = {
      step: () => {
        this.settled += 1;
        return this.turn();
      },
    };
    await settle(changed, this.#round, work);
  }

  /** Takes their depth from all pairs that may be deeper now, since their nearest way went through what is gone. */
  #loosen(removed: readonly Edge[]): Set<Pair> {
    const loose = new Set<Pair>();
    const isNearest = ({ from, to, link }: Edge): boolean => to.depth === from.depth + Number(link);
    for (const edge of removed) if (edge.to !== this.start && isNearest(edge)) loose.add(edge.to);
    for (const pair of loose)
      for (const edge of pair.out) if (edge.to !== this.start && isNearest(edge)) loose.add(edge.to);
    for (const pair of loose) pair.depth = Infinity;
    return loose;
  }

  #drop(pair: Pair, changed: Set<Pair>): void {
    const { place, schema } = pair;
    if (place.pairs.get(schema.id) !== pair) return;
    for (const edge of pair.out) {
      edge.to.in.delete(edge);
      if (edge.link) edge.to.place.doc.stale = true;
    }
    changed.delete(pair);
    this.#unnamed.delete(pair);
    this.size -= 1;
    place.pairs.delete(schema.id);
    place.doc.pairs.delete(pair);
    place.doc.stale = true;
    place.prune();
    if (place.doc.pairs.size > 0) return;
    this.docs.delete(place.doc.name);
    this.#characters -= place.doc.loaded?.size ?? 0;
  }

  /** Loads documents; gives those that are others than they were. */
  async #load(docs: readonly WalkedDoc[]): Promise<WalkedDoc[]> {
    const source = this.#source as DocSource;
    const others: WalkedDoc[] = [];
    const todo = docs.values();
    const loader = async (): Promise<void> => {
      for (const doc of todo) {
        const state = await source.load(doc.name);
        this.#check();
        const before = doc.state;
        const same =
          typeof state === "object" && typeof before === "object"
            ? state.heads.length === before.heads.length &&
              state.heads.every((head, i) => head === before.heads[i])
            : state === before;
        if (same && typeof state === "object" && typeof before === "object") {
          doc.state = { ...before, seq: state.seq };
          doc.stale = true;
        }
        if (same) continue;
        this.#characters += (typeof state === "object" ? state.size : 0) - (doc.loaded?.size ?? 0);
        if (this.#characters > this.bounds.readCharacters)
          throw beyond("readCharacters", this.bounds.readCharacters, "characters of documents");
        doc.take(state);
        others.push(doc);
      }
    };
    await Promise.all(Array.from({ length: Math.min(LOADS, docs.length) }, loader));
    return others;
  }

  #resume(): void {
    this.#steps = 0;
    this.#began = this.#slice = this.#world.monotonic();
  }

  #check(): void {
    if (this.#signal?.aborted) throw new SkaldError("UNAVAILABLE", "Whoever asked is gone.");
    if (this.#world.monotonic() - this.#began > this.bounds.timeMs)
      throw beyond("timeMs", this.bounds.timeMs, "milliseconds");
  }

  /** Undefined while nobody has waited for long. Throws QUERY_LIMIT, and UNAVAILABLE when the caller is gone. */
  turn(): Promise<void> | undefined {
    if (this.#world.monotonic() - this.#slice < SLICE_MS) return undefined;
    this.#check();
    const waiting = this.#world.monotonic();
    return turns.wait(this.#world).then(() => {
      this.#slice = this.#world.monotonic();
      // Others' work is not its own.
      this.#began += this.#slice - waiting;
    });
  }
}

const turns = new Turns();

/** The name under which a document lands that a client made with this id: see `nameOf`. */
export function drawn(id: string): string {
  return `automerge/${id.startsWith(AUTOMERGE) ? id.slice(AUTOMERGE.length) : id}`;
}

export const AUTOMERGE = "automerge:";
