import type { ClientStorage } from "./storage.ts";
import { freshName, type Platform } from "./platform.ts";

/** Parts after which they are put together into one. */
const TOGETHER = 64;

/**
 * A live document's copy in the storage: what `Automerge.save` gave, and what came after that, each under a
 * key of its own. Loading all of them in any order gives the document, so pages that share a storage need not
 * know of each other: one that puts parts together takes away those it had read, and no others.
 */
export class LiveStore {
  readonly #storage: ClientStorage;
  readonly #platform: Platform;
  readonly #prefix: string;
  readonly #parts = new Set<string>();
  #last: Promise<void> = Promise.resolve();

  constructor(storage: ClientStorage, platform: Platform, prefix: string) {
    this.#storage = storage;
    this.#platform = platform;
    this.#prefix = prefix;
  }

  /** All parts. */
  async load(): Promise<Uint8Array[]> {
    const parts: Uint8Array[] = [];
    for (const key of await this.#storage.keys(this.#prefix)) {
      const bytes = await this.#storage.get(key);
      // Another page may have put it together with others meanwhile: then those hold it.
      if (!bytes) return this.load();
      this.#parts.add(key);
      parts.push(bytes);
    }
    return parts;
  }

  /** Keeps one more part. `whole` gives the document as it is then, for putting parts together. */
  append(part: Uint8Array, whole: () => Uint8Array): void {
    this.#last = this.#last
      .catch(() => undefined)
      .then(async () => {
        const together = this.#parts.size >= TOGETHER;
        const key = `${this.#prefix}${freshName(this.#platform)}`;
        const old = [...this.#parts];
        this.#parts.add(key);
        await this.#storage.set(key, together ? whole() : part);
        if (!together) return;
        for (const gone of old) {
          this.#parts.delete(gone);
          await this.#storage.delete(gone);
        }
      });
    // Who wants to know asks `kept`.
    this.#last.catch(() => undefined);
  }

  /** Resolves when all that was appended is kept; rejects when the last of it could not be. */
  kept(): Promise<void> {
    return this.#last;
  }
}
