import { MAYBE, YES, truthOf, type Truth } from "./truth.ts";
import type { Pair } from "./places.ts";

/** Why a verdict is not `yes`: what was asked, where, and how it was not met. */
export interface Reason {
  readonly doc: string;
  readonly path: string;
  /** JSON pointer into the schema. */
  readonly schema_path: string;
  readonly message: string;
}

const SAID: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  any: { 0: "matches none of them", 1: "may match none of them" },
  one: { 0: "has to match exactly one of them", 1: "may not match exactly one of them" },
  not: { 0: "matches what it must not", 1: "may match what it must not" },
};
const KEYWORD: Readonly<Record<string, string>> = { any: "anyOf", one: "oneOf", not: "not" };

/** The first `most` reasons in the order of the schema: for `no` what is not met, for `maybe` where links ended. */
export function reasonsOf(start: Pair, most: number): Reason[] {
  const found: Reason[] = [];
  const seen = new Set<Pair>([start]);
  const todo = [start];
  const wanted: Truth = start.truth;
  for (let pair = todo.pop(); pair && found.length < most; pair = todo.pop()) {
    const next: Pair[] = [];
    for (const reason of ownReasons(pair)) if (found.length < most) found.push(reason);
    for (const { to, group } of pair.out) {
      // Within `not` and `oneOf` what holds is the reason as often as what does not.
      const operator = pair.groups[group]?.operator;
      const concerns = operator === "all" || operator === "any" ? to.truth <= wanted : to.truth === MAYBE;
      if (!concerns || to.truth === YES || seen.has(to)) continue;
      seen.add(to);
      next.push(to);
    }
    for (let i = next.length - 1; i >= 0; i -= 1) todo.push(next[i] as Pair);
  }
  return found;
}

function ownReasons(pair: Pair): Reason[] {
  const { schema, place } = pair;
  const at = (keyword: string, message: string): Reason => ({
    doc: place.doc.name,
    path: place.pointer,
    schema_path: keyword === "" ? schema.at : `${schema.at}/${keyword}`,
    message,
  });
  if (schema.always === false) return [at("", "nothing may be here")];
  if (pair.isLink && !pair.followed && schema.always === undefined)
    return [at("", "is a link further than `max_link_depth`")];
  const reasons: Reason[] = [];
  const value = pair.lost ? undefined : place.value;
  if (!pair.isLink || pair.lost)
    for (const check of schema.checks)
      if (!check.holds(value))
        reasons.push(at(check.keyword, `${value === undefined ? "is not there and " : ""}${check.wants}`));
  for (const group of pair.groups) {
    const said = SAID[group.operator]?.[truthOf(group)];
    if (said !== undefined) reasons.push(at(KEYWORD[group.operator] as string, said));
  }
  return reasons;
}
