/**
 * What the client has of the world: the network, clocks, timers, randomness. It is handed down as a value,
 * so that it runs in browsers, in Node and on what a test makes up. Nothing else in `src/client` asks the
 * machine for any of it. The shapes are the least that is used, so that a browser's own, Node's and those of
 * packages such as `ws` all fit.
 */
export interface ResponseLike {
  readonly ok: boolean;
  readonly status: number;
  readonly headers: { get(name: string): string | null };
  readonly body: StreamLike | null;
  text(): Promise<string>;
  arrayBuffer(): Promise<ArrayBuffer>;
}

export interface StreamLike {
  getReader(): {
    read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }>;
    cancel(reason?: unknown): Promise<void>;
  };
}

export interface RequestLike {
  readonly method: string;
  readonly headers: Record<string, string>;
  readonly body?: string | Uint8Array<ArrayBuffer>;
  readonly signal?: AbortSignal;
  readonly cache?: "no-store";
}

export type FetchLike = (url: string, request: RequestLike) => Promise<ResponseLike>;

export interface SocketLike {
  binaryType: string;
  readonly bufferedAmount: number;
  send(data: Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
  addEventListener(type: "open" | "message" | "close" | "error", listener: (event: never) => void): void;
}

export type SocketConstructor = new (url: string) => SocketLike;

export interface Platform {
  readonly fetch: FetchLike;
  /** Undefined where the machine has none: Node 20 needs the one of the package `ws`. */
  readonly WebSocket: SocketConstructor | undefined;
  /** Milliseconds since 1970. */
  now(): number;
  /** Unpredictable bytes. */
  random(bytes: number): Uint8Array;
  /** Runs `work` after `ms` milliseconds; gives what stops it. */
  timer(ms: number, work: () => void): () => void;
  /** Runs `work` when what runs now has ended. */
  soon(work: () => void): void;
  /** Tells when the machine loses its network or gets it back, where it can tell; gives what ends that. */
  onNetwork(told: (online: boolean) => void): () => void;
}

type Listen = (type: string, listener: () => void) => void;

/** The world of the machine, with whatever of it is given instead. */
export function platformOf(own: Partial<Platform> = {}): Platform {
  const machine = globalThis as unknown as {
    WebSocket?: SocketConstructor;
    addEventListener?: Listen;
    removeEventListener?: Listen;
  };
  const real: Platform = {
    // Not the function itself: browsers insist on `fetch` being called on their window.
    fetch: (url, request) => fetch(url, request),
    WebSocket: machine.WebSocket,
    now: () => Date.now(),
    random: (bytes) => crypto.getRandomValues(new Uint8Array(bytes)),
    timer: (ms, work) => {
      const timer = setTimeout(work, ms);
      return () => clearTimeout(timer);
    },
    soon: (work) => queueMicrotask(work),
    onNetwork: (told) => {
      const online = (): void => told(true);
      const offline = (): void => told(false);
      machine.addEventListener?.("online", online);
      machine.addEventListener?.("offline", offline);
      return () => {
        machine.removeEventListener?.("online", online);
        machine.removeEventListener?.("offline", offline);
      };
    },
  };
  return { ...real, ...withoutUndefined(own) };
}

/** The same without what is undefined, so that it may be spread over what is there. */
export function withoutUndefined<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

/** A name nobody else has: 128 random bits in hex. */
export function freshName(platform: Platform): string {
  return Array.from(platform.random(16), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Waits. Rejects with the signal's reason as soon as it is aborted. */
export function pause(platform: Platform, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(reasonOf(signal));
      return;
    }
    const stop = (): void => {
      enough();
      reject(reasonOf(signal as AbortSignal));
    };
    const enough = platform.timer(ms, () => {
      signal?.removeEventListener("abort", stop);
      resolve();
    });
    signal?.addEventListener("abort", stop, { once: true });
  });
}

export function reasonOf(signal: AbortSignal): Error {
  const { reason } = signal as { reason: unknown };
  return reason instanceof Error ? reason : new Error(String(reason));
}

/** The end of a client. No AbortSignal: Node warns of one that more than ten wait for. */
export class Closing {
  readonly #ends = new Set<() => void>();
  #reason: Error | undefined;

  /** Undefined until it is closed. */
  get reason(): Error | undefined {
    return this.#reason;
  }

  /** Calls `end` when it closes; gives what calls that off. */
  on(end: () => void): () => void {
    this.#ends.add(end);
    return () => void this.#ends.delete(end);
  }

  close(reason: Error): void {
    this.#reason ??= reason;
    for (const end of Array.from(this.#ends)) end();
    this.#ends.clear();
  }
}

/** A signal that is aborted by another one or by the end of the client, and what lets go of both. */
export function either(
  signal: AbortSignal | undefined,
  closing: Closing,
): { readonly signal: AbortSignal; readonly unlink: () => void } {
  const both = new AbortController();
  const end = (): void => both.abort(signal?.reason);
  const close = (): void => both.abort(closing.reason);
  if (signal?.aborted) end();
  else if (closing.reason) close();
  signal?.addEventListener("abort", end);
  const off = closing.on(close);
  const unlink = (): void => {
    signal?.removeEventListener("abort", end);
    off();
  };
  return { signal: both.signal, unlink };
}
