import type { Conflict } from "./jobs.ts";
import type { Handle } from "./handle.ts";
import {
  type Json,
  type JsonObject,
  parsePointer,
  setKey,
  stringifyJson,
  toPointer,
  valueAt,
} from "./json-value.ts";

/** The document as JSON at `heads`, which must be present; at its own heads when left out. */
export function documentJson(handle: Handle, heads?: string[]): JsonObject {
  // For the root at no heads Automerge gives an empty list.
  if (heads?.length === 0) return {};
  return toJson(handle.materialize("/", heads)) as JsonObject;
}

/**
 * Turns a materialised value into JSON, in place: bytes into DAG-JSON's form, dates into RFC 3339, counters
 * into their number, immutable strings into strings, and a float that JSON has no word for into null.
 */
export function toJson(value: unknown): Json {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value;
    case "number":
      return Number.isFinite(value) ? value : null;
    case "bigint":
      return Number.isSafeInteger(Number(value)) ? Number(value) : value;
    case "object":
      break;
    default:
      return null;
  }
  if (value === null) return null;
  if (Array.isArray(value)) {
    const list = value as unknown[];
    for (let i = 0; i < list.length; i++) list[i] = toJson(list[i]);
    return list as Json[];
  }
  if (ArrayBuffer.isView(value)) return bytesForm(value as Uint8Array);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  const map = value as JsonObject;
  if (Object.getPrototypeOf(value) !== Object.prototype) return toJson(scalarOf(value));
  for (const key of Object.keys(map)) {
    const child = map[key] as unknown;
    const json = toJson(child);
    if (json !== child) setKey(map, key, json);
  }
  return map;
}

/** The value of a Counter (`value`) or an ImmutableString (`val`), Automerge's two boxed scalars. */
function scalarOf(boxed: object): unknown {
  if ("value" in boxed) return boxed.value;
  if ("val" in boxed) return boxed.val;
  return null;
}

export function bytesForm(bytes: Uint8Array): JsonObject {
  const base64 = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
  return { "/": { bytes: base64.replace(/=+$/, "") } };
}

/** The bytes of DAG-JSON's form `{"/": {"bytes": "<base64 without padding>"}}`, or undefined for any other value. */
export function bytesOf(value: Json): Uint8Array | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const inner = value["/"];
  if (typeof inner !== "object" || inner === null || Array.isArray(inner)) return undefined;
  const text = inner["bytes"];
  if (typeof text !== "string") return undefined;
  const bytes = new Uint8Array(Buffer.from(text, "base64"));
  return stringifyJson(value) === stringifyJson(bytesForm(bytes)) ? bytes : undefined;
}

/** JSON text of `{pointer: value}` for those pointers that lead somewhere. Pointers must be well formed. */
export function project(root: JsonObject, pointers: readonly string[]): string {
  const found: JsonObject = {};
  for (const pointer of pointers) {
    const value = valueAt(root, parsePointer(pointer) ?? []);
    if (value !== undefined) setKey(found, pointer, value);
  }
  return stringifyJson(found);
}

/** Every map key and list element at `heads` that has more than one value, reached by way of shown values. */
export function conflictsOf(handle: Handle, heads: string[]): Conflict[] {
  const found: Conflict[] = [];
  const changes = new Map<string, ReturnType<Handle["getChangesMeta"]>>();
  visit("_root", true, []);
  return found;

  function changeOf(op: string): string {
    if (changes.size === 0) {
      for (const one of handle.getChangesMeta([])) {
        const same = changes.get(one.actor);
        if (same) same.push(one);
        else changes.set(one.actor, [one]);
      }
    }
    const [counter = "", actor = ""] = op.split("@");
    const written = (changes.get(actor) ?? []).find(
      ({ startOp, maxOp }) => startOp <= Number(counter) && Number(counter) <= maxOp,
    );
    return written?.hash ?? "";
  }

  function visit(object: string, isMap: boolean, path: (string | number)[]): void {
    const steps = isMap
      ? handle.keys(object, heads)
      : Array.from({ length: handle.length(object, heads) }, (_, i) => i);
    for (const step of steps) {
      const here = [...path, step];
      const values = handle.getAll(object, step, heads);
      if (values.length > 1) {
        // Automerge lists them oldest operation first and shows the last.
        const shown = values.toReversed().map((value) => {
          const op = String(value[2] ?? value[1]);
          const nested = value[0] === "map" || value[0] === "list" || value[0] === "text";
          const plain = nested ? toJson(handle.materialize(op, heads)) : toJson(value[1]);
          return { json: stringifyJson(plain), op, change: changeOf(op) };
        });
        found.push({ path: toPointer(here), values: shown });
      }
      const winner = values.at(-1);
      if (winner?.[0] === "map") visit(winner[1], true, here);
      else if (winner?.[0] === "list") visit(winner[1], false, here);
    }
  }
}
