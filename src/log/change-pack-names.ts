import { NAMES } from "./change-pack-streams.ts";
import type { Coder } from "./change-pack-streams.ts";
import { malformed } from "./chunk.ts";

/**
 * Names by id, and the places at which a pack's streams name them first. Whoever writes a pack gives
 * ids as it parses and places as it writes; whoever reads one has ids equal to places.
 */
export class Names {
  readonly texts: string[] = [];
  readonly #ids = new Map<string, number>();
  readonly #places: number[] = [];
  readonly #placed: number[] = [];

  id(text: string): number {
    let id = this.#ids.get(text);
    if (id === undefined) {
      id = this.texts.length;
      this.texts.push(text);
      this.#places.push(-1);
      this.#ids.set(text, id);
    }
    return id;
  }

  /** The number of places taken. */
  get size(): number {
    return this.#placed.length;
  }

  /** Where the streams named it; the next free place when they have not yet. */
  placeOf(id: number): number {
    const place = this.#places[id] as number;
    return place < 0 ? this.#placed.length : place;
  }

  take(id: number): void {
    this.#places[id] = this.#placed.length;
    this.#placed.push(id);
  }

  /** For a reader: a new name at the next free place. */
  add(text: string): number {
    const id = this.texts.length;
    this.texts.push(text);
    this.#places.push(id);
    this.#placed.push(id);
    return id;
  }

  idAt(place: number): number {
    return this.#placed[place] as number;
  }
}

/** The name at `place`, which is spelled out when it is the next free one. Returns its id. */
export function codeName(coder: Coder, names: Names, place: number, id: number): number {
  if (place < names.size) return names.idAt(place);
  if (place > names.size) malformed("pack", "A name comes before it is spelled out");
  if (coder.writing) {
    const bytes = Buffer.from(names.texts[id] as string, "latin1");
    coder.uint(NAMES, bytes.length);
    coder.bytes(NAMES, bytes, 0, bytes.length);
    names.take(id);
    return id;
  }
  const length = coder.uint(NAMES, 0);
  if (length > coder.left(NAMES)) malformed("pack", "A name reaches past the end of its stream");
  const bytes = Buffer.alloc(length);
  coder.bytes(NAMES, bytes, 0, length);
  return names.add(bytes.toString("latin1", 0, length));
}
