import { compare, type Comparable } from "./comparison.ts";

/** An end of a range that belongs to it; undefined: it has none on that side. */
export type End = Exclude<Comparable, null> | undefined;

interface Node<T> {
  readonly low: End;
  readonly weight: number;
  /** The ranges that begin here. */
  readonly items: Map<T, End>;
  /** The greatest end here and below. */
  high: End;
  left: Node<T> | undefined;
  right: Node<T> | undefined;
}

/**
 * Ranges of values, by the values they hold: those that hold one are found in the logarithm of all and the number
 * of those found. A treap (Aragon and Seidel, 1989) by where a range begins, each node with where the ranges below
 * it end at the latest.
 */
export class RangeTree<T> {
  #root: Node<T> | undefined;
  #made = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(item: T, low: End, high: End): void {
    this.#root = this.#add(this.#root, item, low, high);
  }

  /** With the ends that it was added with. */
  remove(item: T, low: End): void {
    this.#root = this.#remove(this.#root, item, low);
  }

  /** Calls `found` for every item whose range holds the value, ends included. */
  holding(value: Exclude<Comparable, null>, found: (item: T) => void): void {
    holding(this.#root, value, found);
  }

  /** Calls `found` for every item. */
  all(found: (item: T) => void): void {
    const walk = (node: Node<T> | undefined): void => {
      if (!node) return;
      walk(node.left);
      for (const item of node.items.keys()) found(item);
      walk(node.right);
    };
    walk(this.#root);
  }

  #add(node: Node<T> | undefined, item: T, low: End, high: End): Node<T> {
    if (!node) {
      this.#size += 1;
      this.#made += 1;
      // Heights are balanced by weights that follow no order of what is added.
      const weight =
        Math.imul(this.#made ^ (this.#made >>> 15), 0x2c1b3c6d) ^ Math.imul(this.#made, 0x9e3779b1);
      return { low, weight, items: new Map([[item, high]]), high, left: undefined, right: undefined };
    }
    const side = compareLow(low, node.low);
    if (side === 0) {
      if (!node.items.has(item)) this.#size += 1;
      node.items.set(item, high);
      return settled(node);
    }
    if (side < 0) {
      node.left = this.#add(node.left, item, low, high);
      return settled(node.left.weight > node.weight ? turnRight(node, node.left) : node);
    }
    node.right = this.#add(node.right, item, low, high);
    return settled(node.right.weight > node.weight ? turnLeft(node, node.right) : node);
  }

  #remove(node: Node<T> | undefined, item: T, low: End): Node<T> | undefined {
    if (!node) return undefined;
    const side = compareLow(low, node.low);
    if (side < 0) node.left = this.#remove(node.left, item, low);
    else if (side > 0) node.right = this.#remove(node.right, item, low);
    else {
      if (node.items.delete(item)) this.#size -= 1;
      if (node.items.size === 0) return merged(node.left, node.right);
    }
    return settled(node);
  }
}

function holding<T>(
  node: Node<T> | undefined,
  value: Exclude<Comparable, null>,
  found: (item: T) => void,
): void {
  if (!node || !reaches(node.high, value)) return;
  holding(node.left, value, found);
  // All further ones begin after the value.
  if (node.low !== undefined && compare(node.low, value) > 0) return;
  for (const [item, high] of node.items) if (reaches(high, value)) found(item);
  holding(node.right, value, found);
}

function reaches(high: End, value: Exclude<Comparable, null>): boolean {
  return high === undefined || compare(high, value) >= 0;
}

function compareLow(a: End, b: End): number {
  if (a === undefined || b === undefined) return a === b ? 0 : a === undefined ? -1 : 1;
  return compare(a, b);
}

function settled<T>(node: Node<T>): Node<T> {
  const ends: End[] = [...node.items.values()];
  if (node.left) ends.push(node.left.high);
  if (node.right) ends.push(node.right.high);
  node.high = ends.reduce((most, end) => later(most, end));
  return node;
}

function later(a: End, b: End): End {
  if (a === undefined || b === undefined) return undefined;
  return compare(a, b) < 0 ? b : a;
}

function turnRight<T>(node: Node<T>, left: Node<T>): Node<T> {
  node.left = left.right;
  left.right = settled(node);
  return left;
}

function turnLeft<T>(node: Node<T>, right: Node<T>): Node<T> {
  node.right = right.left;
  right.left = settled(node);
  return right;
}

function merged<T>(left: Node<T> | undefined, right: Node<T> | undefined): Node<T> | undefined {
  if (!left || !right) return left ?? right;
  if (left.weight > right.weight) {
    left.right = merged(left.right, right);
    return settled(left);
  }
  right.left = merged(left, right.left);
  return settled(right);
}
