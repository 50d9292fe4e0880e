import { SkaldError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import {
  getKey,
  isObject,
  type Json,
  type JsonObject,
  parseIndex,
  parsePointer,
  sameJson,
  setKey,
  valueAt,
} from "./json-value.ts";

// Ours, because keys such as `constructor` and `__proto__` are ordinary keys of a document, and the patch
// libraries skip or mistake them.

/** The value that a merge patch makes of `target`, which is left as it is. Source: RFC 7396, section 2. */
export function applyMergePatch(target: Json | undefined, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const result: JsonObject = {};
  if (isObject(target)) {
    for (const key of Object.keys(target)) {
      if (!Object.hasOwn(patch, key)) setKey(result, key, target[key] as Json);
    }
  }
  for (const key of Object.keys(patch)) {
    const change = patch[key] as Json;
    if (change === null) continue;
    setKey(result, key, applyMergePatch(isObject(target) ? getKey(target, key) : undefined, change));
  }
  return result;
}

/** Characters of a path that an error repeats. */
const MAX_PATH = 1000;

type Operation =
  | { op: "add" | "replace" | "test"; path: string[]; value: Json }
  | { op: "remove"; path: string[] }
  | { op: "move" | "copy"; path: string[]; from: string[] };

/**
 * The value that a JSON patch makes of `target`, which is left as it is. Source: RFC 6902.
 * @throws SkaldError PATCH_INVALID, PATCH_FAILED, TOO_LARGE; `index` in the details is the operation's
 */
export function applyJsonPatch(target: Json, patch: Json): Json {
  if (!Array.isArray(patch)) throw new SkaldError("PATCH_INVALID", "A JSON patch is a list of operations.");
  const { patchOperations, copiedValues } = LIMITS.document;
  if (patch.length > patchOperations.value) {
    throw new SkaldError(
      "TOO_LARGE",
      `A JSON patch has at most ${patchOperations.value} operations, not ${patch.length}.`,
    );
  }
  const operations = patch.map(readOperation);
  // Copies share what they copy, so thirty operations could make a value of a billion parts.
  let left = copiedValues.value;
  const copied = (value: Json): void => {
    left -= countUpTo(value, left + 1);
    if (left < 0)
      throw new SkaldError("TOO_LARGE", `A JSON patch copies at most ${copiedValues.value} values.`);
  };
  let root = target;
  operations.forEach((operation, index) => {
    root = applyOperation(root, operation, copied, (detail) => {
      const path = ((patch[index] as JsonObject)["path"] as string).slice(0, MAX_PATH);
      throw new SkaldError(
        "PATCH_FAILED",
        `Operation ${index} (${operation.op} ${JSON.stringify(path)}): ${detail}.`,
        {
          details: { index, path },
        },
      );
    });
  });
  return root;
}

function readOperation(raw: Json, index: number): Operation {
  const invalid = (detail: string): never => {
    throw new SkaldError("PATCH_INVALID", `Operation ${index} ${detail}.`, { details: { index } });
  };
  if (!isObject(raw)) return invalid("is not an object");
  const pointer = (name: string): string[] => {
    const text = getKey(raw, name);
    if (typeof text !== "string") return invalid(`needs the string "${name}"`);
    return parsePointer(text) ?? invalid(`has a "${name}" that is not a JSON pointer`);
  };
  const op = getKey(raw, "op");
  switch (op) {
    case "add":
    case "replace":
    case "test": {
      const value = getKey(raw, "value");
      return value === undefined ? invalid('needs a "value"') : { op, path: pointer("path"), value };
    }
    case "remove":
      return { op, path: pointer("path") };
    case "move":
    case "copy":
      return { op, path: pointer("path"), from: pointer("from") };
    default:
      return invalid('needs an "op" of add, remove, replace, move, copy or test');
  }
}

type Fail = (detail: string) => never;

/** Values in `value`, itself included; `most` when there are as many or more. */
function countUpTo(value: Json, most: number): number {
  let count = 1;
  if (typeof value !== "object" || value === null) return count;
  for (const item of Array.isArray(value) ? value : Object.values(value)) {
    if (count >= most) return most;
    count += countUpTo(item, most - count);
  }
  return count;
}

function applyOperation(root: Json, operation: Operation, copied: (value: Json) => void, fail: Fail): Json {
  switch (operation.op) {
    case "add":
      return add(root, operation.path, operation.value, fail);
    case "remove":
      return remove(root, operation.path, fail);
    case "replace":
      if (operation.path.length === 0) return operation.value;
      return update(root, operation.path, fail, (parent, step) => {
        const at = existing(parent, step, fail);
        if (Array.isArray(parent)) parent[at as number] = operation.value;
        else setKey(parent, step, operation.value);
      });
    case "test": {
      const value = valueAt(root, operation.path);
      if (value === undefined) return fail("there is nothing at this path");
      return sameJson(value, operation.value) ? root : fail("the value there is another one");
    }
    case "copy":
    case "move": {
      const { from, path } = operation;
      const value = valueAt(root, from);
      if (value === undefined) return fail('there is nothing at "from"');
      if (operation.op === "copy") {
        copied(value);
        return add(root, path, value, fail);
      }
      if (from.every((step, i) => step === path[i])) {
        return from.length === path.length ? root : fail("a value cannot be moved into itself");
      }
      return add(remove(root, from, fail), path, value, fail);
    }
  }
}

function add(root: Json, path: string[], value: Json, fail: Fail): Json {
  if (path.length === 0) return value;
  return update(root, path, fail, (parent, step) => {
    if (!Array.isArray(parent)) return setKey(parent, step, value);
    const index = step === "-" ? parent.length : parseIndex(step);
    if (index === undefined || index > parent.length) return fail("there is no such place in the list");
    parent.splice(index, 0, value);
  });
}

function remove(root: Json, path: string[], fail: Fail): Json {
  if (path.length === 0) return fail("the whole document cannot be removed");
  return update(root, path, fail, (parent, step) => {
    const at = existing(parent, step, fail);
    if (Array.isArray(parent)) parent.splice(at as number, 1);
    else delete parent[step];
  });
}

function existing(parent: Json[] | JsonObject, step: string, fail: Fail): string | number {
  if (Array.isArray(parent)) {
    const index = parseIndex(step);
    return index === undefined || index >= parent.length ? fail("there is nothing at this path") : index;
  }
  return Object.hasOwn(parent, step) ? step : fail("there is nothing at this path");
}

/** Copies the containers along `path` and lets `edit` change the copy of the last one. */
function update(
  root: Json,
  path: readonly string[],
  fail: Fail,
  edit: (parent: Json[] | JsonObject, step: string) => void,
): Json {
  if (typeof root !== "object" || root === null) return fail("its parent is not a map or list");
  const copy = Array.isArray(root) ? [...root] : { ...root };
  const step = path[0] as string;
  if (path.length === 1) {
    edit(copy, step);
    return copy;
  }
  const at = existing(copy, step, fail);
  const child = update((copy as JsonObject)[at] as Json, path.slice(1), fail, edit);
  if (Array.isArray(copy)) copy[at as number] = child;
  else setKey(copy, step, child);
  return copy;
}
