import * as repo20 from "automerge-repo-2.0";
import * as repo25 from "automerge-repo-2.5";
import { WebSocketClientAdapter as Adapter20 } from "automerge-repo-websocket-2.0";
import { WebSocketClientAdapter as Adapter25 } from "automerge-repo-websocket-2.5";

/** Unchanged automerge-repo clients of both ends of the range that is promised. */
export const VERSIONS = ["2.0", "2.5"] as const;
export type Version = (typeof VERSIONS)[number];

export type Repo = repo25.Repo;
export type Handle<T = Record<string, unknown>> = repo25.DocHandle<T>;

/** A storage that is not there any more when the test ends. */
export class MemoryStorage {
  readonly files = new Map<string, Uint8Array>();
  load(key: readonly string[]): Promise<Uint8Array | undefined> {
    return Promise.resolve(this.files.get(key.join("/")));
  }
  save(key: readonly string[], data: Uint8Array): Promise<void> {
    this.files.set(key.join("/"), data.slice());
    return Promise.resolve();
  }
  remove(key: readonly string[]): Promise<void> {
    this.files.delete(key.join("/"));
    return Promise.resolve();
  }
  loadRange(prefix: readonly string[]): Promise<{ key: string[]; data: Uint8Array }[]> {
    const start = `${prefix.join("/")}/`;
    const found = [...this.files].filter(([key]) => key.startsWith(start) || key === prefix.join("/"));
    return Promise.resolve(found.map(([key, data]) => ({ key: key.split("/"), data })));
  }
  async removeRange(prefix: readonly string[]): Promise<void> {
    for (const { key } of await this.loadRange(prefix)) this.files.delete(key.join("/"));
  }
}

export interface StockOptions {
  readonly storage?: MemoryStorage;
  readonly peerId?: string;
  readonly gossip?: boolean;
  /** Milliseconds until it connects again. */
  readonly retry?: number;
}

export interface Stock {
  readonly version: Version;
  readonly repo: Repo;
  /** Ends its socket for good. */
  close(): void;
  /** Resolves when the server has answered `join`. */
  readonly connected: Promise<void>;
}

const open = new Set<Stock>();
afterAll(() => open.forEach((client) => client.close()));

export function stockClient(version: Version, url: string, options: StockOptions = {}): Stock {
  const { storage, peerId, gossip, retry = 1000 } = options;
  const { Repo } = (version === "2.0" ? repo20 : repo25) as typeof repo25;
  const Adapter = (version === "2.0" ? Adapter20 : Adapter25) as typeof Adapter25;
  const adapter = new Adapter(url, retry);
  // In Node its own one throws into the air when a server dies under a handshake; browsers hear nothing of it.
  adapter.onError = () => {};
  const connected = new Promise<void>((resolve) => {
    adapter.on("peer-candidate", () => resolve());
  });
  const repo = new Repo({
    network: [adapter as never],
    ...(storage ? { storage: storage as never } : {}),
    ...(peerId === undefined ? {} : { peerId: peerId as never }),
    ...(gossip ? { enableRemoteHeadsGossiping: true } : {}),
    saveDebounceRate: 1,
  });
  const client: Stock = {
    version,
    repo,
    connected,
    close: () => {
      open.delete(client);
      // Its own timers would connect again.
      (adapter as { retryInterval: number }).retryInterval = 0;
      adapter.socket?.addEventListener("error", () => {});
      try {
        adapter.disconnect();
      } catch {
        // It was not connected.
      }
    },
  };
  open.add(client);
  return client;
}

/**
 * Finds a document that may not have got to the server yet: `find` then rejects, and the same handle becomes ready
 * when the document comes. (To call `find` again does not help: in 2.0 it may never settle.)
 */
export async function found<T>({ repo }: Stock, url: string): Promise<Handle<T>> {
  const handle = await repo.find<T>(url as never).catch(() => undefined);
  if (handle?.isReady()) return handle;
  const id = url.slice("automerge:".length) as never;
  return until(() => {
    const later = repo.handles[id] as Handle<T> | undefined;
    return later?.isReady() ? later : undefined;
  }, url) as Promise<Handle<T>>;
}

/** Waits until `done` gives something true; says what was seen last when it never does. */
export async function until<T>(done: () => T | Promise<T>, what = "it", ms = 20_000): Promise<T> {
  const end = performance.now() + ms;
  for (;;) {
    const value = await done();
    if (value) return value;
    if (performance.now() > end) throw new Error(`waited ${ms} ms in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
