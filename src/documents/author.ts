import { align, textSplices } from "./align.ts";
import type { Edit } from "./jobs.ts";
import { SkaldError } from "../errors.ts";
import { missingHeads, type Handle } from "./handle.ts";
import { applyJsonPatch, applyMergePatch } from "./json-patch.ts";
import {
  isObject,
  type Json,
  type JsonObject,
  parseJson,
  parsePointer,
  refuseProblems,
  sameJson,
  stringifyJson,
  valueAt,
  type ValueProblem,
} from "./json-value.ts";
import { bytesOf, documentJson } from "./materialise.ts";
import { Past } from "./past.ts";
import { asDocument, hasHugeFloat, isStorable, isStoredAsInt } from "./storable.ts";

/**
 * Writes into `handle` the operations that make its root what `edit` wants, and no others: what is equal is
 * not touched, so that it keeps its identity, its conflicts and its Automerge type. Does not commit.
 * @throws SkaldError BAD_JSON, BAD_REQUEST, VALUE_INVALID, PATCH_INVALID, PATCH_FAILED; the handle must then be thrown away
 */
export function writeEdit(handle: Handle, edit: Edit): void {
  if (edit.kind === "revert" && missingHeads(handle, edit.heads).length > 0)
    throw new SkaldError("BAD_REQUEST", "The document never was at the heads it is to go back to.");
  const before = documentJson(handle);
  const after = edit.kind === "revert" ? documentJson(handle, edit.heads) : asDocument(wanted(before, edit));
  const writer = new Writer(handle, edit.kind === "revert" ? new Past(handle, edit.heads) : undefined);
  writer.editMap("_root", before, after, []);
  if (edit.kind === "json-patch") writer.settle(replacedIn(parseJson(edit.patch, 2)), after);
  refuseProblems(writer.problems);
}

/** Where a JSON patch that was applied puts a value in the place of another. */
function replacedIn(patch: Json): string[][] {
  if (!Array.isArray(patch)) return [];
  return patch.flatMap((step) => {
    if (!isObject(step) || step["op"] !== "replace") return [];
    return [parsePointer(String(step["path"])) ?? []];
  });
}

function wanted(before: JsonObject, edit: Exclude<Edit, { kind: "revert" }>): Json {
  switch (edit.kind) {
    case "put":
      return parseJson(edit.value);
    case "merge-patch":
      return applyMergePatch(before, parseJson(edit.patch));
    case "json-patch":
      // The list and the operation around each value are not levels of the document.
      return applyJsonPatch(before, parseJson(edit.patch, 2));
    case "clear":
      return {};
  }
}

type Path = readonly (string | number)[];

class Writer {
  readonly problems: ValueProblem[] = [];
  readonly #handle: Handle;
  /** Where the values come from, if they are from the document itself. */
  readonly #past: Past | undefined;

  constructor(handle: Handle, past?: Past) {
    this.#handle = handle;
    this.#past = past;
  }

  editMap(map: string, before: JsonObject, after: JsonObject, path: Path): void {
    for (const key of Object.keys(before)) {
      if (!Object.hasOwn(after, key)) this.#handle.delete(map, key);
    }
    for (const key of Object.keys(after)) {
      const value = after[key] as Json;
      const here = [...path, key];
      if (Object.hasOwn(before, key)) this.#edit(map, key, before[key] as Json, value, here);
      else if (this.#past) this.#past.write(this.#past.at(here), map, key, false);
      else if (this.#allowed(value, here)) this.#write(map, key, value, false);
    }
  }

  /**
   * Somebody who replaces a value that is in conflict by itself has decided for it: it is written anew. `after` is
   * the document as it is by now.
   */
  settle(paths: readonly (readonly string[])[], after: JsonObject): void {
    for (const path of paths) {
      const key = path.at(-1);
      const object = key === undefined ? undefined : this.#objectAt(path.slice(0, -1));
      const value = valueAt(after, path);
      if (key === undefined || object === undefined || value === undefined) continue;
      const prop = object.isList ? Number(key) : key;
      if (this.#handle.getAll(object.id, prop).length < 2) continue;
      const [type, content] = this.#handle.getWithType(object.id, prop) ?? [];
      if (type === "map" || type === "list" || type === "text") {
        if (this.#allowed(value, path)) this.#write(object.id, prop, value, false);
      } else if (type !== undefined) this.#handle.put(object.id, prop, content as string, type as "str");
    }
  }

  #objectAt(path: readonly string[]): { id: string; isList: boolean } | undefined {
    let found = { id: "_root", isList: false };
    for (const step of path) {
      const [type, id] = this.#handle.getWithType(found.id, found.isList ? Number(step) : step) ?? [];
      if (type !== "map" && type !== "list") return undefined;
      found = { id: String(id), isList: type === "list" };
    }
    return found;
  }

  #editList(list: string, before: Json[], after: Json[], path: Path): void {
    // From the last gap to the first, so that the indices of those still to come hold.
    for (const gap of align(before.map(stringifyJson), after.map(stringifyJson)).reverse()) {
      const removed = gap.oldEnd - gap.oldStart;
      const added = gap.newEnd - gap.newStart;
      const paired = Math.min(removed, added);
      for (let i = 0; i < paired; i++) {
        const at = gap.oldStart + i;
        const value = after[gap.newStart + i] as Json;
        this.#edit(list, at, before[at] as Json, value, [...path, gap.newStart + i]);
      }
      for (let i = removed - 1; i >= paired; i--) this.#handle.delete(list, gap.oldStart + i);
      if (added > paired && this.#past) {
        for (let i = paired; i < added; i++)
          this.#past.write(this.#past.at([...path, gap.newStart + i]), list, gap.oldStart + i, true);
      } else if (added > paired) {
        const values = after.slice(gap.newStart + paired, gap.newEnd);
        const fine = values.every((value, i) => this.#allowed(value, [...path, gap.newStart + paired + i]));
        if (fine) this.#insert(list, gap.oldStart + paired, values);
      }
    }
  }

  #edit(object: string, prop: string | number, before: Json, after: Json, path: Path): void {
    if (sameJson(before, after)) return;
    const current = this.#handle.getWithType(object, prop);
    const type = current?.[0];
    if (type === "map" && isObject(before) && isObject(after)) {
      return this.editMap(String(current?.[1]), before, after, path);
    }
    if (type === "list" && Array.isArray(before) && Array.isArray(after)) {
      return this.#editList(String(current?.[1]), before, after, path);
    }
    if (this.#past) {
      const then = this.#past.at(path);
      // A text or a counter of the same type goes on being the one it is.
      if (type !== then.type || !(type === "text" || type === "counter"))
        return this.#past.write(then, object, prop, false);
    }
    if (!this.#past && !this.#allowed(after, path)) return;
    if (typeof after === "string") {
      // A conflict between texts is settled by a new value; an edit inside one of them would leave it open.
      if (type === "text" && typeof before === "string" && this.#handle.getAll(object, prop).length === 1) {
        for (const splice of textSplices(before, after)) {
          this.#handle.splice(String(current?.[1]), splice.at, splice.remove, splice.insert);
        }
        return;
      }
      if (type === "str") return this.#handle.put(object, prop, after, "str");
      if (type === "timestamp") {
        const time = Date.parse(after);
        if (!Number.isNaN(time) && new Date(time).toISOString() === after) {
          return this.#handle.put(object, prop, time, "timestamp");
        }
      }
    }
    if (type === "counter" && Number.isSafeInteger(before) && Number.isSafeInteger(after)) {
      const step = (after as number) - (before as number);
      if (Number.isSafeInteger(step)) return this.#handle.increment(object, prop, step);
    }
    const bytes = type === "bytes" ? bytesOf(after) : undefined;
    if (bytes !== undefined) return this.#handle.put(object, prop, bytes, "bytes");
    this.#write(object, prop, after, false);
  }

  /** Puts a new value under a key or in place of a list element, or inserts it before that element. */
  #write(object: string, prop: string | number, value: Json, insert: boolean): void {
    const handle = this.#handle;
    const index = prop as number;
    if (typeof value === "string") {
      if (insert) handle.insertObject(object, index, value);
      else handle.putObject(object, prop, value);
      return;
    }
    if (typeof value === "bigint") throw new Error("an integer that #allowed should have refused");
    if (typeof value !== "object" || value === null) {
      const type = datatype(value);
      if (insert) handle.insert(object, index, value, type);
      else handle.put(object, prop, value, type);
      return;
    }
    if (hasHugeFloat(value)) return this.#writeStepwise(object, prop, value, insert);
    if (insert) handle.insertObjectFromHydrate(object, index, value);
    else handle.putObjectFromHydrate(object, prop, value);
  }

  /** See `hasHugeFloat`. */
  #writeStepwise(object: string, prop: string | number, value: Json[] | JsonObject, insert: boolean): void {
    const handle = this.#handle;
    const empty = Array.isArray(value) ? [] : {};
    const created = insert
      ? handle.insertObject(object, prop as number, empty)
      : handle.putObject(object, prop, empty);
    if (Array.isArray(value)) this.#insert(created, 0, value);
    else for (const key of Object.keys(value)) this.#write(created, key, value[key] as Json, false);
  }

  #insert(list: string, at: number, values: Json[]): void {
    if (values.some(hasHugeFloat)) values.forEach((value, i) => this.#write(list, at + i, value, true));
    else this.#handle.spliceFromHydrate(list, at, 0, values);
  }

  #allowed(value: Json, path: Path): boolean {
    return isStorable(value, path, this.problems);
  }
}

function datatype(value: null | boolean | number): "null" | "boolean" | "int" | "f64" {
  if (value === null) return "null";
  if (typeof value === "boolean") return "boolean";
  return isStoredAsInt(value) ? "int" : "f64";
}
