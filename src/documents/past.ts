import type { Handle } from "./handle.ts";

/** A value of a document at earlier heads: what JSON would say of it is not all of it. */
export interface PastValue {
  readonly type: string;
  /** The id of a map, list or text; the value of anything else. */
  readonly value: unknown;
}

type Datatype = Parameters<Handle["put"]>[3];
type Scalar = Parameters<Handle["put"]>[2];

/** The document as it was at earlier heads of its own, and how to write parts of that into it again. */
export class Past {
  readonly #handle: Handle;
  readonly #heads: string[];

  constructor(handle: Handle, heads: string[]) {
    this.#handle = handle;
    this.#heads = heads;
  }

  /** The value at a path of then, which must be there. */
  at(path: readonly (string | number)[]): PastValue {
    let found: PastValue = { type: "map", value: "_root" };
    for (const step of path) found = this.#child(String(found.value), step);
    return found;
  }

  #child(object: string, step: string | number): PastValue {
    const found = this.#handle.getWithType(object, step, this.#heads);
    if (!found) throw new Error(`nothing at ${step} of ${object} at earlier heads`);
    return { type: found[0], value: found[1] instanceof Date ? found[1].getTime() : found[1] };
  }

  /** Puts it under a key or in the place of a list element, or inserts it before that element. */
  write({ type, value }: PastValue, object: string, prop: string | number, insert: boolean): void {
    const handle = this.#handle;
    const index = prop as number;
    const id = String(value);
    const made = (empty: object | string): string =>
      insert
        ? handle.insertObject(object, index, empty as never)
        : handle.putObject(object, prop, empty as never);
    if (type === "map") {
      const map = made({});
      for (const key of handle.keys(id, this.#heads)) this.write(this.#child(id, key), map, key, false);
    } else if (type === "list") {
      const list = made([]);
      for (let i = 0; i < handle.length(id, this.#heads); i++) this.write(this.#child(id, i), list, i, true);
    } else if (type === "text") {
      made(handle.text(id, this.#heads));
    } else if (insert) {
      handle.insert(object, index, value as Scalar, type as Datatype);
    } else {
      handle.put(object, prop, value as Scalar, type as Datatype);
    }
  }
}
