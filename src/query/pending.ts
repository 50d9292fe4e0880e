import {
  getKey,
  sameJson,
  setKey,
  stringifyJson,
  toPointer,
  type Json,
  type JsonObject,
} from "../documents/json-value.ts";
import type { PatchStep } from "../tables/rows.ts";

/** A document as statements leave it. */
export type DocumentEdit =
  /** A new document, JSON text. */
  | readonly [doc: string, kind: "put", value: string]
  /** An RFC 6902 patch of its top-level fields, JSON text. */
  | readonly [doc: string, kind: "json-patch", patch: string]
  | readonly [doc: string, kind: "delete"];

/** Documents that statements of one job touched: how the file has them, and how they are now. */
export class Pending {
  readonly #read: (doc: string) => JsonObject | undefined;
  readonly #docs = new Map<
    string,
    { readonly before: JsonObject | undefined; now: JsonObject | undefined }
  >();

  /** `read` finds a document in the file as it was before the job. */
  constructor(read: (doc: string) => JsonObject | undefined) {
    this.#read = read;
  }

  /** The document as the statements so far left it. */
  now(doc: string): JsonObject | undefined {
    return this.#of(doc).now;
  }

  set(doc: string, now: JsonObject | undefined): void {
    this.#of(doc).now = now;
  }

  /** What has to become of the documents, in the order of their names; nothing of those that are as they were. */
  edits(): DocumentEdit[] {
    const edits: DocumentEdit[] = [];
    for (const [doc, { before, now }] of this.#docs) {
      if (before === undefined) {
        if (now !== undefined) edits.push([doc, "put", stringifyJson(now)]);
      } else if (now === undefined) edits.push([doc, "delete"]);
      else {
        const patch = stepsBetween(before, now);
        if (patch.length > 0) edits.push([doc, "json-patch", stringifyJson(patch as unknown as Json)]);
      }
    }
    return edits.sort(([a], [b]) => (a < b ? -1 : 1));
  }

  #of(doc: string): { readonly before: JsonObject | undefined; now: JsonObject | undefined } {
    let known = this.#docs.get(doc);
    if (!known) {
      const before = this.#read(doc);
      known = { before, now: before };
      this.#docs.set(doc, known);
    }
    return known;
  }
}

/** The steps between two documents, field by field: the author of the change finds what is smaller within a field. */
function stepsBetween(before: JsonObject, now: JsonObject): PatchStep[] {
  if (before === now) return [];
  const steps: PatchStep[] = [];
  for (const name of Object.keys(before))
    if (!Object.hasOwn(now, name)) steps.push({ op: "remove", path: toPointer([name]) });
  for (const name of Object.keys(now)) {
    const value = now[name] as Json;
    const old = getKey(before, name);
    if (old === undefined) steps.push({ op: "add", path: toPointer([name]), value });
    else if (!sameJson(old, value)) steps.push({ op: "replace", path: toPointer([name]), value });
  }
  return steps;
}

/** A document with the steps of `patchOf` done to it, which are of top-level fields. */
export function patched(fields: JsonObject, steps: readonly PatchStep[]): JsonObject {
  if (steps.length === 0) return fields;
  const made: JsonObject = {};
  for (const name of Object.keys(fields)) setKey(made, name, fields[name] as Json);
  for (const step of steps) {
    const name = step.path.slice(1).replaceAll("~1", "/").replaceAll("~0", "~");
    if (step.op === "remove") delete made[name];
    else setKey(made, name, step.value);
  }
  return made;
}
