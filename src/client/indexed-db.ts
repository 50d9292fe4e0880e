import type { ClientStorage } from "./storage.ts";

/** The part of a browser's IndexedDB that is used. */
interface Factory {
  open(name: string, version: number): OpenRequest;
}
interface Asked<T> {
  result: T;
  error: unknown;
  onsuccess: (() => void) | null;
  onerror: (() => void) | null;
}
interface OpenRequest extends Asked<Database> {
  onupgradeneeded: (() => void) | null;
}
interface Database {
  createObjectStore(name: string): unknown;
  transaction(store: string, mode: "readonly" | "readwrite", options?: { durability: "strict" }): Transaction;
}
interface Transaction {
  objectStore(name: string): Store;
  error: unknown;
  oncomplete: (() => void) | null;
  onerror: (() => void) | null;
  onabort: (() => void) | null;
}
interface Store {
  get(key: string): Asked<unknown>;
  put(value: Uint8Array, key: string): Asked<unknown>;
  delete(key: string): Asked<unknown>;
  getAllKeys(range: unknown): Asked<unknown[]>;
}

const STORE = "kept";

/** In IndexedDB, under the database name that is given. What was set is on the disk when its promise resolves. */
export function indexedDbStorage(name = "skald"): ClientStorage {
  const machine = globalThis as unknown as {
    indexedDB: Factory;
    IDBKeyRange: { bound(low: string, high: string): unknown };
  };
  let opened: Promise<Database> | undefined;
  const open = (): Promise<Database> =>
    (opened ??= new Promise<Database>((resolve, reject) => {
      const asked = machine.indexedDB.open(name, 1);
      asked.onupgradeneeded = () => asked.result.createObjectStore(STORE);
      asked.onsuccess = () => resolve(asked.result);
      asked.onerror = () => reject(failed(asked.error));
    }).catch((error: unknown) => {
      opened = undefined;
      throw error;
    }));
  const run = async <T>(mode: "readonly" | "readwrite", ask: (store: Store) => Asked<T>): Promise<T> => {
    const database = await open();
    return new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode, { durability: "strict" });
      const asked = ask(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(asked.result);
      transaction.onabort = () => reject(failed(transaction.error));
      transaction.onerror = () => reject(failed(transaction.error));
    });
  };
  return {
    get: async (key) => (await run("readonly", (store) => store.get(key))) as Uint8Array | undefined,
    set: async (key, value) => {
      await run("readwrite", (store) => store.put(value, key));
    },
    delete: async (key) => {
      await run("readwrite", (store) => store.delete(key));
    },
    keys: async (prefix) =>
      (await run("readonly", (store) =>
        store.getAllKeys(machine.IDBKeyRange.bound(prefix, `${prefix}\uffff`)),
      )) as string[],
  };
}

function failed(error: unknown): Error {
  return error instanceof Error ? error : new Error("IndexedDB failed.", { cause: error });
}
