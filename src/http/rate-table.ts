/**
 * How much of a rate each of many keys has used: so many requests a minute, all at once or spread. For each key one
 * number is kept, the moment at which all it has used has come back (the generic cell rate algorithm), so no timer
 * runs and no window has an edge.
 *
 * Memory is bounded: keys are kept in two generations, a key that is used is in the young one, and when that is full
 * the old one is dropped. What is forgotten so starts with a full rate; whoever has addresses enough to bring that
 * about meets the rate of the whole server.
 */
export class RateTable {
  /** Requests in a minute. */
  readonly limit: number;
  readonly #each: number;
  readonly #most: number;
  #young = new Map<string, Used>();
  #old = new Map<string, Used>();
  #turned = 0;

  /** `limit` is more than 0; `most` is the number of keys in a generation. */
  constructor(limit: number, most = KEYS) {
    this.limit = limit;
    this.#each = WINDOW_MS / limit;
    this.#most = most;
  }

  /**
   * Uses `cost` requests of the key's rate at `now` (ms, monotonic), when it has them. Gives how many ms the key has
   * to wait: 0 when they are used.
   */
  take(key: string, now: number, cost = 1): number {
    const used = this.#of(key, now);
    const until = Math.max(used.until, now) + this.#each * cost;
    // Sums of fractions: a hair is no request.
    const late = until - now - WINDOW_MS - HAIR_MS;
    if (late > 0) return late;
    used.until = until;
    return 0;
  }

  /** How many ms the key has to wait for another request, using none. */
  wait(key: string, now: number): number {
    const until = (this.#young.get(key) ?? this.#old.get(key))?.until ?? 0;
    return Math.max(0, Math.max(until, now) + this.#each - now - WINDOW_MS - HAIR_MS);
  }

  /** How many requests the key has left now, and in how many seconds it has all of them. */
  left(key: string, now: number): { readonly left: number; readonly seconds: number } {
    const until = (this.#young.get(key) ?? this.#old.get(key))?.until ?? 0;
    const used = Math.max(0, until - now);
    return {
      left: Math.max(0, Math.floor((WINDOW_MS - used + HAIR_MS) / this.#each)),
      seconds: Math.ceil(used / 1000),
    };
  }

  /** Keys in memory. */
  get size(): number {
    return this.#young.size + this.#old.size;
  }

  #of(key: string, now: number): Used {
    const known = this.#young.get(key);
    if (known) return known;
    // After a whole window everybody in the old generation has all of his rate back.
    if (this.#young.size >= this.#most || now - this.#turned > WINDOW_MS) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#turned = now;
    }
    const used = this.#old.get(key) ?? { until: 0 };
    this.#young.set(key, used);
    return used;
  }
}

interface Used {
  /** When all of the rate has come back. */
  until: number;
}

const WINDOW_MS = 60_000;
const HAIR_MS = 1e-6;
/** In one generation; both take some 20 MB when the keys are addresses. */
const KEYS = 65_536;
