import { createParser } from "eventsource-parser";
import { ApiError, isAbort, problemIn } from "./api-error.ts";

export { ApiError, isAbort, isApiError } from "./api-error.ts";

/** Paths beginning with a slash are taken as they are (`/auth/me`); all others are below `/api/v1/`. */
export interface Ask {
  readonly body?: unknown;
  /** Of a body that is text already; JSON otherwise. */
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

export interface Answer<T> {
  readonly value: T;
  readonly status: number;
  readonly headers: Headers;
}

let signedOut = (): void => {};
/** Called when the server no longer knows who this is. */
export function onSignedOut(listener: () => void): void {
  signedOut = listener;
}

/** The credential is the session's cookie, which the browser adds: no token ever is in this page or an URL of it. */
export async function send(method: string, path: string, ask: Ask = {}): Promise<Response> {
  const { body, type } = ask;
  const url = path.startsWith("/") ? path : `/api/v1/${path}`;
  let response: Response;
  try {
    response = await fetch(url, {
      method,
      credentials: "same-origin",
      headers: {
        ...(body === undefined ? {} : { "content-type": type ?? "application/json" }),
        ...ask.headers,
      },
      ...(body === undefined ? {} : { body: type === undefined ? JSON.stringify(body) : (body as BodyInit) }),
      signal: ask.signal ?? null,
    });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ApiError(0, {
      code: "OFFLINE",
      detail: "The server cannot be reached.",
      hint: "Is it running, and is this machine connected? The page goes on by itself once it is.",
    });
  }
  if (response.ok) return response;
  const problem = problemIn(response.status, await response.text());
  if (response.status === 401 && !url.startsWith("/auth/token")) signedOut();
  throw problem;
}

/** With the headers, for what needs an ETag or the point it holds for. An empty answer is undefined. */
export async function ask<T>(method: string, path: string, options: Ask = {}): Promise<Answer<T>> {
  const response = await send(method, path, options);
  const text = await response.text();
  return {
    value: (text === "" ? undefined : JSON.parse(text)) as T,
    status: response.status,
    headers: response.headers,
  };
}

type More = Omit<Ask, "body">;

export async function get<T>(path: string, options: More = {}): Promise<T> {
  return (await ask<T>("GET", path, options)).value;
}
export async function post<T>(path: string, body?: unknown, options: More = {}): Promise<T> {
  return (await ask<T>("POST", path, { ...options, body })).value;
}
export async function put<T>(path: string, body?: unknown, options: More = {}): Promise<T> {
  return (await ask<T>("PUT", path, { ...options, body })).value;
}
export async function patch<T>(path: string, body?: unknown, options: More = {}): Promise<T> {
  return (await ask<T>("PATCH", path, { ...options, body })).value;
}
export async function del<T>(path: string, body?: unknown, options: More = {}): Promise<T> {
  return (await ask<T>("DELETE", path, { ...options, body })).value;
}

/** `path("db", db, "docs", collection, key)`, each part escaped. */
export function path(...parts: readonly string[]): string {
  return parts.map(encodeURIComponent).join("/");
}

/** `?a=1&b=2` of what is not undefined; "" when nothing is. */
export function query(of: Readonly<Record<string, string | number | boolean | undefined>>): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(of)) if (value !== undefined) search.append(name, String(value));
  const text = search.toString();
  return text === "" ? "" : `?${text}`;
}

/** Follows every page of a list to its end. */
export async function* pages<T extends { cursor: string | null }>(
  first: string,
  signal?: AbortSignal,
): AsyncGenerator<T> {
  for (let next = first; ;) {
    const page = await get<T>(next, { signal });
    yield page;
    if (page.cursor === null) return;
    next = `${first}${first.includes("?") ? "&" : "?"}cursor=${encodeURIComponent(page.cursor)}`;
  }
}

/** Long work that tells how far it is: lines of JSON, the last of which is the result. */
export async function lines<T>(
  method: string,
  where: string,
  options: Ask & { readonly onLine: (line: T) => void },
): Promise<void> {
  const response = await send(method, where, options);
  let rest = "";
  const take = (text: string): void => {
    const parts = (rest + text).split("\n");
    rest = parts.pop() ?? "";
    for (const part of parts) if (part !== "") options.onLine(JSON.parse(part) as T);
  };
  await readAll(response, take);
  take("\n");
}

async function readAll(response: Response, take: (text: string) => void): Promise<void> {
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  for (;;) {
    const part = await reader?.read();
    if (!part || part.done) return;
    take(decoder.decode(part.value, { stream: true }));
  }
}

export interface ServerEvent {
  readonly event: string;
  readonly data: string;
  readonly id: string | undefined;
}

export interface Events extends Ask {
  readonly method?: "GET" | "POST";
  readonly onEvent: (event: ServerEvent) => void;
  /** True once it listens, false while it tries to again. */
  readonly onOpen?: (open: boolean) => void;
}

/**
 * An event stream, until `signal` is aborted: where it breaks off it is opened again from the last event that had
 * an id. Rejects when the server refuses it; resolves when aborted.
 */
export async function events(where: string, options: Events): Promise<void> {
  const { signal } = options;
  let last: string | undefined;
  let pause = FIRST_PAUSE;
  while (!signal?.aborted) {
    try {
      const response = await send(options.method ?? "GET", where, {
        ...options,
        headers: {
          ...options.headers,
          accept: "text/event-stream",
          ...(last === undefined ? {} : { "last-event-id": last }),
        },
      });
      options.onOpen?.(true);
      pause = FIRST_PAUSE;
      const parser = createParser({
        onEvent: ({ event, data, id }) => {
          if (id !== undefined) last = id;
          options.onEvent({ event: event ?? "message", data, id });
        },
        onRetry: (ms) => {
          pause = ms;
        },
      });
      await readAll(response, (text) => parser.feed(text));
    } catch (error) {
      if (signal?.aborted) return;
      // What is refused for what it asks is refused the next time too; what is too much or too early is not.
      if (error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429)
        throw error;
    }
    if (signal?.aborted) return;
    options.onOpen?.(false);
    await sleep(pause, signal);
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  }
}

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15_000;

/** Ends early, without a word, when aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    }
    signal?.addEventListener("abort", done);
    if (signal?.aborted) done();
  });
}
