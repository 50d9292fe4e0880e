import type { LiveDocument, OpenOptions } from "./live-document.ts";
import type { Status } from "./live-core.ts";
import { copyOf } from "./write-value.ts";
import type { SkaldClient } from "./client.ts";

/** How a document looks at one moment: another object whenever something of it is another. */
export interface DocumentState<T extends object> {
  /** Undefined while nothing is known of it, and when it is not there. */
  readonly value: LiveDocument<T>["value"];
  readonly status: Status;
  /** Changes made here that the server is not known to have on its disk. */
  readonly unsaved: number;
  /** The server says that there is no such document, or none that this token may see. */
  readonly missing: boolean;
  readonly error: Error | undefined;
}

/**
 * A document as stores of user interfaces are: it is open for as long as somebody looks on, and `snapshot` gives
 * the same object until something has changed. One for each client and name, so that everyone looks at the same.
 */
export interface DocumentStore<T extends object> {
  subscribe(listener: () => void): () => void;
  snapshot(): DocumentState<T>;
  /** Makes a change as soon as the document can take one. Rejects with what `fn` throws. */
  change(fn: (doc: T) => void): Promise<void>;
  /** Makes the document's value what `fn` makes of a copy of it. */
  update(fn: (value: T | undefined) => T): Promise<void>;
}

const NOTHING: DocumentState<never> = {
  value: undefined,
  status: "connecting",
  unsaved: 0,
  missing: false,
  error: undefined,
};

const stores = new WeakMap<SkaldClient, Map<string, DocumentStore<never>>>();

/** The store of a document. `options` count for the first who asks. */
export function documentStore<T extends object>(
  client: SkaldClient,
  doc: string,
  options?: OpenOptions,
): DocumentStore<T> {
  let known = stores.get(client);
  if (!known) stores.set(client, (known = new Map()));
  let store = known.get(doc);
  if (!store) {
    const all = known;
    store = makeStore<never>(client, doc, options, () => all.delete(doc));
    known.set(doc, store);
  }
  return store as unknown as DocumentStore<T>;
}

function makeStore<T extends object>(
  client: SkaldClient,
  doc: string,
  options: OpenOptions | undefined,
  unused: () => void,
): DocumentStore<T> {
  const listeners = new Set<() => void>();
  let live: LiveDocument<T> | undefined;
  let state: DocumentState<T> = NOTHING;
  const look = (): void => {
    if (!live) return;
    const { value, status, unsaved, missing, error } = live;
    if (
      state.value === value &&
      state.status === status &&
      state.unsaved === unsaved &&
      state.missing === missing &&
      state.error === error
    ) {
      return;
    }
    state = { value, status, unsaved, missing, error };
    for (const listener of Array.from(listeners)) listener();
  };
  const edit = async (work: (open: LiveDocument<T>) => void): Promise<void> => {
    // At once where it can be: a text field that is written back later loses its cursor.
    if (live?.isReady) {
      work(live);
      return;
    }
    const own = client.open<T>(doc, options);
    try {
      await own.ready();
      work(own);
    } finally {
      own.close();
    }
  };
  return {
    subscribe: (listener) => {
      const own = (): void => listener();
      listeners.add(own);
      if (!live) {
        live = client.open<T>(doc, options);
        live.subscribe(look);
        look();
      }
      return () => {
        if (!listeners.delete(own) || listeners.size > 0) return;
        live?.close();
        live = undefined;
        unused();
      };
    },
    snapshot: () => state,
    change: (fn) => edit((open) => open.change(fn)),
    update: (fn) => edit((open) => open.set(fn(open.value && (copyOf(open.value) as T)))),
  };
}
