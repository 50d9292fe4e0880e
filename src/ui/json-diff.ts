import { equalJson, isObject } from "./exact-json.ts";
import { pointerOf } from "./json-pointer.ts";
import type { PatchStep } from "./json-patch.ts";

/** A JSON patch that makes `to` of `from`, changing as little as its places allow: what is equal is not touched. */
export function diffJson(from: unknown, to: unknown): PatchStep[] {
  const steps: PatchStep[] = [];
  walk(from, to, [], steps);
  return steps;
}

type Path = readonly (string | number)[];

function walk(from: unknown, to: unknown, path: Path, steps: PatchStep[]): void {
  if (equalJson(from, to)) return;
  if (isObject(from) && isObject(to)) {
    for (const key of Object.keys(from)) {
      if (Object.hasOwn(to, key)) walk(from[key], to[key], [...path, key], steps);
      else steps.push({ op: "remove", path: pointerOf([...path, key]) });
    }
    for (const key of Object.keys(to)) {
      if (!Object.hasOwn(from, key))
        steps.push({ op: "add", path: pointerOf([...path, key]), value: to[key] });
    }
  } else if (Array.isArray(from) && Array.isArray(to)) list(from, to, path, steps);
  else steps.push({ op: "replace", path: pointerOf(path), value: to });
}

/** What is alike at both ends stays; between, items are changed one by one, and the rest goes or comes. */
function list(from: readonly unknown[], to: readonly unknown[], path: Path, steps: PatchStep[]): void {
  const shorter = Math.min(from.length, to.length);
  let start = 0;
  while (start < shorter && equalJson(from[start], to[start])) start += 1;
  let end = 0;
  while (end < shorter - start && equalJson(from.at(-1 - end), to.at(-1 - end))) end += 1;
  const [had, has] = [from.length - end, to.length - end];
  const both = Math.min(had, has);
  for (let at = start; at < both; at += 1) walk(from[at], to[at], [...path, at], steps);
  // From behind, so that no step moves what a later one means.
  for (let at = had - 1; at >= both; at -= 1) steps.push({ op: "remove", path: pointerOf([...path, at]) });
  for (let at = both; at < has; at += 1)
    steps.push({ op: "add", path: pointerOf([...path, at]), value: to[at] });
}
