import { NULL } from "./change-columns.ts";

/** An element that stands for the place before the first. */
const HEAD = 0;
/** A neighbour that was never seen. */
const UNSEEN = -1;

/**
 * The elements of one list or text as far as a pack has named them, in their order as one writer would
 * see it. It is only asked where the next operation is likely to be, and writer and reader of a pack
 * keep it alike, so it may be wrong, but never depend on anything but the operations before.
 */
export class Elements {
  readonly actor: number[] = [NULL];
  readonly ctr: number[] = [0];
  readonly #previous: number[] = [HEAD];
  readonly #next: number[] = [UNSEEN];
  /** By actor: element of each counter. */
  readonly #at = new Map<number, Map<number, number>>();
  /** What stands in the elements that were set since they were inserted, as actor and counter in turn. */
  readonly standing = new Map<number, readonly number[]>();
  #lastActor = NULL;
  #lastMap: Map<number, number> | null = null;
  /** The element left of where the last operation was; NULL before the first. */
  cursor: number;

  /** `fresh`: made within the pack, so that it is known to begin empty. */
  constructor(fresh: boolean) {
    this.cursor = fresh ? HEAD : NULL;
  }

  find(actor: number, ctr: number): number {
    if (actor === NULL) return HEAD;
    let map = this.#lastMap;
    if (actor !== this.#lastActor || map === null) {
      map = this.#at.get(actor) ?? null;
      if (map === null) this.#at.set(actor, (map = new Map()));
      this.#lastActor = actor;
      this.#lastMap = map;
    }
    let element = map.get(ctr);
    if (element === undefined) {
      element = this.ctr.length;
      this.actor.push(actor);
      this.ctr.push(ctr);
      this.#previous.push(UNSEEN);
      this.#next.push(UNSEEN);
      map.set(ctr, element);
    }
    return element;
  }

  /** As `find`, but changes nothing: undefined for one that was never named. */
  peek(actor: number, ctr: number): number | undefined {
    return this.#at.get(actor)?.get(ctr);
  }

  is(element: number, actor: number, ctr: number): boolean {
    return this.ctr[element] === ctr && this.actor[element] === actor;
  }

  /** Whether `after(element)` would give this one. */
  isAfter(element: number, actor: number, ctr: number): boolean {
    const known = this.#next[element] as number;
    if (known !== UNSEEN) return this.is(known, actor, ctr);
    return element !== HEAD && this.is(element, actor, ctr - 1);
  }

  /** The one before, which text typed in a row suggests where it was not seen; the head's is the head. */
  before(element: number): number {
    const known = this.#previous[element] as number;
    if (known !== UNSEEN) return known;
    const ctr = this.ctr[element] as number;
    if (ctr <= 1) return HEAD;
    const guess = this.find(this.actor[element] as number, ctr - 1);
    this.#previous[element] = guess;
    if (this.#next[guess] === UNSEEN) this.#next[guess] = element;
    return guess;
  }

  after(element: number): number {
    const known = this.#next[element] as number;
    if (known !== UNSEEN || element === HEAD) return known;
    const guess = this.find(this.actor[element] as number, (this.ctr[element] as number) + 1);
    if (this.#previous[guess] === UNSEEN) this.#previous[guess] = element;
    this.#next[element] = guess;
    return guess;
  }

  insert(left: number, actor: number, ctr: number): void {
    const element = this.find(actor, ctr);
    const right = this.#next[left] as number;
    this.#next[left] = element;
    this.#previous[element] = left;
    if (right !== element) this.#next[element] = right;
    if (right > HEAD) this.#previous[right] = element;
    this.cursor = element;
  }

  remove(element: number): void {
    if (element === HEAD) return;
    const left = this.before(element);
    const right = this.after(element);
    this.#next[left] = right;
    if (right > HEAD) this.#previous[right] = left;
    this.cursor = left;
  }
}
