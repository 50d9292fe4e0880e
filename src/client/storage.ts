import { bytesOfBase64 } from "../protocol/result-hash.ts";
/**
 * Where a client keeps what must outlive it: writes that no server has yet, and its copies of live documents.
 * Keys are ASCII text; a value is what was last set. An operation is done when its promise resolves, and
 * operations on one key take effect in the order in which they were called.
 */
export interface ClientStorage {
  get(key: string): Promise<Uint8Array | undefined>;
  set(key: string, value: Uint8Array): Promise<void>;
  delete(key: string): Promise<void>;
  /** Keys that start with `prefix`, sorted. */
  keys(prefix: string): Promise<string[]>;
}

/** For as long as the process lives. */
export function memoryStorage(): ClientStorage {
  const values = new Map<string, Uint8Array>();
  return {
    get: (key) => Promise.resolve(values.get(key)),
    set: (key, value) => {
      values.set(key, value);
      return Promise.resolve();
    },
    delete: (key) => {
      values.delete(key);
      return Promise.resolve();
    },
    keys: (prefix) => Promise.resolve([...values.keys()].filter((key) => key.startsWith(prefix)).sort()),
  };
}

/** The part of a browser's `Storage` that is used. */
export interface WebStorageLike {
  readonly length: number;
  key(index: number): string | null;
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/** In `localStorage`, which holds some 5 MB: for small documents. Values are written as base64. */
export function localStorageStorage(
  storage: WebStorageLike = (globalThis as unknown as { localStorage: WebStorageLike }).localStorage,
): ClientStorage {
  // Its errors (full, forbidden) are to reject, not to throw.
  const later = <T>(work: () => T): Promise<T> =>
    new Promise((resolve) => {
      resolve(work());
    });
  return {
    get: (key) =>
      later(() => {
        const text = storage.getItem(key);
        return text === null ? undefined : bytesOfBase64(text);
      }),
    set: (key, value) => later(() => storage.setItem(key, toBase64(value))),
    delete: (key) => later(() => storage.removeItem(key)),
    keys: (prefix) =>
      later(() =>
        Array.from({ length: storage.length }, (_, i) => storage.key(i))
          .filter((key): key is string => key?.startsWith(prefix) ?? false)
          .sort(),
      ),
  };
}

export function toBase64(bytes: Uint8Array): string {
  let text = "";
  // In parts: an argument list has an end.
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return btoa(text);
}

export { bytesOfBase64 as fromBase64 } from "../protocol/result-hash.ts";
