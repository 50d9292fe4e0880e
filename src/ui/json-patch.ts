import { partsOf } from "./json-pointer.ts";

/** One step of a JSON patch, RFC 6902, as the server gives them. */
export interface PatchStep {
  readonly op: string;
  readonly path: string;
  readonly from?: string;
  readonly value?: unknown;
}

/** A value that is held by a name, so that its root can be replaced like anything in it. */
export interface Held {
  value: unknown;
}

/**
 * Does one step to what is held, in place; gives what stood at its path before (undefined: nothing). Throws when
 * the step does not fit. Values are cut loose from the step, never shared with it.
 */
export function applyStep(held: Held, { op, path, from, value }: PatchStep): unknown {
  if (op === "move" || op === "copy") {
    const source = structuredClone(look(held, from ?? ""));
    if (op === "move") take(held, from ?? "");
    return set(held, path, source, true);
  }
  if (op === "remove") return take(held, path);
  if (op === "add" || op === "replace") return set(held, path, structuredClone(value), op === "add");
  if (op === "test") return undefined;
  throw new Error(`A patch has no step ${op}.`);
}

function look(held: Held, pointer: string): unknown {
  let at = held.value;
  for (const part of partsOf(pointer)) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, part))
      throw new Error(`Nothing is at ${pointer}.`);
    at = (at as Record<string, unknown>)[part];
  }
  return at;
}

function parentOf(
  held: Held,
  pointer: string,
): { parent: Record<string, unknown> | unknown[]; name: string } {
  const parts = partsOf(pointer);
  const name = parts.pop() as string;
  const parent = look(
    held,
    parts.map((part) => `/${part.replaceAll("~", "~0").replaceAll("/", "~1")}`).join(""),
  );
  if (typeof parent !== "object" || parent === null) throw new Error(`Nothing can be at ${pointer}.`);
  return { parent: parent as Record<string, unknown>, name };
}

function take(held: Held, pointer: string): unknown {
  const old = look(held, pointer);
  if (pointer === "") held.value = undefined;
  else {
    const { parent, name } = parentOf(held, pointer);
    if (Array.isArray(parent)) parent.splice(Number(name), 1);
    else delete parent[name];
  }
  return old;
}

function set(held: Held, pointer: string, value: unknown, adding: boolean): unknown {
  if (pointer === "") {
    const old = held.value;
    held.value = value;
    return old;
  }
  const { parent, name } = parentOf(held, pointer);
  if (Array.isArray(parent)) {
    const at = name === "-" ? parent.length : Number(name);
    if (!Number.isInteger(at) || at < 0 || at > parent.length)
      throw new Error(`Nothing can be at ${pointer}.`);
    return parent.splice(at, adding ? 0 : 1, value)[0];
  }
  const old = Object.hasOwn(parent, name) ? parent[name] : undefined;
  // A key of a document may be `__proto__`, which an assignment would not make a key.
  Object.defineProperty(parent, name, { value, configurable: true, enumerable: true, writable: true });
  return old;
}
