import { parsePointer, type Json } from "../documents/json-value.ts";
import { LIMITS } from "../limits.ts";
import { isMap } from "./json.ts";

/** Where a link leads: a document by whatever names it, and a path in it. */
export interface Link {
  readonly id: string;
  /** Undefined when it is none that leads anywhere. */
  readonly steps: readonly string[] | undefined;
}

const { pathSteps } = LIMITS.graph;

/**
 * Reads `{"/": {"link@1": {"id", "path"}}}`; undefined for any other value. `id` is `collection/key`, an `automerge:`
 * URL or a document id; `path` a list of keys and indices or a JSON pointer, the document itself when left out.
 * Whatever else stands beside them is left alone.
 */
export function readLink(value: Json | undefined): Link | undefined {
  const inner = only(only(value, "/"), "link@1");
  if (!isMap(inner) || !Object.hasOwn(inner, "id") || typeof inner["id"] !== "string") return undefined;
  return { id: inner["id"], steps: Object.hasOwn(inner, "path") ? stepsOf(inner["path"] as Json) : [] };
}

function only(value: Json | undefined, key: string): Json | undefined {
  if (!isMap(value) || !Object.hasOwn(value, key) || Object.keys(value).length !== 1) return undefined;
  return value[key];
}

function stepsOf(path: Json): readonly string[] | undefined {
  if (typeof path === "string") {
    const steps = parsePointer(path);
    return steps && steps.length <= pathSteps.value ? steps : undefined;
  }
  if (!Array.isArray(path) || path.length > pathSteps.value) return undefined;
  const steps: string[] = [];
  for (const step of path) {
    if (typeof step === "string") steps.push(step);
    else if (typeof step === "number" && Number.isSafeInteger(step) && step >= 0) steps.push(String(step));
    else return undefined;
  }
  return steps;
}
