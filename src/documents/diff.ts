import { align } from "./align.ts";
import {
  isObject,
  type Json,
  type JsonObject,
  sameJson,
  sortedKeys,
  stringifyJson,
  toPointer,
} from "./json-value.ts";

/**
 * An RFC 6902 patch (`add`, `remove`, `replace`) that turns one value into the other. Lists are aligned as in
 * an edit; the operations of a list come last place first, so that each index holds when it is applied.
 */
export function createPatch(before: Json, after: Json): JsonObject[] {
  const patch: JsonObject[] = [];
  visit(before, after, []);
  return patch;

  function visit(from: Json, to: Json, path: (string | number)[]): void {
    if (sameJson(from, to)) return;
    if (Array.isArray(from) && Array.isArray(to)) visitList(from, to, path);
    else if (isObject(from) && isObject(to)) visitMap(from, to, path);
    else patch.push({ op: "replace", path: toPointer(path), value: to });
  }

  function visitMap(from: JsonObject, to: JsonObject, path: (string | number)[]): void {
    for (const key of sortedKeys(from)) {
      if (!Object.hasOwn(to, key)) patch.push({ op: "remove", path: toPointer([...path, key]) });
    }
    for (const key of sortedKeys(to)) {
      const here = [...path, key];
      if (Object.hasOwn(from, key)) visit(from[key] as Json, to[key] as Json, here);
      else patch.push({ op: "add", path: toPointer(here), value: to[key] as Json });
    }
  }

  function visitList(from: Json[], to: Json[], path: (string | number)[]): void {
    for (const gap of align(from.map(stringifyJson), to.map(stringifyJson)).reverse()) {
      const removed = gap.oldEnd - gap.oldStart;
      const added = gap.newEnd - gap.newStart;
      const paired = Math.min(removed, added);
      for (let i = removed - 1; i >= paired; i--) {
        patch.push({ op: "remove", path: toPointer([...path, gap.oldStart + i]) });
      }
      for (let i = 0; i < paired; i++) {
        const at = gap.oldStart + i;
        visit(from[at] as Json, to[gap.newStart + i] as Json, [...path, at]);
      }
      for (let i = paired; i < added; i++) {
        patch.push({
          op: "add",
          path: toPointer([...path, gap.oldStart + i]),
          value: to[gap.newStart + i] as Json,
        });
      }
    }
  }
}
