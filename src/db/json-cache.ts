/**
 * JSON of documents at their newest commit, shared by all open dbs and bounded in bytes: what was
 * just authored or read need not be read again for the projection or the next reader.
 */
export class JsonCache {
  readonly #entries = new Map<string, { seq: number; json: string }>();
  readonly #maxBytes: number;
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get(docRef: string, seq: number): string | undefined {
    const entry = this.#entries.get(docRef);
    if (!entry || entry.seq !== seq) return undefined;
    this.#entries.delete(docRef);
    this.#entries.set(docRef, entry);
    return entry.json;
  }

  put(docRef: string, seq: number, json: string): void {
    this.#remove(docRef);
    if (sizeOf(docRef, json) > this.#maxBytes / 8) return;
    this.#entries.set(docRef, { seq, json });
    this.#bytes += sizeOf(docRef, json);
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes <= this.#maxBytes) break;
      this.#remove(oldest);
    }
  }

  /** Lets go of what is kept under names that begin and end like this. */
  forget(start: string, end: string): void {
    for (const docRef of this.#entries.keys())
      if (docRef.startsWith(start) && docRef.endsWith(end)) this.#remove(docRef);
  }

  #remove(docRef: string): void {
    const entry = this.#entries.get(docRef);
    if (!entry) return;
    this.#entries.delete(docRef);
    this.#bytes -= sizeOf(docRef, entry.json);
  }
}

/** Upper bound of what an entry takes: two bytes a character and the map's own share. */
function sizeOf(docRef: string, json: string): number {
  return 2 * (docRef.length + json.length) + 120;
}
