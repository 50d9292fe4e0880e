import { equalJson, isObject, setKey } from "./exact-json.ts";
import { pointerOf } from "./json-pointer.ts";

export interface Merged {
  /** With both sides' changes; where they clash, with those of the side that was preferred. */
  readonly value: unknown;
  /** JSON pointers of what both sides changed, to different values. */
  readonly clashes: readonly string[];
}

/** In the place of a value that is not there: JSON has none. */
const NONE = Symbol("none");

/**
 * Brings together what two sides made of `base`. Keys of objects are looked at one by one, so are items of lists
 * that none of the sides made longer or shorter; any other list is one thing.
 */
export function mergeJson(base: unknown, mine: unknown, theirs: unknown, prefer: "mine" | "theirs"): Merged {
  const clashes: string[] = [];
  const value = merge(base, mine, theirs, []);
  return { value: value === NONE ? undefined : value, clashes };

  function merge(was: unknown, my: unknown, their: unknown, path: readonly (string | number)[]): unknown {
    if (same(my, their) || same(was, their)) return my;
    if (same(was, my)) return their;
    if (isObject(was) && isObject(my) && isObject(their)) {
      const made = {};
      for (const key of new Set([...Object.keys(their), ...Object.keys(my)])) {
        const found = merge(at(was, key), at(my, key), at(their, key), [...path, key]);
        if (found !== NONE) setKey(made, key, found);
      }
      return made;
    }
    if (Array.isArray(was) && Array.isArray(my) && Array.isArray(their)) {
      if (was.length === my.length && was.length === their.length)
        return was.map((item, i) => merge(item, my[i], their[i], [...path, i]));
    }
    clashes.push(pointerOf(path));
    return prefer === "mine" ? my : their;
  }
}

function at(of: Readonly<Record<string, unknown>>, key: string): unknown {
  return Object.hasOwn(of, key) ? of[key] : NONE;
}

function same(a: unknown, b: unknown): boolean {
  return a === NONE || b === NONE ? a === b : equalJson(a, b);
}
