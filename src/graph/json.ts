import { sortedKeys, type Json, type JsonObject } from "../documents/json-value.ts";

/**
 * JSON values without recursion: documents come from others and nest as deep as they like.
 */

export function isMap(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The value one step below another, or undefined. A step into a list is an index in decimal. */
export function below(value: Json | undefined, step: string): Json | undefined {
  if (Array.isArray(value)) return /^(?:0|[1-9]\d{0,9})$/.test(step) ? value[Number(step)] : undefined;
  return isMap(value) && Object.hasOwn(value, step) ? value[step] : undefined;
}

/** Equal as JSON Schema has it: numbers by their value, maps in any order. */
export function equal(a: Json, b: Json): boolean {
  const todo: [Json, Json][] = [[a, b]];
  for (let pair = todo.pop(); pair; pair = todo.pop()) {
    const [x, y] = pair;
    if (isMap(x)) {
      if (!isMap(y)) return false;
      const keys = Object.keys(x);
      if (keys.length !== Object.keys(y).length) return false;
      for (const key of keys) {
        if (!Object.hasOwn(y, key)) return false;
        todo.push([x[key] as Json, y[key] as Json]);
      }
    } else if (Array.isArray(x)) {
      if (!Array.isArray(y) || x.length !== y.length) return false;
      x.forEach((item, i) => todo.push([item, y[i] as Json]));
    } else if (!sameScalar(x, y)) return false;
  }
  return true;
}

/** -0 is 0, and an integer is the same however it is held. */
function sameScalar(x: Json, y: Json): boolean {
  if (x === y) return true;
  const numbers = (value: Json): boolean => typeof value === "number" || typeof value === "bigint";
  // oxlint-disable-next-line eqeqeq -- a bigint equals the number of the same value
  return numbers(x) && numbers(y) && (x as number) == (y as number);
}

/** Values in a value, itself counted; stops counting at `most`. */
export function countValues(value: Json, most: number): number {
  const todo: Json[] = [value];
  let count = 0;
  for (; todo.length > 0 && count < most; count += 1) {
    const next = todo.pop() as Json;
    if (typeof next !== "object" || next === null) continue;
    for (const item of Array.isArray(next) ? next : Object.values(next)) todo.push(item);
  }
  return count;
}

/** Levels of lists and maps in a value. */
export function levelsOf(value: Json): number {
  let level: Json[] = [value];
  for (let levels = 0; ; levels += 1) {
    const next: Json[] = [];
    let some = false;
    for (const item of level) {
      if (typeof item !== "object" || item === null) continue;
      some = true;
      for (const child of Array.isArray(item) ? item : Object.values(item)) next.push(child);
    }
    if (!some) return levels;
    level = next;
  }
}

/** What `writeValue` asks of each list and map that it comes to. */
export type Select<P> = (
  value: Json,
  place: P,
) => "whole" | { readonly steps: readonly string[]; readonly of: (step: string) => P };

type Task<P> = string | { readonly value: Json; readonly place: P | undefined };

/**
 * JSON text of a value, or of a part of it: of each list and map only the steps that `select` names, elements of a
 * list before the last of them as null. Keys are in the order of their code points. `spend` hears of each piece's length.
 */
export function writeValue<P>(
  value: Json,
  place: P | undefined,
  select: Select<P>,
  spend: (characters: number) => void,
): string {
  const out: string[] = [];
  const todo: Task<P>[] = [{ value, place }];
  const put = (text: string): void => {
    spend(text.length);
    out.push(text);
  };
  for (let task = todo.pop(); task !== undefined; task = todo.pop()) {
    if (typeof task === "string") put(task);
    else if (typeof task.value === "object" && task.value !== null) open(task.value, task.place);
    else put(scalarText(task.value));
  }
  return out.join("");

  function open(list: Json[] | JsonObject, at: P | undefined): void {
    const chosen = at === undefined ? "whole" : select(list, at);
    const isList = Array.isArray(list);
    put(isList ? "[" : "{");
    const steps =
      chosen === "whole" ? (isList ? [...list.keys()].map(String) : sortedKeys(list)) : chosen.steps;
    const tasks: Task<P>[] = [];
    let next = 0;
    for (const [i, step] of steps.entries()) {
      let before = i > 0 ? "," : "";
      for (; isList && next < Number(step); next += 1) before += "null,";
      next += 1;
      tasks.push(isList ? before : `${before}${JSON.stringify(step)}:`);
      tasks.push({
        value: below(list, step) as Json,
        place: chosen === "whole" ? undefined : chosen.of(step),
      });
    }
    tasks.push(isList ? "]" : "}");
    for (let i = tasks.length - 1; i >= 0; i -= 1) todo.push(tasks[i] as Task<P>);
  }
}

function scalarText(value: Exclude<Json, object>): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value !== "number") return String(value);
  if (Object.is(value, -0)) return "-0";
  if (!Number.isFinite(value)) return "null";
  // As documents have it: a float beyond 2^53 keeps its exponent.
  return Number.isInteger(value) && !Number.isSafeInteger(value) ? value.toExponential() : String(value);
}
