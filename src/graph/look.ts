import type { Json } from "../documents/json-value.ts";
import { isMap } from "./json.ts";
import { readLink } from "./link.ts";
import type { Schema } from "./schema.ts";
import { MAYBE, NO, YES, type Group, type Operator } from "./truth.ts";
import type { Edge, Pair, Place } from "./places.ts";

/** What a walk gives to a look at one place. */
export interface Looking {
  /** Links that may be followed one after the other. */
  readonly maxDepth: number;
  /** Where a link's id and steps lead; undefined when nowhere. */
  place(id: string, steps: readonly string[], from: Pair): Place | undefined;
  /** The pair of a place and a schema, made when it is the first to come there. */
  pair(place: Place, schema: Schema): Pair;
  /** Counts work. Throws QUERY_LIMIT. */
  spend(steps: number): void;
  /** Throws QUERY_LIMIT for more places than there may be, before they take memory. */
  room(places: number): void;
}

export interface Looked {
  /** Whether what the pair's truth is worked out from is another. */
  readonly changed: boolean;
  /** What it no longer looks at. */
  readonly removed: readonly Edge[];
  readonly added: readonly Edge[];
}

interface Target {
  readonly place: Place;
  readonly schema: Schema;
  readonly group: number;
  readonly link: boolean;
}

/**
 * Asks a sub-schema of a place: tries its assertions on the value there and finds which places it goes on to. Everything
 * is tried and gone to, also what can no longer change the answer, so that what is touched does not depend on an order.
 * A link stands for what it leads to, whatever is asked of it.
 */
export function look(pair: Pair, walk: Looking): Looked {
  const targets: Target[] = [];
  const operators: Operator[] = ["all"];
  const local = lookInto(pair, walk, targets, operators);
  const changed = local !== pair.local || !pair.expanded;
  pair.local = local;
  pair.expanded = true;
  return connect(pair, walk, targets, operators, changed);
}

function lookInto(pair: Pair, walk: Looking, targets: Target[], operators: Operator[]): Pair["local"] {
  const { schema, place } = pair;
  walk.spend(1);
  const link = readLink(place.value);
  pair.isLink = link !== undefined;
  pair.followed = pair.lost = false;
  if (schema.always === false) return NO;
  if (!link) return schema.always === true ? YES : ask(pair, place.value, walk, targets, operators);
  if (pair.depth >= walk.maxDepth) return schema.always === true ? YES : MAYBE;
  pair.followed = true;
  const target = link.steps && walk.place(link.id, link.steps, pair);
  if (target) {
    targets.push({ place: target, schema, group: 0, link: true });
    return YES;
  }
  pair.lost = true;
  return schema.always === true ? YES : ask(pair, undefined, walk, targets, operators);
}

function ask(
  { schema, place, lost }: Pair,
  value: Json | undefined,
  walk: Looking,
  targets: Target[],
  operators: Operator[],
): Pair["local"] {
  let holds = true;
  for (const check of schema.checks) {
    walk.spend(check.cost);
    if (!check.holds(value)) holds = false;
  }
  // A lost link's place has a value of its own, which is not what the schema is asked of.
  const here = lost ? place.below(NOWHERE) : place;
  const add = (of: Place, wanted: Schema, group = 0): void => {
    walk.spend(1);
    walk.room(targets.length);
    targets.push({ place: of, schema: wanted, group, link: false });
  };
  for (const each of schema.all) add(here, each);
  for (const [operator, list] of [
    ["any", schema.any],
    ["one", schema.one],
    ["not", schema.not && [schema.not]],
  ] as const) {
    if (!list) continue;
    for (const each of list) add(here, each, operators.length);
    operators.push(operator);
  }
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i += 1) {
      const wanted = schema.prefix[i] ?? schema.items;
      if (!wanted) break;
      add(place.below(String(i)), wanted);
    }
  } else if (isMap(value)) {
    walk.spend(schema.properties?.size ?? 0);
    for (const [name, wanted] of schema.properties ?? [])
      if (Object.hasOwn(value, name)) add(place.below(name), wanted);
    if (schema.additional)
      for (const name of Object.keys(value))
        if (!schema.properties?.has(name)) add(place.below(name), schema.additional);
  }
  return holds ? YES : NO;
}

/** The step below a link that leads nowhere: no value has it, so nothing is there. */
export const NOWHERE = "\0";

function connect(
  pair: Pair,
  walk: Looking,
  targets: readonly Target[],
  operators: readonly Operator[],
  changed: boolean,
): Looked {
  const { out } = pair;
  const same =
    targets.length === out.length &&
    targets.every((target, i) => isSame(target, out[i] as Edge)) &&
    operators.length === pair.groups.length &&
    operators.every((operator, i) => operator === pair.groups[i]?.operator);
  if (same) return { changed, removed: [], added: [] };
  const kept = new Map<string, Edge[]>();
  const nameOf = (group: number, link: boolean, schema: Schema, place: Place): string =>
    `${group} ${link ? "link" : place.step} ${schema.id}`;
  for (const edge of out) {
    const name = nameOf(edge.group, edge.link, edge.to.schema, edge.to.place);
    const list = kept.get(name);
    if (list) list.push(edge);
    else kept.set(name, [edge]);
  }
  const groups: Group[] = operators.map((operator) => ({ operator, counts: [0, 0, 0] }));
  const added: Edge[] = [];
  pair.groups = groups;
  pair.out = targets.map((target) => {
    const { group, link, schema, place } = target;
    const list = kept.get(nameOf(group, link, schema, place));
    const at = list?.findIndex((edge) => isSame(target, edge)) ?? -1;
    let edge = at < 0 ? undefined : list?.splice(at, 1)[0];
    if (!edge) {
      edge = { from: pair, to: walk.pair(place, schema), group, link };
      edge.to.in.add(edge);
      added.push(edge);
    }
    (groups[group] as Group).counts[edge.to.truth] += 1;
    return edge;
  });
  const removed = [...kept.values()].flat();
  for (const edge of removed) edge.to.in.delete(edge);
  return { changed: true, removed, added };
}

function isSame({ place, schema, group, link }: Target, edge: Edge): boolean {
  return edge.group === group && edge.link === link && edge.to.place === place && edge.to.schema === schema;
}
